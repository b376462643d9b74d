import { cellOf } from "../../overview/columns.ts";
import { isOld, type Line } from "../../overview/line.ts";
import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";
import type { PageColumn } from "./columns.ts";
import type { CpuHistory } from "./cpu-history.ts";
import { Sparkline } from "./sparkline.ts";

/** One row of the table on the screen. When the user scrolls, the same row shows another line. */
export class GuestRow {
  readonly element: HTMLElement;
  readonly #cells: HTMLElement[];
  readonly #columns: readonly PageColumn[];
  readonly #intervalMs: number;
  readonly #sparkline = new Sparkline();
  /** The key of the line that it shows. */
  key: string | undefined;
  #top = -1;

  constructor(id: string, columns: readonly PageColumn[], intervalMs: number) {
    this.#intervalMs = intervalMs;
    this.#columns = columns;
    this.#cells = columns.map(({ name, isText }) => {
      const cell = element("div", { role: "gridcell", class: isText ? `${name} text` : name });
      if (name === "trend") cell.append(this.#sparkline.element);
      return cell;
    });
    this.element = element("div", { role: "row", id, class: "row" }, ...this.#cells);
  }

  /** Shows a line at a place. It changes only the parts that differ from before. */
  show(line: Line, index: number, top: number, selected: boolean, cpu: CpuHistory): void {
    this.key = line.key;
    if (top !== this.#top) {
      this.#top = top;
      this.element.style.transform = `translateY(${top}px)`;
      // aria-rowindex begins at 1, and the header is the first row.
      this.element.setAttribute("aria-rowindex", String(index + 2));
    }
    const isGuest = "row" in line;
    const bad = !isGuest || line.verdict.bad;
    const old = isGuest && isOld(line.row, this.#intervalMs);
    this.element.classList.toggle("bad", bad);
    this.element.classList.toggle("old", old);
    this.element.classList.toggle("slow", isGuest && line.verdict.slow !== undefined);
    if ((this.element.getAttribute("aria-selected") === "true") !== selected) {
      this.element.setAttribute("aria-selected", String(selected));
    }
    for (const [i, { name, of }] of this.#columns.entries()) {
      if (of === undefined) this.#sparkline.draw(isGuest ? cpu.of(line.key) : []);
      else {
        const text = printable(cellOf(of, line));
        setText(this.#cells[i]!, text);
        if (name === "guest" || name === "host") this.#cells[i]!.title = text;
      }
    }
  }
}
