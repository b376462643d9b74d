import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { connect } from "../src/client/connect.ts";
import { registerDriver } from "../src/driver/registry.ts";
import { openSimulated } from "../src/drivers/simulated/driver.ts";
import { serve } from "../src/server/server.ts";
import { MessageEncoder } from "../src/wire/message-encoder.ts";
import { answerCalls, peakMemory } from "./calls.ts";
import { GROUPS, SHAPE } from "./records.ts";

registerDriver("test", openSimulated);

const calls = {
  /** Serves a simulated host of so many domains; gives the URL. */
  async stream(domains: number): Promise<string> {
    const connection = await connect(`test:///default?domains=${domains}&${SHAPE}`);
    return (await serve(connection, { port: 0 })).url;
  },
  /**
   * Serves the same host's sweep in one answer: first all records are made, then all are encoded, with the very encoding
   * that the stream has, then they are sent.
   */
  async batch(domains: number): Promise<string> {
    const connection = await connect(`test:///default?domains=${domains}&${SHAPE}`);
    const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
    server.on("connection", (socket) => {
      socket.on("message", async () => {
        const records = await connection.getAllDomainStats({ groups: GROUPS });
        const startedAt = records[0]!.sampledAt;
        const encoder = new MessageEncoder("virstream.v1");
        const frame = encoder.frame(1, startedAt);
        for (const record of records) frame.add(record);
        for (const message of [...encoder.sweep(1, startedAt, domains), ...encoder.records(frame).messages]) {
          socket.send(message);
        }
      });
    });
    await once(server, "listening");
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}`;
  },
  memory: async (): Promise<number> => peakMemory(),
};
export type LargeServerCalls = typeof calls;

answerCalls(calls);
