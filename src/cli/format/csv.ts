import type { Column } from "../../overview/columns.ts";
import type { Line } from "../../overview/line.ts";
import { UNKNOWN } from "../../overview/quantity.ts";
import { GuestTable } from "./guest-table.ts";
import { printable } from "./text.ts";

/**
 * The characters that a spreadsheet may take for the beginning of a formula. The last four are full-width forms of the
 * first four, to which a spreadsheet may convert them.
 */
const FORMULA = /^[=+\-@\t\r＝＋－＠]/;

/**
 * The table as CSV by RFC 4180: a header, lines that end with CR LF, quotes where they are necessary. Numbers are
 * plain, with a decimal point, and in the unit that the header names. An unknown number is empty.
 */
export class CsvTable extends GuestTable {
  protected text(): string {
    const { columns } = this;
    const head = columns.map(({ name, unit }) => `${name}${unit === undefined ? "" : `_${unit}`}`.replaceAll("-", "_"));
    const body = this.lines.map((line) => columns.map((column) => field(column, line)));
    return [head, ...body].map((fields) => `${fields.join(",")}\r\n`).join("");
  }
}

function field(column: Column, line: Line): string {
  const value = "row" in line ? column.value(line) : column.isText ? column.hostText?.(line) : undefined;
  if (value === undefined || value === UNKNOWN) return "";
  if (typeof value !== "string") return typeof value === "number" ? String(Number(value.toFixed(3))) : String(value);
  return quoted(value);
}

/**
 * Quotes a text that another program may have made, such as a name. If it looks like a formula, an apostrophe before it
 * keeps a spreadsheet from running it.
 */
function quoted(value: string): string {
  const text = printable(FORMULA.test(value) ? `'${value}` : value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
