import { span } from "../overview/quantity.ts";
import { printable } from "../overview/words.ts";
import { element, setText } from "./element.ts";

/** The bar at the top of the page that says why there are no live figures, and since when. */
export class ConnectionNotice {
  readonly element = element("div", { class: "notice" });
  /** The reason. A screen reader reads it out once, when it changes. */
  readonly #text = element("span", { role: "status" });
  /** How long the reason has lasted. It changes each second, so a screen reader does not read it out. */
  readonly #time = element("span", { "aria-hidden": "true" });
  readonly #detail = element("span", { class: "detail" });
  #since: number | undefined;

  constructor() {
    this.element.append(this.#text, this.#time, this.#detail);
    this.element.hidden = true;
  }

  /**
   * @param kind the colour: amber while the page connects, and for a fault; calm for a pause that the user wanted, and
   *   for the end of a recording
   */
  show(kind: "amber" | "calm", text: string, detail = ""): void {
    if (this.#since === undefined || this.element.dataset["text"] !== text) this.#since = Date.now();
    this.element.dataset["text"] = text;
    this.element.className = `notice ${kind}`;
    this.element.hidden = false;
    setText(this.#text, `${text} since ${new Date(this.#since).toLocaleTimeString("en-GB")}`);
    setText(this.#detail, printable(detail));
    this.tick();
  }

  hide(): void {
    this.#since = undefined;
    this.element.hidden = true;
    setText(this.#text, "");
  }

  /** Updates the time. Call it once per second. */
  tick(): void {
    if (this.#since !== undefined) setText(this.#time, ` (${span(Date.now() - this.#since)})`);
  }
}
