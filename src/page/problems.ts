import { absenceText, matterText, whyCommand } from "../overview/explanation.ts";
import { type GuestLine, type Line, nameOf } from "../overview/line.ts";
import { printable } from "../overview/words.ts";
import { element, setText } from "./element.ts";

/** The panel names at most this many problems. The table has all guests in trouble at its top. */
const NAMED = 5;
/** Of several new problems, this many are read out, and then the number of the others. */
const ANNOUNCED = 3;

/**
 * The panel of problems on top of the page. It is hidden when there are none. It announces new problems to screen
 * readers.
 */
export class Problems {
  readonly element: HTMLElement;
  /** The region that screen readers read out. */
  readonly announcer = element("p", { class: "only-read", role: "status", "aria-live": "polite" });
  readonly #list = element("ul");
  readonly #more = element("p", { class: "more" });
  readonly #onOpen: (key: string) => void;
  readonly #sourceOf: (host: string) => string;
  #known: ReadonlySet<string> = new Set();

  /** @param sourceOf returns the URI of a host, for commands */
  constructor(onOpen: (key: string) => void, sourceOf: (host: string) => string) {
    this.#onOpen = onOpen;
    this.#sourceOf = sourceOf;
    this.element = element("section", { class: "problems", "aria-label": "Problems" }, this.#list, this.#more);
    this.element.hidden = true;
  }

  /** Shows the first NAMED problems: the lines in trouble, in their order, and then the guests that are only slow. */
  show(trouble: readonly Line[], slow: readonly GuestLine[]): void {
    const lines = [...trouble, ...slow];
    this.element.hidden = lines.length === 0;
    this.element.classList.toggle("only-slow", trouble.length === 0);
    const named = lines.slice(0, NAMED);
    while (this.#list.children.length > named.length) this.#list.lastChild!.remove();
    for (const [i, line] of named.entries()) this.#item(i, line);
    const more = lines.length - named.length;
    this.#more.hidden = more === 0;
    const first = slow.length === 0 ? ": the table has them first" : "";
    setText(this.#more, more === 0 ? "" : `and ${more.toLocaleString("en")} more${first}`);
    this.#announce(trouble);
  }

  #item(i: number, line: Line): void {
    let item = this.#list.children[i] as HTMLLIElement | undefined;
    if (item === undefined) {
      const button = element("button", { type: "button" }, element("strong"), element("span"));
      button.addEventListener("click", () => {
        const { key } = button.dataset;
        if (key !== undefined) this.#onOpen(key);
      });
      item = element("li", {}, button, element("code"));
      this.#list.append(item);
    }
    const [button, command] = item.children as unknown as [HTMLButtonElement, HTMLElement];
    const isGuest = "row" in line;
    button.dataset["key"] = line.key;
    item.classList.toggle("slow", isGuest && line.verdict.slow !== undefined);
    setText(button.firstChild!, isGuest ? line.verdict.words : "NO HOST");
    setText(button.lastChild!, isGuest ? matterText(line) : absenceText(line));
    command.hidden = !isGuest;
    setText(command, isGuest ? whyCommand(line, this.#sourceOf(line.row.domain.host)) : "");
  }

  #announce(lines: readonly Line[]): void {
    const fresh = lines.filter(({ key }) => !this.#known.has(key));
    this.#known = new Set(lines.map(({ key }) => key));
    if (fresh.length === 0) return;
    const texts = fresh.slice(0, ANNOUNCED).map((line) => {
      if (!("row" in line)) return `${printable(line.host.host)} cannot be reached`;
      return `${printable(nameOf(line.row.domain))}: ${line.verdict.words.toLowerCase()}`;
    });
    if (fresh.length > ANNOUNCED) texts.push(`and ${fresh.length - ANNOUNCED} more problems`);
    setText(this.announcer, texts.join(", "));
  }
}
