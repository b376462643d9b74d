import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark } from "./row.ts";
import { measureWire, type WireFigures } from "./wire.ts";

/**
 * Compares the cost of full rows (records that are sent whole) in this checkout and in an earlier one, in the same run:
 * `BENCH_BEFORE=DIR npm run bench -- before`. DIR is a checkout of the earlier commit, after `npm ci`.
 */
export const benchBefore: Benchmark = async ({ rounds = 7 } = {}) => {
  const checkout = process.env["BENCH_BEFORE"];
  if (checkout === undefined) throw new Error("say which checkout to compare with: BENCH_BEFORE=DIR");
  const measured = await pairedRounds<"now" | "before", WireFigures>("before", ["now", "before"], rounds, (which) =>
    measureWire("virstream", which === "before" ? checkout : undefined),
  );
  const row = (
    what: string,
    figure: (figures: WireFigures) => number,
    show: (micros: number) => string,
    target?: number,
  ) => ({
    what: `${what}, full rows, against the earlier checkout`,
    ours: show(medianOf(measured.now, figure)),
    peer: show(medianOf(measured.before, figure)),
    ratio: medianRatio(measured.now, measured.before, figure, figure),
    ...(target === undefined ? {} : { target }),
  });
  const perSecond = (micros: number): string => `${Math.round(1000 / micros)}k/s`;
  const cpu = (micros: number): string => `${micros.toFixed(2)} µs`;
  return [
    row("time per record", ({ micros }) => micros, perSecond, 1 / 1.8),
    row("CPU of both ends per record", ({ serverMicros, clientMicros }) => serverMicros + clientMicros, cpu, 0.55),
    row("server CPU per record", ({ serverMicros }) => serverMicros, cpu),
    row("client CPU per record", ({ clientMicros }) => clientMicros, cpu),
  ];
};
