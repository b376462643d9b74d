import { setTimeout as sleep } from "node:timers/promises";
import type { LongClientCalls } from "./long-client.ts";
import type { LongServerCalls } from "./long-server.ts";
import { BenchProcess } from "./process.ts";
import type { Benchmark } from "./row.ts";

const FIRST = 10_000;
const LAST = 100_000;

/**
 * The memory of server and client over 100,000 ticks of a watch of 100 domains, at a thousand times the usual speed. A
 * watch once a second takes a day for as many ticks. Some domains leave, return and restart their counters all the
 * time.
 */
export const benchLong: Benchmark = async () => {
  await using server = await BenchProcess.start<LongServerCalls>("long-server.ts", ["--expose-gc"]);
  await using client = await BenchProcess.start<LongClientCalls>("long-client.ts", ["--expose-gc"]);
  await client.call("watch", await server.call("listen"));
  const at = async (ticks: number): Promise<{ server: number; client: number; ticks: number }> => {
    for (;;) {
      const figures = await client.call("figures");
      if (figures.ticks >= ticks) {
        const { heap } = await server.call("figures");
        return { server: heap, client: figures.heap, ticks: figures.ticks };
      }
      console.error(
        `long: ${figures.ticks} of ${LAST} ticks, ${figures.records} records, ${figures.heap.toFixed(1)} MiB`,
      );
      await sleep(5_000);
    }
  };
  const first = await at(FIRST);
  const last = await at(LAST);
  const row = (what: "server" | "client") => ({
    what: `${what}'s heap after ${last.ticks.toLocaleString("en")} ticks, against after ${first.ticks.toLocaleString("en")}`,
    ours: `${last[what].toFixed(1)} MiB`,
    peer: `${first[what].toFixed(1)} MiB`,
    ratio: last[what] / first[what],
    target: 1.1,
  });
  return [row("server"), row("client")];
};
