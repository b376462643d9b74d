import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { RowBatch } from "../src/wire/columns/row-batch.ts";
import { Coalescer } from "../src/wire/flow-control.ts";
import { profileOf } from "../src/wire/profile.ts";

/** The high-water mark of the socket in bytes, as in virstream's server. */
const MARK = 1_048_576;

/**
 * Sends the bytes of virstream's messages, prepared before the measurement, through a WebSocket of the same library. The client
 * only counts them. Nothing is encoded, decoded or checked, so no protocol over WebSocket can be faster on this machine.
 */
export async function servePipe(records: readonly DomainStatsRecord[]): Promise<number> {
  const profile = profileOf("virstream.v1");
  const batch = new RowBatch();
  const messages: { bytes: Uint8Array; rows: number }[] = [];
  for (const [i, record] of records.entries()) {
    batch.add(undefined, record);
    if (batch.length < Coalescer.FULL && i < records.length - 1) continue;
    const { rows } = batch;
    const [bytes] = profile.rows({ id: 1 }, batch).messages as [Uint8Array];
    batch.clear(bytes.length);
    messages.push({ bytes, rows });
  }
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  server.on("connection", (socket) => {
    socket.on("message", async (data) => {
      let left = Number(data.toString());
      for (let i = 0; left > 0; i++) {
        const { bytes, rows } = messages[i % messages.length]!;
        left -= rows;
        socket.send(bytes);
        if (socket.bufferedAmount > MARK) await new Promise((resolve) => setImmediate(resolve));
      }
      socket.send("end");
    });
  });
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Reads a sweep of at least this number of records. */
export async function connectPipe(
  port: number,
): Promise<(domains: number, touch: (value: number) => void) => Promise<void>> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  await once(socket, "open");
  return (domains, touch) =>
    new Promise((resolve) => {
      const receive = (data: Buffer, isBinary: boolean): void => {
        if (isBinary) return;
        socket.off("message", receive);
        for (let i = 0; i < domains; i++) touch(data.length);
        resolve();
      };
      socket.on("message", receive);
      socket.send(String(domains));
    });
}
