import { readFileSync, writeFileSync } from "node:fs";

/** A row of the tables in docs/performance.md. `times`: the peer's figure divided by virstream's. */
interface Bar {
  readonly part: string;
  readonly what: string;
  readonly ours: string;
  readonly peer: string;
  readonly times: number;
}

const PAGE = new URL("../docs/performance.md", import.meta.url);
const CHART = new URL("../docs/performance.svg", import.meta.url);
/** Rows whose `times` is smaller are not drawn; docs/performance.md has all rows. */
const LEAST_TIMES = 2;

const WIDTH = 960;
const LABEL_WIDTH = 500;
const FIGURE_WIDTH = 150;
const ROW_HEIGHT = 20;
const PART_HEIGHT = 30;

/** Draws the tables of docs/performance.md into docs/performance.svg. */
export function drawChart(): void {
  writeFileSync(CHART, chartOf(readFileSync(PAGE, "utf8")));
}

/**
 * An SVG image of those rows of the page's tables whose ratio is 1/2 or less: a bar for each row, on a scale of powers
 * of ten.
 */
export function chartOf(page: string): string {
  const bars = barsOf(page);
  const most = Math.max(...bars.map(({ times }) => times));
  const scale = (times: number): number =>
    (Math.log10(times) / Math.ceil(Math.log10(most))) * (WIDTH - LABEL_WIDTH - FIGURE_WIDTH);
  const lines: string[] = [];
  let y = 30;
  let part = "";
  for (const bar of bars) {
    if (bar.part !== part) {
      part = bar.part;
      y += PART_HEIGHT;
      lines.push(`<text x="8" y="${y - 8}" font-weight="bold">${escaped(part)}</text>`);
    }
    const width = scale(bar.times).toFixed(1);
    const figures = `${bar.times} times (${bar.ours}, ${bar.peer})`;
    lines.push(
      `<text x="${LABEL_WIDTH - 8}" y="${y + 14}" text-anchor="end">${escaped(bar.what)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${y + 3}" width="${width}" height="${ROW_HEIGHT - 6}" fill="#0072b2"/>`,
      `<text x="${LABEL_WIDTH + Number(width) + 6}" y="${y + 14}">${escaped(figures)}</text>`,
    );
    y += ROW_HEIGHT;
  }
  const title =
    "How many times faster, or smaller, virstream is than its peer in the same run. The scale is logarithmic: 1, 10, 100, 1,000";
  const grid = Array.from({ length: Math.ceil(Math.log10(most)) + 1 }, (_, power) => {
    const x = LABEL_WIDTH + scale(10 ** power);
    return `<line x1="${x}" y1="34" x2="${x}" y2="${y}" stroke="#ccc"/>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + 10}" font-family="sans-serif" font-size="12">`,
    `<title>${title}</title>`,
    `<rect width="100%" height="100%" fill="#fff"/>`,
    ...grid,
    `<text x="8" y="20" font-size="13">${title}</text>`,
    ...lines,
    "</svg>\n",
  ].join("\n");
}

function barsOf(page: string): Bar[] {
  const bars: Bar[] = [];
  let [part, subject, peerOf] = ["", "", ""];
  for (const line of page.split("\n")) {
    if (line.startsWith("## ")) part = line.slice(3);
    if (!line.startsWith("| ")) continue;
    const [what = "", ours = "", peer = "", ratio = ""] = line.split("|").slice(1).map(plain);
    if (line.startsWith("| **")) {
      part = what.replace(/:.*/, "");
      peerOf = "";
      continue;
    }
    // A row that begins with … continues the row before. A row that names no peer has the peer of the row before.
    if (!what.startsWith("…")) subject = what.split(/, |: /)[0]!;
    peerOf = /, (against .*)/.exec(what)?.[1] ?? peerOf;
    const whole = what.replace(/^…/, `${subject},`);
    const times = Number(/^1\/([\d.]+)$/.exec(ratio)?.[1]);
    if (times < LEAST_TIMES || Number.isNaN(times) || part === "") continue;
    bars.push({
      part,
      what: whole.includes("against") || peerOf === "" ? whole : `${whole}, ${peerOf}`,
      ours,
      peer,
      times,
    });
  }
  return bars;
}

function plain(text: string): string {
  return text.replaceAll(/[`*]|\(†\)/g, "").trim();
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
