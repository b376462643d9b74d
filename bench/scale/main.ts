import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { costsOf, withEstimates } from "./estimate.ts";
import { type Figures, measure } from "./measure.ts";
import { POINTS } from "./point.ts";
import { report } from "./report.ts";

/**
 * `npm run bench:scale -- [--rounds N] [POINT …]`: measures a `virstream serve` at these points, which are loads
 * with a name, or at all points. It adds the figures to bench/results/scale.jsonl, so that single points can be
 * measured one after the other. `--report` prints the tables and slopes of all figures in that file. `--list` prints
 * the names of the points. `--sizes` computes the sizes in the documents from the table of costs in docs/scale.md.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: "string", default: "3" },
    report: { type: "boolean" },
    list: { type: "boolean" },
    sizes: { type: "boolean" },
  },
});

const FOLDER = new URL("../results/", import.meta.url);
const FILE = new URL("scale.jsonl", FOLDER);

if (values.list) console.log(POINTS.map(({ name }) => name).join("\n"));
else if (values.sizes) writeSizes();
else {
  if (!values.report) await measureAll();
  console.log(report(readFigures()));
}

function writeSizes(): void {
  const page = (name: string): URL => new URL(`../../docs/${name}`, import.meta.url);
  const costs = costsOf(readFileSync(page("scale.md"), "utf8"));
  for (const name of ["scale.md", "operating.md"]) {
    writeFileSync(page(name), withEstimates(costs, readFileSync(page(name), "utf8")));
  }
}

async function measureAll(): Promise<void> {
  const unknown = positionals.find((name) => !POINTS.some((point) => point.name === name));
  if (unknown !== undefined) throw new Error(`there is no point ${unknown}: see --list`);
  const points = POINTS.filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  mkdirSync(FOLDER, { recursive: true });
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const point of points) {
      console.error(`scale: round ${round} of ${values.rounds}, ${point.name}`);
      for (const figures of await measure(point)) {
        appendFileSync(FILE, `${JSON.stringify({ point: point.name, figures })}\n`);
      }
    }
  }
}

/** The figures of all runs by their point. */
function readFigures(): Map<string, Figures[]> {
  const all = new Map<string, Figures[]>();
  for (const line of existsSync(FILE) ? readFileSync(FILE, "utf8").trim().split("\n") : []) {
    const { point, figures } = JSON.parse(line) as { point: string; figures: Figures };
    all.set(point, [...(all.get(point) ?? []), figures]);
  }
  return all;
}
