import type { KnownGroup } from "../../model/group.ts";
import { type Column, screenColumn } from "../../overview/columns.ts";
import { fitColumns } from "../../overview/fitting.ts";

/** A column of the table. The column `trend` draws the CPU of the last 60 samples as a line. */
export interface PageColumn {
  readonly name: string;
  readonly title: string;
  /** The text that a screen reader reads instead of the title. */
  readonly label: string;
  /** The least width, in pixels. */
  readonly width: number;
  /**
   * If there is no room for all columns, the columns of the highest rank are left out first. Columns of rank 0 always
   * stay.
   */
  readonly rank: number;
  readonly isText: boolean;
  readonly group: KnownGroup | undefined;
  /** The column of the same name in SCREEN_COLUMNS; undefined for `trend`, which only the page has. */
  readonly of: Column | undefined;
}

/** The space between two columns, in pixels; guests.css has the same gap. */
const GAP = 8;
/** The space to the left of the first column plus the space to the right of the last column, in pixels. */
const PADDING = 16;

/** All columns, in their order. */
const COLUMNS: readonly PageColumn[] = [
  column("status", "Status", 104, 0),
  column("guest", "Guest", 104, 0),
  column("host", "Host", 96, 7),
  column("vcpu", "Virtual CPUs", 44, 6),
  column("cpu", "CPU in percent of one processor", 56, 1),
  {
    ...{ name: "trend", title: "TREND", label: "CPU of the last 60 samples", width: 60 },
    rank: 2,
    isText: true,
    group: "cpu-total",
    of: undefined,
  },
  column("steal", "Steal in percent", 64, 4),
  column("mem", "Memory in use", 60, 5),
  column("read", "Bytes read per second", 64, 8),
  column("write", "Bytes written per second", 68, 9),
  column("lat", "Disk latency", 60, 3),
  column("rx", "Bytes received per second", 60, 10),
  column("tx", "Bytes sent per second", 60, 11),
  column("age", "Age of the figures", 44, 12),
];

function column(name: string, label: string, width: number, rank: number): PageColumn {
  const of = screenColumn(name)!;
  return { name, title: of.title, label, width, rank, isText: of.isText, group: of.group, of };
}

/**
 * The columns that fit.
 *
 * @param pixels the width of the table
 * @param hosts true if the guests are on several hosts
 */
export function columnsFor(pixels: number, hosts: boolean): PageColumn[] {
  const shown = COLUMNS.filter(({ name }) => hosts || name !== "host");
  const widthOf = (columns: readonly PageColumn[]): number =>
    PADDING + columns.reduce((sum, { width }) => sum + width + GAP, -GAP);
  return fitColumns(
    shown,
    ({ rank }) => rank,
    (columns) => widthOf(columns) <= pixels,
  );
}

/** The groups that the columns need. */
export function groupsOf(columns: readonly PageColumn[]): KnownGroup[] {
  return [...new Set(columns.flatMap(({ group }) => group ?? []))];
}

/** The widths, for CSS: the column of names gets the room that is left. */
export function gridTemplate(columns: readonly PageColumn[]): string {
  return columns.map(({ name, width }) => (name === "guest" ? `minmax(${width}px, 1fr)` : `${width}px`)).join(" ");
}
