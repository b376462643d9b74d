import type { LargeClientCalls, LargeFigures, Reading } from "./large-client.ts";
import type { LargeServerCalls } from "./large-server.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const SMALL = 1_000;
const LARGE = 100_000;
const HUGE = 1_000_000;

/**
 * V8 lets the space for young objects grow to 32 MiB as long as any object survives in it, even if the process needs little.
 * With this flag the figure shows the memory that a process needs.
 */
const SMALL_YOUNG_SPACE = ["--max-semi-space-size=4"];

/**
 * The runs of each round: how the client reads a sweep, how many domains the sweep has, node's flags, and how many
 * sweeps the client reads.
 */
const CASES = {
  "1,000 by for await": ["for-await", SMALL],
  "100,000 by for await": ["for-await", LARGE],
  "1,000,000 by for await": ["for-await", HUGE],
  "1,000 by Observable": ["observable", SMALL],
  "100,000 by Observable": ["observable", LARGE],
  "1,000,000 by Observable": ["observable", HUGE],
  "1,000, 1,000 times": ["observable", SMALL, [], HUGE / SMALL],
  "1,000, small young space": ["observable", SMALL, SMALL_YOUNG_SPACE],
  "1,000,000, small young space": ["observable", HUGE, SMALL_YOUNG_SPACE],
  "100,000 collected": ["collect", LARGE],
  "100,000 in one answer": ["batch", LARGE],
} as const satisfies Record<
  string,
  readonly [reading: Reading, domains: number, flags?: readonly string[], sweeps?: number]
>;
type Case = keyof typeof CASES;

interface Figures extends LargeFigures {
  readonly serverMemory: number;
}

/**
 * Sweeps of a simulated host over WebSocket that are too large for one answer. It measures the time until the first
 * record, and the memory of both processes. The peer sends one answer with all records in virstream's encoding, so that
 * only the streaming is compared. There is no warm-up: each run begins with the first sweep of a fresh server and a
 * fresh client. A short-lived tool makes such a sweep, and a peak of memory would include the warm-up.
 *
 * A stream that keeps no records should need no more memory for a million domains than for a thousand. So memory is
 * compared with that of the same stream with 1,000 domains: with one sweep, and with a thousand sweeps, after which
 * V8's space for young objects has grown as far as in one sweep of a million.
 */
export const benchLarge: Benchmark = async ({ rounds = 5 } = {}) => {
  const measured = await pairedRounds("large", Object.keys(CASES) as Case[], rounds, measure);
  const ms = (ms: number): string => `${ms < 100 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
  const mib = (mib: number): string => `${mib.toFixed(0)} MiB`;
  const row = (
    what: string,
    [ours, ourFigure]: readonly [Case, (figures: Figures) => number],
    [peer, peerFigure]: readonly [Case, (figures: Figures) => number],
    show: (figure: number) => string,
    target?: number,
  ): BenchRow => ({
    what,
    ours: show(medianOf(measured[ours], ourFigure)),
    peer: show(medianOf(measured[peer], peerFigure)),
    ratio: medianRatio(measured[ours], measured[peer], ourFigure, peerFigure),
    ...(target === undefined ? {} : { target }),
  });
  const first = (figures: Figures): number => figures.firstMs;
  const total = (figures: Figures): number => figures.totalMs;
  const server = (figures: Figures): number => figures.serverMemory;
  const client = (figures: Figures): number => figures.peakMemory;

  const batch = "100,000 in one answer";
  const collected = "100,000 collected";
  const rows = [
    row("100,000 collected from the stream, against one answer", [collected, total], [batch, total], ms, 1),
    row("… memory of the server", [collected, server], [batch, server], mib, 1),
    row("… memory of the client", [collected, client], [batch, client], mib, 1),
  ];
  for (const style of ["for await", "Observable"] as const) {
    const small = `1,000 by ${style}` as const;
    const large = `100,000 by ${style}` as const;
    const huge = `1,000,000 by ${style}` as const;
    rows.push(
      row(`first of ${large}, against one answer`, [large, first], [batch, first], ms, 1 / 50),
      row(`first of ${large}, against the last`, [large, first], [large, total], ms),
      row(`server memory, ${large}, against 1,000`, [large, server], [small, server], mib, 1.25),
      row(`client memory, ${large}, against 1,000`, [large, client], [small, client], mib, 1.25),
      row(`server memory, ${huge}, against 1,000`, [huge, server], [small, server], mib, 1.25),
      row(`client memory, ${huge}, against 1,000`, [huge, client], [small, client], mib, 1.25),
    );
  }
  const often = "1,000, 1,000 times";
  const huge = "1,000,000 by Observable";
  rows.push(
    row(`server memory, ${huge}, against ${often}`, [huge, server], [often, server], mib, 1.25),
    row(`client memory, ${huge}, against ${often}`, [huge, client], [often, client], mib, 1.25),
  );
  const smallYoung = "1,000, small young space";
  const hugeYoung = "1,000,000, small young space";
  rows.push(
    row(`server memory, ${hugeYoung}, against 1,000`, [hugeYoung, server], [smallYoung, server], mib, 1.25),
    row(`client memory, ${hugeYoung}, against 1,000`, [hugeYoung, client], [smallYoung, client], mib, 1.25),
    row("… its time, against the usual space", [hugeYoung, total], [huge, total], ms),
  );
  return rows;
};

async function measure(name: Case): Promise<Figures> {
  const [reading, domains, flags, sweeps = 1] = CASES[name] as readonly [
    Reading,
    number,
    (readonly string[])?,
    number?,
  ];
  await using server = await BenchProcess.start<LargeServerCalls>("large-server.ts", flags);
  await using client = await BenchProcess.start<LargeClientCalls>("large-client.ts", flags);
  const url = await server.call(reading === "batch" ? "batch" : "stream", domains);
  const figures = await client.call("read", { reading, url, domains, sweeps });
  return { ...figures, serverMemory: await server.call("memory") };
}
