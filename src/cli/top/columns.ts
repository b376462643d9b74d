import { nameOf } from "../format/column.ts";
import { disksSum, meanLatency, meanSteal, memoryInUse, memoryText, nicsSum } from "../format/figure.ts";
import { narrowBytes, percent } from "../format/quantity.ts";
import { pad, shorten, width } from "../format/text.ts";
import type { GuestLine, HostLine, Line } from "./line.ts";
import { span } from "./verdict.ts";

/** The columns by name: what the user sorts by. */
export type ColumnName =
  | "status"
  | "guest"
  | "host"
  | "vcpu"
  | "cpu"
  | "steal"
  | "mem"
  | "read"
  | "write"
  | "lat"
  | "rx"
  | "tx"
  | "age";

/** A column of the list. */
export interface Column {
  readonly name: ColumnName;
  readonly title: string;
  /** The key that sorts by it. */
  readonly key: string;
  readonly width: number;
  /** When the line has no room for all columns, those with the highest rank are left out first; 0 never. */
  readonly rank: number;
  /** Whether it is a text, which is written on the left and sorted from A to Z; else a number. */
  readonly isText: boolean;
  /** What it is sorted by; undefined where it is not known. */
  readonly value: (line: GuestLine) => number | string | undefined;
  readonly text: (line: GuestLine) => string;
  /** The text on the line of an absent host. */
  readonly hostText?: (line: HostLine) => string;
}

/** Not known: never zero. */
const UNKNOWN = "-";

const STATUS_WIDTH = 12;
const NAME_WIDTHS = { least: 12, most: 40 };

/** All columns, in their order. */
export const COLUMNS: readonly Column[] = [
  {
    ...{ name: "status", title: "STATUS", key: "t", width: STATUS_WIDTH, rank: 0, isText: true },
    value: ({ verdict }) => verdict.words,
    text: ({ verdict }) => verdict.words,
    hostText: () => "NO HOST",
  },
  {
    ...{ name: "guest", title: "GUEST", key: "n", width: NAME_WIDTHS.least, rank: 0, isText: true },
    value: ({ row: { domain } }) => domain.name,
    text: ({ row: { domain } }) => nameOf(domain),
    hostText: ({ guests }) => `(${guests} guest${guests === 1 ? "" : "s"})`,
  },
  {
    ...{ name: "host", title: "HOST", key: "h", width: 12, rank: 5, isText: true },
    value: ({ row: { domain } }) => domain.host,
    text: ({ row: { domain } }) => domain.host,
    hostText: ({ host }) => host.host,
  },
  number("vcpu", "VCPU", "v", 4, 4, ({ row }) => row.record.params.number("vcpu.current"), String),
  number("cpu", "CPU%", "c", 6, 1, ({ row }) => row.rates.cpu.percent, percent),
  number("steal", "STEAL%", "s", 6, 1, ({ row }) => meanSteal(row.rates), percent),
  {
    ...number("mem", "MEM", "m", 6, 3, ({ row }) => memoryInUse(row.rates), narrowBytes),
    text: ({ row }) => memoryText(row.rates) ?? UNKNOWN,
  },
  number("read", "READ/s", "r", 6, 6, ({ row }) => disksSum(row.rates, "readBytesPerSecond"), narrowBytes),
  number("write", "WRITE/s", "w", 7, 7, ({ row }) => disksSum(row.rates, "writeBytesPerSecond"), narrowBytes),
  number("lat", "LAT", "l", 6, 2, ({ row }) => meanLatency(row.rates), narrowMs),
  number("rx", "RX/s", "x", 6, 8, ({ row }) => nicsSum(row.rates, "receivedBytesPerSecond"), narrowBytes),
  number("tx", "TX/s", "y", 6, 9, ({ row }) => nicsSum(row.rates, "transmittedBytesPerSecond"), narrowBytes),
  {
    ...number("age", "AGE", "a", 4, 10, ({ row }) => row.ageMs, span),
    hostText: ({ ageMs }) => (ageMs === undefined ? UNKNOWN : span(ageMs)),
  },
];

function number(
  name: ColumnName,
  title: string,
  key: string,
  width: number,
  rank: number,
  value: (line: GuestLine) => number | undefined,
  words: (value: number) => string,
): Column {
  const text = (line: GuestLine): string => {
    const found = value(line);
    return found === undefined ? UNKNOWN : words(found);
  };
  return { name, title, key, width, rank, isText: false, value, text };
}

/**
 * The columns that fit into a number of cells. Names get the room that is left.
 *
 * @param hosts whether guests of several hosts are shown
 * @param longest the cells of the longest name
 */
export function columnsFor(cells: number, hosts: boolean, longest: number): Column[] {
  const name = Math.min(NAME_WIDTHS.most, Math.max(NAME_WIDTHS.least, longest));
  const shown = COLUMNS.filter((column) => hosts || column.name !== "host");
  const needed = (names: number): number =>
    shown.reduce((sum, column) => sum + (column.name === "guest" ? names : column.width), 0) + shown.length - 1;
  while (needed(name) > cells) {
    const rank = Math.max(...shown.map((column) => column.rank));
    // Names are shortened before the figures go that say how a guest does.
    if (rank <= 2 && needed(NAME_WIDTHS.least) <= cells) break;
    if (rank === 0) break;
    shown.splice(
      shown.findLastIndex((column) => column.rank === rank),
      1,
    );
  }
  const room = Math.max(NAME_WIDTHS.least, Math.min(name, cells - needed(0)));
  return shown.map((column) => (column.name === "guest" ? { ...column, width: room } : column));
}

/** One line of cells, each in its column. */
export function cellsOf(columns: readonly Column[], line: Line): string {
  const cells = columns.map((column) => {
    const text = "row" in line ? column.text(line) : (column.hostText?.(line) ?? UNKNOWN);
    return pad(shorten(text, column.width), column.width, column.isText ? "left" : "right");
  });
  return cells.join(" ");
}

/** The titles, with a mark at the column that the list is sorted by. */
export function titles(columns: readonly Column[], sort: ColumnName): string {
  const cells = columns.map(({ name, title, width: cells, isText }) => {
    const marked = name === sort && width(title) < cells ? (isText ? `${title}↑` : `↓${title}`) : title;
    return pad(marked, cells, isText ? "left" : "right");
  });
  return cells.join(" ");
}

/** A time in at most six characters: `0.25ms`, `12ms`, `1.5s`. */
export function narrowMs(ms: number): string {
  if (ms < 9.995) return `${ms.toFixed(2)}ms`;
  return ms < 9_999.5 ? `${Math.round(ms)}ms` : `${Math.round(ms / 1_000)}s`;
}
