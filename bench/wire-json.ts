import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { type PlainRecord, plainRecord } from "./records.ts";
import { cycle } from "./wire-source.ts";

/** The high-water mark of the socket in bytes, as in virstream's server. */
const BUFFERED = 1_048_576;

/**
 * Serves sweeps as one JSON object per WebSocket message, the most common design. It uses the same WebSocket library as virstream,
 * no compression, and the same high-water mark.
 *
 * @returns the port
 */
export async function serveJson(records: readonly DomainStatsRecord[]): Promise<number> {
  const prepared = [records.map(plainRecord)];
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  server.on("connection", (socket) => {
    let wake: (() => void) | undefined;
    const sent = (): void => {
      if (socket.bufferedAmount <= BUFFERED) wake?.();
    };
    socket.on("message", async (request) => {
      for (const chunk of cycle(prepared, Number(request.toString()))) {
        for (const record of chunk) {
          socket.send(JSON.stringify(record), sent);
          if (socket.bufferedAmount > BUFFERED) await new Promise<void>((resolve) => (wake = resolve));
        }
      }
      socket.send("");
    });
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Connects. The result runs a sweep and reads one value of each record. */
export async function connectJson(
  port: number,
): Promise<(domains: number, touch: (value: number) => void) => Promise<void>> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  await once(socket, "open");
  return (domains, touch) =>
    new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        if (data === "") resolve();
        else touch((JSON.parse(data as string) as PlainRecord).params["cpu.time"] as number);
      };
      socket.send(String(domains));
    });
}
