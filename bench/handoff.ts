import type { Consumption, HandoffCalls } from "./handoff-process.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const CONSUMPTIONS = ["callback", "observable", "for-await", "forEach", "chunks"] as const satisfies Consumption[];

/**
 * The cost of passing one record to the application, for each way to consume a stream, against a loop over the
 * chunks that calls a callback. Each run has three million records in prepared chunks of 128, in a fresh process. `for await`
 * costs a promise per record. The targets limit the ratios of `observable` and `for-await` to the loop.
 */
export const benchHandoff: Benchmark = async ({ rounds = 9 } = {}) => {
  const measured = await pairedRounds("handoff", CONSUMPTIONS, rounds, async (consumption) => {
    await using process = await BenchProcess.start<HandoffCalls>("handoff-process.ts");
    return await process.call("measure", consumption);
  });
  const nanos = (consumption: Consumption): string => `${medianOf(measured[consumption], itself).toFixed(1)} ns`;
  const row = (what: string, consumption: Consumption, target?: number): BenchRow => ({
    what: `${what}, against a callback`,
    ours: nanos(consumption),
    peer: nanos("callback"),
    ratio: medianRatio(measured[consumption], measured.callback, itself, itself),
    ...(target === undefined ? {} : { target }),
  });
  return [
    row("a record to an Observable's observer", "observable", 5),
    row("a record by for await", "for-await", 20),
    row("a record by forEach", "forEach"),
    row("a record by chunks()", "chunks"),
  ];
};

const itself = (value: number): number => value;
