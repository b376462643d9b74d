import type { DomainStatsRecord } from "../src/model/record.ts";
import { connectPlain, HIGH_WATER, listenPlain } from "./plain-socket.ts";
import { type PlainRecord, plainRecord } from "./records.ts";
import { cycle } from "./wire-source.ts";

/**
 * Serves sweeps as one JSON object per WebSocket message, the most common design. It uses the same WebSocket library as virstream,
 * no compression, and the same high-water mark.
 *
 * @returns the port
 */
export async function serveJson(records: readonly DomainStatsRecord[]): Promise<number> {
  const prepared = [records.map(plainRecord)];
  return listenPlain((socket) => {
    let wake: (() => void) | undefined;
    const sent = (): void => {
      if (socket.bufferedAmount <= HIGH_WATER) wake?.();
    };
    socket.on("message", async (request) => {
      for (const chunk of cycle(prepared, Number(request.toString()))) {
        for (const record of chunk) {
          socket.send(JSON.stringify(record), sent);
          if (socket.bufferedAmount > HIGH_WATER) await new Promise<void>((resolve) => (wake = resolve));
        }
      }
      socket.send("");
    });
  });
}

/** Connects. Resolves with a function that runs a sweep and reads one value of each record. */
export async function connectJson(
  port: number,
): Promise<(domains: number, touch: (value: number) => void) => Promise<void>> {
  const socket = await connectPlain(port);
  return (domains, touch) =>
    new Promise((resolve) => {
      socket.onmessage = ({ data }) => {
        if (data === "") resolve();
        else touch((JSON.parse(data as string) as PlainRecord).params["cpu.time"] as number);
      };
      socket.send(String(domains));
    });
}
