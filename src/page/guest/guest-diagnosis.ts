import type { DomainIdentity } from "../../model/record.ts";
import type { Diagnosis } from "../../overview/diagnosis.ts";
import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";

/** How long a diagnosis is shown before the server is asked again, in ms. */
const AGAIN_MS = 10_000;

/** Asks the server what is wrong with a guest; undefined where it does not say. */
export type AskWhy = (domain: DomainIdentity, signal: AbortSignal) => Promise<Diagnosis | undefined>;

/** What is wrong with the open guest, how that is known, and what helps: the answer of `virstream why`. */
export class GuestDiagnosis {
  readonly element: HTMLElement;
  readonly #summary = element("p", { class: "explanation" });
  readonly #evidence = element("ul", { class: "evidence" });
  readonly #remedy = element("ul", { class: "remedy", "aria-label": "What helps" });
  readonly #ask: AskWhy;
  readonly #onChange: () => void;
  #key: string | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: AbortController | undefined;
  #known = false;

  /** @param onChange called when there is something new to show */
  constructor(ask: AskWhy, onChange: () => void) {
    this.#ask = ask;
    this.#onChange = onChange;
    this.element = element("div", { class: "diagnosis" }, this.#summary, this.#evidence, this.#remedy);
    this.element.hidden = true;
  }

  /** Shows what is known of a guest, and asks when it is time. Returns false where nothing is known. */
  show(key: string, domain: DomainIdentity): boolean {
    if (key !== this.#key) this.hide();
    this.#key = key;
    if (this.#asking === undefined && performance.now() - this.#askedAt >= AGAIN_MS) void this.#begin(domain);
    this.element.hidden = !this.#known;
    return this.#known;
  }

  /** The guest is well, or its view is closed. */
  hide(): void {
    this.#asking?.abort();
    this.#asking = undefined;
    this.#key = undefined;
    this.#askedAt = Number.NEGATIVE_INFINITY;
    this.#known = false;
    this.element.hidden = true;
  }

  async #begin(domain: DomainIdentity): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    this.#askedAt = performance.now();
    const diagnosis = await this.#ask(domain, asking.signal).catch(() => undefined);
    if (this.#asking !== asking) return;
    this.#asking = undefined;
    // A server that is busy, or away, may say more the next time.
    if (diagnosis?.wrong !== true) return;
    this.#known = true;
    setText(this.#summary, printable(diagnosis.summary));
    this.#fill(this.#evidence, [
      ...diagnosis.evidence,
      ...(diagnosis.records === undefined ? [] : [diagnosis.records]),
    ]);
    this.#fill(this.#remedy, diagnosis.remedy, "code");
    this.#onChange();
  }

  /** The items of a list. Only what differs from before is changed, so that a text can be selected. */
  #fill(list: HTMLElement, texts: readonly string[], name?: "code"): void {
    while (list.children.length > texts.length) list.lastChild!.remove();
    for (const [i, text] of texts.entries()) {
      if (i >= list.children.length) list.append(element("li", {}, ...(name === undefined ? [] : [element(name)])));
      const item = list.children[i]!;
      setText(name === undefined ? item : item.firstChild!, printable(text));
    }
  }
}
