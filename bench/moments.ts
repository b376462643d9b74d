import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Connection } from "../src/client/connection.ts";
import { STEADY_CLOCK } from "../src/driver/clock.ts";
import { connect } from "../src/index.ts";
import { startRecording } from "../src/outlets/recording/active-recording.ts";
import { cpuMicros } from "./calls.ts";
import { median } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";
import { TickingDriver } from "./tick-source.ts";

/** The size of the recording, in MB, unless $VIRSTREAM_BENCH_MB sets another size. */
const MEGABYTES = 100;
const TICK_MS = 1_000;
const MOMENTS = 30;
/** The number of samples in a chart of five minutes. */
const CHART = 300;

/**
 * Reads moments of a long recording of 512 guests, one sweep per second. Measures the processor time to read a random
 * moment, to read the moment one second later, and to read a chart of one guest. The peer reads the recording from its
 * beginning to its middle.
 */
export const benchMoments: Benchmark = async ({ rounds = 3 } = {}) => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-bench-"));
  try {
    const path = join(folder, "long.rec");
    await write(path, Number(process.env["VIRSTREAM_BENCH_MB"] ?? MEGABYTES) * 1e6);
    await using connection = await connect(`file://${path}`);
    const { from, to } = connection.recorded!;
    const size = `${Math.round(statSync(path).size / 1e6)} MB`;
    const moment = (): number => Math.round(from + (0.1 + 0.9 * Math.random()) * (to - from - CHART * TICK_MS));
    const anywhere = await times(MOMENTS, async () => {
      await connection.stats({ at: moment() }).toArray();
    });
    let at = moment();
    await connection.stats({ at }).toArray();
    const next = await times(MOMENTS, async () => {
      at += TICK_MS;
      await connection.stats({ at }).toArray();
    });
    const charts = await times(rounds, async () => {
      const begin = moment();
      const domains = [(await connection.stats({ at: begin }).toArray())[0]!.domain.uuid];
      for (let i = 0; i < CHART; i++) await connection.stats({ domains, at: begin + i * TICK_MS }).toArray();
    });
    const [scan] = await times(1, async () => {
      await using replay = await connect(`file://${path}?speed=max&to=%2B${Math.round((to - from) / 2)}ms`);
      await replay.watch().forEach(() => {});
    });
    const row = (what: string, found: readonly number[]): BenchRow => {
      const ours = median(found);
      return {
        what: `${what} (${size})`,
        ours: `${ours.toFixed(1)} ms`,
        peer: `${scan!.toFixed(0)} ms`,
        ratio: ours / scan!,
      };
    };
    return [
      row("a moment anywhere", anywhere),
      row("… the slowest", [Math.max(...anywhere)]),
      row("the moment a second after the last one", next),
      row("a chart of five minutes of one guest", charts),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
};

/** Calls a function several times. Returns the processor time of each call, in ms. */
async function times(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < count; i++) {
    const before = cpuMicros();
    await work();
    found.push((cpuMicros() - before) / 1_000);
  }
  return found;
}

/** Records sweeps that are a second apart by the recorder's clocks, as fast as the disk takes them. */
async function write(path: string, bytes: number): Promise<void> {
  const driver = new TickingDriver();
  await using connection = new Connection(driver);
  const began = Date.now();
  let ticks = 0;
  const clocks = { clock: { ...STEADY_CLOCK, now: () => ticks * TICK_MS }, wallNow: () => began + ticks * TICK_MS };
  const recording = await startRecording(connection, path, {}, clocks);
  for (let confirmed = 0; recording.figures.bytes < bytes; ) {
    driver.confirm(recording.figures.ticks - confirmed);
    confirmed = recording.figures.ticks;
    ticks = confirmed;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await recording.close();
}
