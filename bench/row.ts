/** One line of the result. Every ratio is virstream's cost divided by the peer's: smaller is better. */
export interface BenchRow {
  readonly what: string;
  readonly ours: string;
  readonly peer: string;
  /** virstream's cost divided by the peer's; in paired rounds the median of ratios, not the ratio of medians. */
  readonly ratio: number;
  /** The limit of the ratio; absent if the figure is only for information. */
  readonly target?: number;
}

/** The options of a benchmark. */
export interface BenchOptions {
  /**
   * The number of paired rounds. Each round measures every contender once. With its default number of rounds, a
   * benchmark takes one or two minutes.
   */
  readonly rounds?: number;
}

/** Measures one thing, and prints its progress to stderr. */
export type Benchmark = (options?: BenchOptions) => Promise<readonly BenchRow[]>;

/** The rows as a table in plain text. */
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

/** A ratio in readable form: `1/6.6` for small ratios, `1.21` for others. */
function formatRatio(ratio: number): string {
  if (ratio >= 0.5 || ratio <= 0) return Number(ratio.toPrecision(3)).toString();
  const inverse = 1 / ratio;
  return `1/${Number(inverse.toPrecision(inverse < 100 ? 2 : 3))}`;
}
