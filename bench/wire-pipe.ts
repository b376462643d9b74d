import type { DomainStatsRecord } from "../src/model/record.ts";
import { RowBatch } from "../src/wire/columns/row-batch.ts";
import { Coalescer } from "../src/wire/flow-control.ts";
import { profileOf } from "../src/wire/profile.ts";
import { connectPlain, HIGH_WATER, listenPlain } from "./plain-socket.ts";

/**
 * Sends the bytes of virstream's messages, prepared before the measurement, through a WebSocket of the same library.
 * The client receives and ignores them. Nothing is encoded, decoded or checked, so no protocol over WebSocket can be
 * faster on this machine.
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
  return listenPlain((socket) => {
    socket.on("message", async (data) => {
      let left = Number(data.toString());
      for (let i = 0; left > 0; i++) {
        const { bytes, rows } = messages[i % messages.length]!;
        left -= rows;
        socket.send(bytes);
        if (socket.bufferedAmount > HIGH_WATER) await new Promise((resolve) => setImmediate(resolve));
      }
      socket.send("end");
    });
  });
}

/** Connects. Resolves with a function that reads a sweep of at least the given number of records. */
export async function connectPipe(
  port: number,
): Promise<(domains: number, touch: (value: number) => void) => Promise<void>> {
  const socket = await connectPlain(port);
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
