import { mkdir, writeFile } from "node:fs/promises";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { type Benchmark, formatTable } from "./row.ts";

/**
 * `npm run bench -- [--rounds N] [NAME …]`: runs the benchmarks named, or all. The table goes to stdout, progress to
 * stderr, and everything with the machine it ran on to bench/results/.
 */

const BENCHMARKS: Record<string, () => Promise<Benchmark>> = {
  codec: async () => (await import("./codec.ts")).benchCodec,
  wire: async () => (await import("./wire.ts")).benchWire,
  large: async () => (await import("./large.ts")).benchLarge,
  handoff: async () => (await import("./handoff.ts")).benchHandoff,
};

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: "string" } } });
const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) throw new Error("--rounds must be 1 or more");
const unknown = positionals.find((name) => !Object.hasOwn(BENCHMARKS, name));
if (unknown !== undefined) throw new Error(`no benchmark ${unknown}: there are ${Object.keys(BENCHMARKS).join(", ")}`);

const names = positionals.length > 0 ? positionals : Object.keys(BENCHMARKS);
const results = [];
for (const name of names) {
  const benchmark = await BENCHMARKS[name]!();
  const began = performance.now();
  const rows = await benchmark(rounds === undefined ? {} : { rounds });
  console.error(`${name}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
  for (const row of rows) results.push({ benchmark: name, ...row });
}
console.log(formatTable(results));

const date = new Date().toISOString();
const directory = new URL("results/", import.meta.url);
await mkdir(directory, { recursive: true });
const report = {
  date,
  command: ["npm run bench --", ...process.argv.slice(2)].join(" "),
  node: process.version,
  machine: { cpus: cpus().length, model: cpus()[0]?.model, memoryGiB: Math.round(totalmem() / 2 ** 30) },
  results,
};
const file = new URL(`${date.replaceAll(":", "-")}.json`, directory);
await writeFile(file, `${JSON.stringify(report, undefined, 2)}\n`);
console.error(`written to ${file.pathname}`);
