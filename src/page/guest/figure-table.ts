import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";

/** A small table of figures: one line for each device of a guest. */
export class FigureTable {
  readonly element: HTMLElement;
  readonly #body = element("tbody");

  constructor(caption: string, titles: readonly string[]) {
    const heads = titles.map((title) => element("th", { scope: "col" }, title));
    this.element = element(
      "div",
      // The table can be wider than the screen, so the keyboard must be able to scroll it.
      { class: "figures", tabindex: "0", role: "region", "aria-label": caption },
      element(
        "table",
        {},
        element("caption", {}, caption),
        element("thead", {}, element("tr", {}, ...heads)),
        this.#body,
      ),
    );
  }

  /** Shows rows of cells. Without rows, the table is hidden. */
  show(rows: readonly (readonly string[])[]): void {
    this.element.hidden = rows.length === 0;
    while (this.#body.rows.length > rows.length) this.#body.lastChild!.remove();
    for (const [i, cells] of rows.entries()) {
      let row = this.#body.rows[i];
      if (row === undefined) {
        row = element("tr", {}, element("th", { scope: "row" }), ...cells.slice(1).map(() => element("td")));
        this.#body.append(row);
      }
      for (const [j, text] of cells.entries()) setText(row.children[j]!, printable(text));
    }
  }
}
