import { median, medianOf } from "../rounds.ts";
import { type Fit, leastSquares } from "./fit.ts";
import type { Figures } from "./measure.ts";
import { POINTS, type Point } from "./point.ts";

const MIB = 2 ** 20;

interface Measured extends Point {
  readonly runs: readonly Figures[];
}

/**
 * A row of the table of slopes: what the slope is, its figure, and how far the measurements are from a straight line.
 */
type Line = readonly [what: string, figure: string, deviation: string];

/**
 * Two tables in Markdown: the points that were measured, and what a server, a host, a domain and a subscriber cost.
 * These costs are the slopes between the points.
 */
export function report(all: ReadonlyMap<string, readonly Figures[]>): string {
  const points = POINTS.flatMap((point) => {
    const runs = all.get(point.name);
    return runs === undefined ? [] : [{ ...point, runs }];
  });
  return [pointTable(points), slopeTable(points)].join("\n\n");
}

function pointTable(points: readonly Measured[]): string {
  const rows = points.map((point) => {
    const of = (figure: (figures: Figures) => number, scale = 1, digits = 0): string => {
      const values = point.runs.map((figures) => figure(figures) / scale);
      return `${median(values).toFixed(digits)} (${Math.min(...values).toFixed(digits)} to ${Math.max(...values).toFixed(digits)})`;
    };
    const { count } = point.subscribers;
    const scraped = point.scrapes !== undefined;
    return [
      point.name,
      point.runs.length,
      of(({ cpuMs }) => cpuMs, 10, 2),
      scraped ? of(({ scrapeMs = 0 }) => scrapeMs) : "",
      scraped ? of(({ scrapeBytes = 0 }) => scrapeBytes, 1_000) : "",
      of(({ memory }) => memory.heap, MIB, 1),
      of(({ memory }) => memory.rss, MIB),
      of(({ memory }) => memory.peak, MIB),
      count === 0 ? "" : of(({ bytes }) => bytes / count, 1_000, 2),
      count === 0 ? "" : of(({ messages }) => messages / count, 1, 1),
      of(({ delayMs }) => delayMs),
      of(({ delivered }) => delivered, 1, 2),
    ];
  });
  const head = [
    ...["point", "runs", "% of a core", "ms a scrape", "kB a scrape", "heap MiB", "resident MiB", "peak MiB"],
    ...["kB/s per subscriber", "messages/s per subscriber", "longest delay, ms", "delivered"],
  ];
  return table([head, head.map(() => "---"), ...rows]);
}

function slopeTable(points: readonly Measured[]): string {
  const single = points.filter(isAggregate);
  const { coefficients } = leastSquares(single.map(loadOf), single.map(cpuMicros));
  /** The processor time per second of this load with one subscriber, in µs, computed from the fitted coefficients. */
  const withOne = (point: Point): number => loadOf(point).reduce((sum, x, i) => sum + x * coefficients[i]!, 0);
  const lines: Line[] = [
    ...slopes(points, "embedded, per second", isEmbedded, ({ domains }) => [1, domains], cpuMicros, [
      ["a server, µs", 1],
      ["a domain at 1 Hz, µs", 1],
    ]),
    ...slopes(points, "of other servers, per second", isAggregate, loadOf, cpuMicros, [
      ["a server, µs", 1],
      ["a host at 1 Hz, with a subscriber, µs", 1],
      ["a domain at 1 Hz, with a subscriber, µs", 1],
    ]),
    ...slopes(
      points,
      "further subscribers at 1 Hz, each, per second",
      isSubscribed,
      ({ hosts, domains }) => [hosts, domains],
      (point) => (cpuMicros(point) - withOne(point)) / (point.subscribers.count - 1),
      [
        ["of a host, µs", 1],
        ["of a domain, µs", 1],
      ],
    ),
    ...slopes(
      points,
      "bytes to a subscriber per second at 1 Hz",
      (point) => isAggregate(point) || isSubscribed(point),
      ({ hosts, domains }) => [hosts, domains],
      (point) => medianOf(point.runs, ({ bytes }) => bytes) / point.subscribers.count,
      [
        ["of a host, B", 1],
        ["of a domain, B", 1],
      ],
    ),
    ...slopes(points, "heap, of other servers", isAggregate, loadOf, heapOf, [
      ["a server, MiB", 1 / MIB],
      ["a host, kB", 1 / 1_000],
      ["a domain, kB", 1 / 1_000],
    ]),
    ...slopes(points, "peak of the resident memory, of other servers", isAggregate, loadOf, peakOf, [
      ["a server, MiB", 1 / MIB],
      ["a host, kB", 1 / 1_000],
      ["a domain, kB", 1 / 1_000],
    ]),
    ...slopes(points, "peak of the resident memory, embedded", isEmbedded, ({ domains }) => [1, domains], peakOf, [
      ["a server, MiB", 1 / MIB],
      ["a domain, kB", 1 / 1_000],
    ]),
    ...slopes(
      points,
      "peak of the resident memory, subscribers",
      isOfThousand,
      ({ subscribers }) => [1, subscribers.count],
      peakOf,
      [
        ["without subscribers, MiB", 1 / MIB],
        ["a subscriber, kB", 1 / 1_000],
      ],
    ),
    ...slopes(
      points,
      "peak of the resident memory, queries",
      isOfQueries,
      ({ subscribers }) => [1, subscribers.queries ?? 1],
      peakOf,
      [
        ["without queries, MiB", 1 / MIB],
        ["a query of 1,000 domains, MiB", 1 / MIB],
      ],
    ),
    ...slopes(
      points,
      "queries of 10 hosts and 1,000 domains, per second",
      isOfQueries,
      ({ subscribers }) => [1, subscribers.queries ?? 1],
      cpuMicros,
      [
        ["a server, µs", 1],
        ["a query, µs", 1],
      ],
    ),
    ...slopes(
      points,
      "a scrape",
      ({ scrapes }) => scrapes !== undefined,
      ({ domains }) => [1, domains],
      scrapeOf,
      [
        ["a scrape, ms", 1],
        ["a domain, µs", 1_000],
      ],
    ),
  ];
  return table([["slope", "figure", "largest deviation"], ["---", "---", "---"], ...lines]);
}

const loadOf = ({ hosts, domains }: Point): number[] => [1, hosts, domains];

const isPlain = ({ name, shape, largeHeap, subscribers, tls }: Point): boolean =>
  !(shape || largeHeap || tls || subscribers.json || subscribers.guests) &&
  /^(domains|idle|hosts|subscribers)-/.test(name);
const isEmbedded = (point: Point): boolean => isPlain(point) && point.hosts === 0;
const isAggregate = (point: Point): boolean =>
  isPlain(point) && point.hosts > 0 && point.subscribers.count === 1 && point.subscribers.intervalMs === 1_000;
const isSubscribed = (point: Point): boolean =>
  isPlain(point) && point.subscribers.count > 1 && point.subscribers.intervalMs === 1_000;
const isOfThousand = (point: Point): boolean =>
  isPlain(point) && point.hosts === 10 && point.domains === 1_000 && point.subscribers.intervalMs === 1_000;
const isOfQueries = ({ name }: Point): boolean => /^queries-|^domains-1000-hosts-10$/.test(name);

const cpuMicros = ({ runs }: Measured): number => medianOf(runs, ({ cpuMs }) => cpuMs) * 1_000;
const heapOf = ({ runs }: Measured): number => medianOf(runs, ({ memory }) => memory.heap);
const peakOf = ({ runs }: Measured): number => medianOf(runs, ({ memory }) => memory.peak);
const scrapeOf = ({ runs }: Measured): number => medianOf(runs, ({ scrapeMs = 0 }) => scrapeMs);

/**
 * The slopes of a figure over some points.
 *
 * @param names the name of each slope, and the factor that converts it to its unit
 */
function slopes(
  points: readonly Measured[],
  title: string,
  has: (point: Point) => boolean,
  loadOf: (point: Point) => readonly number[],
  figureOf: (point: Measured) => number,
  names: readonly (readonly [name: string, unit: number])[],
): Line[] {
  const measured = points.filter(has);
  if (measured.length <= names.length) return [];
  const { coefficients, worst }: Fit = leastSquares(measured.map(loadOf), measured.map(figureOf));
  const deviation = `${(worst * 100).toFixed(0)} % of ${measured.length}`;
  return [
    [`**${title}**`, "", deviation],
    ...names.map(([name, unit], i): Line => [name, Number((coefficients[i]! * unit).toPrecision(3)).toString(), ""]),
  ];
}

function table(rows: readonly (readonly (string | number)[])[]): string {
  return rows.map((row) => `| ${row.join(" | ")} |`).join("\n");
}
