import type { FanoutClientCalls } from "./fanout-client.ts";
import type { FanoutServerCalls } from "./fanout-server.ts";
import { BenchProcess } from "./process.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const SUBSCRIBERS = ["1", "10", "100", "1000"] as const;
const DOMAINS = 1_000;
const TICKS = 20;
const WARM_UP_TICKS = 300;

interface Figures {
  /**
   * The server's CPU time per delivered record, in µs. A record that goes to several subscribers counts once for each.
   */
  readonly micros: number;
  readonly sweepsPerTick: number;
}

/**
 * One watch of 1,000 domains of the simulated host, once a second, with 1 to 1,000 subscribers. It measures the server's CPU
 * time for each delivered record, sweeps included, and the number of sweeps of the driver.
 */
export const benchFanout: Benchmark = async ({ rounds = 3 } = {}) => {
  const measured = await pairedRounds("fanout", SUBSCRIBERS, rounds, (subscribers) => measure(Number(subscribers)));
  const rows: BenchRow[] = [];
  for (const subscribers of SUBSCRIBERS) {
    const micros = (figures: Figures): number => figures.micros;
    rows.push({
      what: `server CPU per delivered record at ${subscribers} subscribers, against 1`,
      ours: `${medianOf(measured[subscribers], micros).toFixed(3)} µs`,
      peer: `${medianOf(measured["1"], micros).toFixed(3)} µs`,
      ratio: medianRatio(measured[subscribers], measured["1"], micros, micros),
      ...(subscribers === "100" ? { target: 1 / 6 } : {}),
    });
    const sweeps = medianOf(measured[subscribers], (figures) => figures.sweepsPerTick);
    rows.push({
      what: `sweeps at the driver per tick at ${subscribers} subscribers`,
      ours: sweeps.toFixed(2),
      peer: "1",
      ratio: sweeps,
      target: 1.1,
    });
  }
  return rows;
};

async function measure(subscribers: number): Promise<Figures> {
  await using server = await BenchProcess.start<FanoutServerCalls>("fanout-server.ts");
  await using client = await BenchProcess.start<FanoutClientCalls>("fanout-client.ts");
  const port = await server.call("listen", DOMAINS);
  // Warm-up: servers run for months, so the first seconds, before the code is compiled, must not count.
  await client.call("subscribe", { port, subscribers: 1, intervalMs: 20 });
  await client.call("ticks", WARM_UP_TICKS);
  await client.call("leave");
  await client.call("subscribe", { port, subscribers, intervalMs: 1_000 });
  await client.call("ticks", 2);
  const before = { ...(await server.call("spent")), ...(await client.call("arrived")) };
  await client.call("ticks", TICKS);
  const after = { ...(await server.call("spent")), ...(await client.call("arrived")) };
  if (after.conflated > before.conflated) throw new Error("ticks were conflated: this is no measure");
  return {
    micros: (after.cpu - before.cpu) / ((after.together - before.together) * DOMAINS),
    sweepsPerTick: (after.sweeps - before.sweeps) / (after.ticks - before.ticks),
  };
}
