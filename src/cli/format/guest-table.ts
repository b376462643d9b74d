import { type DomainRates, RateMeter } from "../../client/rates.ts";
import { TableRow } from "../../client/table/rows.ts";
import { type Absent, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";
import { type Column, cellOf, defaultColumns } from "../../overview/columns.ts";
import { type Device, deviceLines } from "../../overview/devices.ts";
import { fitColumns } from "../../overview/fitting.ts";
import { GuestList, inOrder } from "../../overview/guest-list.ts";
import { type GuestLine, type Line, recordedRow } from "../../overview/line.ts";
import { Format } from "./format.ts";
import { alert, type Colour, pad, paint, printable, width } from "./text.ts";

/** The columns, the lines and the order of a table of guests. */
export interface GuestTableLook {
  /** All columns that the table may have. */
  readonly columns: readonly Column[];
  /** The columns that the user named, in their order; undefined: the columns of the groups. */
  readonly chosen: readonly Column[] | undefined;
  /** The requested groups as a mask; 0: all. */
  readonly groups: number;
  /** The kind of device that has a line of its own; undefined: each guest has one line. */
  readonly per: Device | undefined;
  /**
   * The column that orders guests with equally bad trouble, and guests without trouble; undefined: the column of names.
   */
  readonly sort: Column | undefined;
  readonly reverse: boolean;
  /** True if the guests are of several hosts. */
  readonly hosts: boolean;
  /** The moment of a recording, in ms since 1970; undefined for live records. */
  readonly at?: number | undefined;
}

/**
 * A table of all guests of one sweep, or of two sweeps with the rates between them. Guests in trouble come first, the
 * worst at the top. The table is printed at the end. After an interrupt, it has the guests whose records have arrived.
 */
export abstract class GuestTable extends Format {
  readonly #look: GuestTableLook;
  readonly #now = (): number => this.#look.at ?? performance.now();
  readonly #list = new GuestList(this.#now, 0);
  #rows = new Map<string, TableRow>();
  /** The rows of the first of two sweeps. The table shows them if the second sweep stops before its first record. */
  #before = new Map<string, TableRow>();
  readonly #absent: Absent[] = [];
  #lines: readonly Line[] | undefined;

  constructor(look: GuestTableLook) {
    super();
    this.#look = look;
  }

  override before(record: DomainStatsRecord, rates: DomainRates): void {
    const row = this.#row(record, rates);
    this.#before.set(row.key, row);
  }

  override record(record: DomainStatsRecord, rates: DomainRates = new RateMeter().take(record)): string {
    if (this.#before.size > 0) {
      this.#list.update([...this.#before.values()], [], []);
      this.#before = new Map();
    }
    const row = this.#row(record, rates);
    this.#rows.set(row.key, row);
    return "";
  }

  override event(event: Exclude<WatchEvent, { type: "record" }>): string {
    const { host, error } = { host: undefined, error: undefined, ...event };
    if (event.type === "status" && host !== undefined && error !== undefined) this.#absent.push({ host, error });
    return "";
  }

  override end(whole = true): string {
    // A completed sweep has every guest that still exists, so the table needs no rows of the first sweep.
    if (whole) this.#before = new Map();
    return this.text();
  }

  /** The whole table. */
  protected abstract text(): string;

  /** All lines in their order. Read it only after the last record, because the first result is kept. */
  get lines(): readonly Line[] {
    this.#lines ??= this.#inOrder();
    return this.#lines;
  }

  /** The guests in trouble, in the order of the table. */
  get troubled(): readonly GuestLine[] {
    // With --per, a guest has several lines. The map keeps one of them.
    const bad = this.lines.flatMap((line) => ("row" in line && line.verdict.bad ? [[line.key, line] as const] : []));
    return [...new Map(bad).values()];
  }

  /** The guests that are slow. */
  get slow(): readonly GuestLine[] {
    return this.#list.slow;
  }

  /** The columns of this table. */
  protected get columns(): readonly Column[] {
    const { columns, chosen, groups, hosts } = this.#look;
    return chosen ?? defaultColumns(columns, groups, hosts || this.#absent.length > 0);
  }

  #row(record: DomainStatsRecord, rates: DomainRates): TableRow {
    const { at } = this.#look;
    if (at !== undefined) return recordedRow(rates, at);
    return new TableRow(domainKey(record.domain), record, rates, false, this.#now);
  }

  #inOrder(): Line[] {
    const { columns, per, sort = columns.find(({ name }) => name === "guest")!, reverse } = this.#look;
    const rows = this.#rows.size > 0 ? this.#rows : this.#before;
    this.#list.update([...rows.values()], this.#absent, []);
    const guests = this.#list.guests.flatMap((line) => {
      const lines = per === undefined ? [line] : deviceLines(line, per);
      // A guest in trouble has a line even if its devices are not known.
      return lines.length === 0 && line.verdict.bad ? [line] : lines;
    });
    return inOrder(guests, this.#list.hosts, sort, sort.isText !== reverse);
  }
}

/** The width and the colours of a TextTable. */
export interface TextLook {
  /** The width of the terminal in cells; undefined if the output is no terminal: the table then has all columns. */
  readonly cells: number | undefined;
  readonly colours: boolean;
}

/**
 * A table for people, as wide as its texts need. On a terminal, the least important columns are left out until the rest
 * fits. For other outputs, a status has `-` in place of each space, so that programs can split the lines at spaces.
 */
export class TextTable extends GuestTable {
  readonly #look: TextLook;

  constructor(table: GuestTableLook, look: TextLook) {
    super(table);
    this.#look = look;
  }

  protected text(): string {
    const { lines } = this;
    let columns = this.columns.map((column) => {
      const texts = lines.map((line) => printable(this.#text(column, line)));
      return { column, texts, width: texts.reduce((most, text) => Math.max(most, width(text)), width(column.title)) };
    });
    columns = columns.filter(({ column, texts }) => column.name !== "why" || texts.some((text) => text !== "-"));
    const cells = this.#look.cells ?? Number.POSITIVE_INFINITY;
    fitColumns(
      columns,
      ({ column }) => column.rank,
      (shown) => shown.reduce((sum, each) => sum + each.width + GAP.length, -GAP.length) <= cells,
    );
    const row = (
      text: (column: (typeof columns)[number]) => string,
      look = (_: Column, cell: string) => cell,
    ): string =>
      columns
        .map((each, i) => {
          const { column, width } = each;
          const isLast = i === columns.length - 1;
          return look(
            column,
            isLast && column.isText ? text(each) : pad(text(each), width, column.isText ? "left" : "right"),
          );
        })
        .join(GAP)
        .trimEnd();
    const head = row(({ column }) => column.title);
    const body = lines.map((line, i) => {
      const { colours } = this.#look;
      if (!("row" in line) || line.verdict.bad)
        return alert(
          row(({ texts }) => texts[i]!),
          colours,
        );
      const colour = colours ? colourOf(line) : undefined;
      return row(
        ({ texts }) => texts[i]!,
        (column, cell) => (column.name === "status" && colour !== undefined ? paint(cell, colour) : cell),
      );
    });
    return [head, ...body, ""].join("\n");
  }

  #text(column: Column, line: Line): string {
    const text = cellOf(column, line);
    return column.name === "status" && this.#look.cells === undefined ? text.replaceAll(" ", "-") : text;
  }
}

/** The space between two columns. */
const GAP = "  ";

/** The colour of the status of a guest that is not in trouble. */
function colourOf({ row: { record }, verdict }: GuestLine): Colour | undefined {
  if (verdict.slow !== undefined) return "yellow";
  switch (record.state?.state) {
    case "running":
      return "green";
    case "shutoff":
      return "grey";
    case undefined:
      return undefined;
    default:
      return "yellow";
  }
}
