import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark } from "./row.ts";
import type { Keeper, TableCalls } from "./table-process.ts";

const KEEPERS = ["table", "naive", "meter"] as const satisfies Keeper[];

/**
 * A tick of a table of 10,000 domains, all of which have a new record, and the 20 rows with the highest CPU use. The
 * peer has a Map of the records' rates, and sorts an array of them at each tick. Both compute rates. In the second
 * row of the results, the cost of the rates, measured alone in the same round, is subtracted.
 */
export const benchTable: Benchmark = async ({ rounds = 5 } = {}) => {
  const measured = await pairedRounds("table", KEEPERS, rounds, async (keeper) => {
    await using process = await BenchProcess.start<TableCalls>("table-process.ts");
    return await process.call("measure", keeper);
  });
  const own = (keeper: Keeper): number[] => measured[keeper].map((micros, round) => micros - measured.meter[round]!);
  const row = (what: string, ours: readonly number[], peer: readonly number[]) => ({
    what,
    ours: `${(medianOf(ours, (micros) => micros) / 1_000).toFixed(1)} ms`,
    peer: `${(medianOf(peer, (micros) => micros) / 1_000).toFixed(1)} ms`,
    ratio: medianRatio(
      ours,
      peer,
      (micros) => micros,
      (micros) => micros,
    ),
  });
  return [
    row("a tick of a table of 10,000 domains, against a Map and sort()", measured.table, measured.naive),
    row("… without computing the rates", own("table"), own("naive")),
  ];
};
