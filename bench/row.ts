/** One line of the result. Every ratio is a cost, ours of the peer's: smaller is better. */
export interface BenchRow {
  readonly what: string;
  readonly ours: string;
  readonly peer: string;
  /** Our cost as a part of the peer's; in paired rounds the median of the rounds' ratios, not the ratio of the medians. */
  readonly ratio: number;
  /** What the ratio may be at most; absent where a figure is only for information. */
  readonly target?: number;
}

/** How a benchmark is run. */
export interface BenchOptions {
  /** Paired rounds: each measures every contender once. Each benchmark has a default that takes about a minute or two. */
  readonly rounds?: number;
}

/** Measures one thing, tells its progress on stderr. */
export type Benchmark = (options?: BenchOptions) => Promise<readonly BenchRow[]>;

/** Rows as a table for people, every column as wide as it needs. */
export function formatTable(rows: readonly BenchRow[]): string {
  const lines = [["what", "ours", "peer", "ratio", "target", "met"]];
  for (const { what, ours, peer, ratio, target } of rows) {
    const met = target === undefined ? "" : ratio <= target ? "yes" : "NO";
    lines.push([what, ours, peer, formatRatio(ratio), target === undefined ? "" : `≤ ${formatRatio(target)}`, met]);
  }
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const rule = widths.map((width) => "-".repeat(width));
  return [lines[0]!, rule, ...lines.slice(1)]
    .map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`)
    .join("\n");
}

/** A ratio as one reads it: `1/6.6` for what is several times less, `1.21` for the rest. */
function formatRatio(ratio: number): string {
  if (ratio >= 0.5 || ratio <= 0) return Number(ratio.toPrecision(3)).toString();
  const inverse = 1 / ratio;
  return `1/${Number(inverse.toPrecision(inverse < 100 ? 2 : 3))}`;
}
