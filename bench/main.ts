import { mkdir, writeFile } from "node:fs/promises";
import { cpus, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { drawChart } from "./chart.ts";
import { type Benchmark, type BenchRow, formatTable } from "./row.ts";

/**
 * `npm run bench -- [--rounds N] [NAME …]`: runs the named benchmarks, or all of them, one after the other. It prints the table
 * to stdout and progress to stderr, and writes the figures with a description of the machine to bench/results/. `--chart` draws
 * docs/performance.svg from the tables of docs/performance.md instead.
 */

/** These run only if they are named: most machines lack the checkout for `before`, and `truncation` takes minutes. */
const NAMED = ["before", "truncation"];

/** Each benchmark is imported when it runs, because some need packages that others do not. */
const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  record: async () => (await import("./record.ts")).benchRecord,
  codec: async () => (await import("./codec.ts")).benchCodec,
  wire: async () => (await import("./wire.ts")).benchWire,
  before: async () => (await import("./before.ts")).benchBefore,
  deltas: async () => (await import("./deltas.ts")).benchDeltas,
  fanout: async () => (await import("./fanout.ts")).benchFanout,
  slow: async () => (await import("./slow.ts")).benchSlow,
  long: async () => (await import("./long.ts")).benchLong,
  large: async () => (await import("./large.ts")).benchLarge,
  handoff: async () => (await import("./handoff.ts")).benchHandoff,
  table: async () => (await import("./table.ts")).benchTable,
  recording: async () => (await import("./recording.ts")).benchRecording,
  truncation: async () => (await import("./recording.ts")).benchTruncation,
  moments: async () => (await import("./moments.ts")).benchMoments,
  otlp: async () => (await import("./otlp.ts")).benchOtlp,
  prometheus: async () => (await import("./prometheus.ts")).benchPrometheus,
  top: async () => (await import("./top.ts")).benchTop,
  libvirt: async () => (await import("./libvirt.ts")).benchLibvirt,
};

interface Result extends BenchRow {
  readonly benchmark: string;
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: "string" }, chart: { type: "boolean" } },
  });
  if (values.chart) {
    drawChart();
    return;
  }
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) throw new Error("--rounds must be 1 or more");
  const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS).filter((name) => !NAMED.includes(name));
  for (const name of names) {
    if (!Object.hasOwn(BENCHMARKS, name)) {
      throw new Error(`there is no benchmark ${name}, only ${Object.keys(BENCHMARKS).join(", ")}`);
    }
  }
  const results: Result[] = [];
  for (const name of names) {
    const began = performance.now();
    const benchmark = await BENCHMARKS[name]!();
    const rows = await benchmark(rounds === undefined ? {} : { rounds });
    console.error(`${name}: took ${((performance.now() - began) / 1000).toFixed(0)} s`);
    for (const row of rows) results.push({ benchmark: name, ...row });
  }
  console.log(formatTable(results));
  console.error(`written to ${await writeReport(results)}`);
}

/** Writes the figures with a description of the machine, which a comparison with other figures needs. */
async function writeReport(results: readonly Result[]): Promise<string> {
  const date = new Date().toISOString();
  const report = {
    date,
    command: ["npm run bench --", ...process.argv.slice(2)].join(" "),
    node: process.version,
    machine: {
      processor: cpus()[0]?.model,
      processors: cpus().length,
      memoryGiB: Math.round(totalmem() / 2 ** 30),
      /** The load of the last 1, 5 and 15 minutes, which shows whether other programs ran. */
      load: loadavg(),
    },
    results,
  };
  const directory = new URL("results/", import.meta.url);
  await mkdir(directory, { recursive: true });
  const file = fileURLToPath(new URL(`${date.replaceAll(":", "-")}.json`, directory));
  await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
  return file;
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
