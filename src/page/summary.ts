import type { Totals } from "../overview/guest-list.ts";
import { summaryOf } from "../overview/summary.ts";
import { element, setText } from "./element.ts";

/** The line at the top of the page that sums up all guests and hosts. */
export class Summary {
  readonly element = element("ul", { class: "summary", "aria-label": "Summary" });
  readonly #items: HTMLLIElement[] = [];

  show(totals: Totals): void {
    const parts = summaryOf(totals);
    while (this.#items.length < parts.length) {
      const item = element("li");
      this.#items.push(item);
      this.element.append(item);
    }
    for (const [i, item] of this.#items.entries()) {
      const part = parts[i];
      item.hidden = part === undefined;
      item.classList.toggle("trouble", part?.bad === true);
      setText(item, part?.text ?? "");
    }
  }
}
