import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { Gauge, Registry } from "prom-client";
import "../src/drivers/builtin.ts";
import { connect } from "../src/client/connect.ts";
import { Exporter } from "../src/outlets/prometheus/exporter.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";

const URI = "test:///default?domains=10000&vcpus=2&disks=2&nics=1";

interface Figures {
  readonly cpuMs: number;
  /** The longest delay of the event loop. */
  readonly delayMs: number;
}

/**
 * The CPU time to make a page of 10,000 domains, against the CPU time to set and write the same series in prom-client's
 * registry.
 */
export const benchPrometheus: Benchmark = async ({ rounds = 5 } = {}) => {
  const connection = await connect(URI);
  const exporter = new Exporter(connection, { intervalMs: 3_600_000 });
  const registry = new Registry();
  const series: [gauge: Gauge, labels: Record<string, string>, value: number][] = [];
  const gauges = new Map<string, Gauge>();
  for await (const chunk of exporter.page()) {
    for (const [, name, text, value] of chunk.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)) {
      const labels = Object.fromEntries([...text!.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, of]) => [label!, of!]));
      const known = gauges.get(name!);
      const gauge =
        known ?? new Gauge({ name: name!, help: name!, labelNames: Object.keys(labels), registers: [registry] });
      gauges.set(name!, gauge);
      series.push([gauge, labels, Number(value)]);
    }
  }
  const measured = await pairedRounds("prometheus", ["virstream", "prom-client"], rounds, async (contender) => {
    const delays = monitorEventLoopDelay({ resolution: 1 });
    delays.enable();
    // The monitor measures the time between two of its own ticks, so it must have ticked before the work begins.
    await sleep(20);
    const began = process.cpuUsage();
    if (contender === "virstream") for await (const _ of exporter.page());
    else {
      for (const [gauge, labels, value] of series) gauge.set(labels, value);
      await registry.metrics();
    }
    const { user, system } = process.cpuUsage(began);
    await sleep(20);
    delays.disable();
    return { cpuMs: (user + system) / 1_000, delayMs: delays.max / 1e6 };
  });
  exporter.close();
  await connection.close();
  const row = (what: string, figure: keyof Figures, target: number): BenchRow => {
    const of = (figures: Figures): number => figures[figure];
    return {
      what,
      ours: `${medianOf(measured.virstream, of).toFixed(0)} ms`,
      peer: `${medianOf(measured["prom-client"], of).toFixed(0)} ms (prom-client)`,
      ratio: medianRatio(measured.virstream, measured["prom-client"], of, of),
      target,
    };
  };
  const what = `a page of ${series.length.toLocaleString("en")} series`;
  return [row(`${what}, CPU time`, "cpuMs", 1 / 3), row(`${what}, longest delay of the event loop`, "delayMs", 1 / 3)];
};
