import { Gauge, Registry } from "prom-client";
import "../src/drivers/builtin.ts";
import { connect } from "../src/client/connect.ts";
import { Exporter } from "../src/outlets/prometheus/exporter.ts";
import { medianOf, medianRatio, pairedRounds } from "./rounds.ts";
import type { Benchmark } from "./row.ts";

const URI = "test:///default?domains=10000&vcpus=2&disks=2&nics=1";

/** The page of 10,000 domains, beside the same series in prom-client's registry: the CPU time to set and to write them. */
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
    const began = process.cpuUsage();
    if (contender === "virstream") for await (const _ of exporter.page());
    else {
      for (const [gauge, labels, value] of series) gauge.set(labels, value);
      await registry.metrics();
    }
    const { user, system } = process.cpuUsage(began);
    return (user + system) / 1_000;
  });
  exporter.close();
  await connection.close();
  const [ours, peer] = [medianOf(measured.virstream, Number), medianOf(measured["prom-client"], Number)];
  return [
    {
      what: `a page of ${series.length.toLocaleString("en")} series, CPU time`,
      ours: `${ours.toFixed(0)} ms`,
      peer: `${peer.toFixed(0)} ms (prom-client)`,
      ratio: medianRatio(measured.virstream, measured["prom-client"], Number, Number),
      target: 1 / 3,
    },
  ];
};
