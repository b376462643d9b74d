import { type Column, cellOf, SCREEN_COLUMNS } from "../../overview/columns.ts";
import { fitColumns } from "../../overview/fitting.ts";
import type { Line } from "../../overview/line.ts";
import { pad, shorten, width } from "../format/text.ts";

/** The least and the greatest width of the column of names, in cells. */
const NAME_WIDTHS = { least: 12, most: 40 };

/**
 * The columns that fit into a number of cells. Names get the room that is left.
 *
 * @param hosts true if the guests are on several hosts
 * @param longest the width of the longest name in cells
 */
export function columnsFor(cells: number, hosts: boolean, longest: number): Column[] {
  const name = Math.min(NAME_WIDTHS.most, Math.max(NAME_WIDTHS.least, longest));
  const shown = SCREEN_COLUMNS.filter((column) => hosts || column.name !== "host");
  const needed = (columns: readonly Column[], names: number): number =>
    columns.reduce((sum, column) => sum + (column.name === "guest" ? names : column.width), 0) + columns.length - 1;
  // Names become shorter before the most important figures are left out.
  fitColumns(
    shown,
    ({ rank }) => rank,
    (columns, rank) => needed(columns, rank <= 2 ? NAME_WIDTHS.least : name) <= cells,
  );
  const room = Math.max(NAME_WIDTHS.least, Math.min(name, cells - needed(shown, 0)));
  return shown.map((column) => (column.name === "guest" ? { ...column, width: room } : column));
}

/**
 * One line of the table: the cell of each column.
 *
 * @param splittable true to leave no space in a status, so that programs can split the line at spaces
 */
export function cellsOf(columns: readonly Column[], line: Line, splittable = false): string {
  return lineOf(columns, (column) => {
    const text = cellOf(column, line);
    return splittable && column.name === "status" ? text.replaceAll(" ", "-") : text;
  });
}

/** The titles, with an arrow at the column by which the list is sorted. */
export function titles(columns: readonly Column[], sort?: string): string {
  return lineOf(columns, ({ name, title, width: cells, isText }) =>
    name === sort && width(title) < cells ? (isText ? `${title}↑` : `↓${title}`) : title,
  );
}

function lineOf(columns: readonly Column[], text: (column: Column) => string): string {
  const cells = columns.map((column) =>
    pad(shorten(text(column), column.width), column.width, column.isText ? "left" : "right"),
  );
  return cells.join(" ");
}
