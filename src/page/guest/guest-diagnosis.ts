import type { DomainIdentity } from "../../model/record.ts";
import type { Diagnosis } from "../../overview/diagnosis.ts";
import { LatestDiagnosis } from "../../overview/latest-diagnosis.ts";
import { printable } from "../../overview/words.ts";
import { element, setText } from "../element.ts";

/**
 * A function that asks the server what is wrong with a guest. It resolves with undefined if the server has no
 * diagnosis. If the server refuses to answer this client, it resolves with the reason, a text.
 */
export type AskWhy = (domain: DomainIdentity, signal: AbortSignal) => Promise<Diagnosis | string | undefined>;

/** What is wrong with the open guest, the evidence for it, and what helps: the answer of `virstream why`. */
export class GuestDiagnosis {
  readonly element: HTMLElement;
  readonly #summary = element("p", { class: "explanation" });
  readonly #evidence = element("ul", { class: "evidence" });
  readonly #remedy = element("ul", { class: "remedy", "aria-label": "What helps" });
  readonly #latest: LatestDiagnosis<DomainIdentity>;
  /** Why the server refused the last question. The reason depends on the client, and not on the guest. */
  #refusal = "";

  /** @param onChange called when there is something new to show */
  constructor(ask: AskWhy, onChange: () => void) {
    const explain = async (domain: DomainIdentity, signal: AbortSignal): Promise<Diagnosis | undefined> => {
      const answer = await ask(domain, signal);
      this.#refusal = typeof answer === "string" ? answer : "";
      return typeof answer === "string" ? undefined : answer;
    };
    this.#latest = new LatestDiagnosis(explain, onChange, () => performance.now());
    this.element = element("div", { class: "diagnosis" }, this.#summary, this.#evidence, this.#remedy);
    this.element.hidden = true;
  }

  /**
   * Shows the last diagnosis of a guest, and asks for a new one when it is too old. Returns false if there is no
   * diagnosis; it then shows why the server refused to answer, if the server did.
   */
  show(key: string, domain: DomainIdentity): boolean {
    const diagnosis = this.#latest.of(key, domain);
    if (diagnosis?.wrong !== true) {
      this.element.hidden = this.#refusal === "";
      setText(this.#summary, printable(this.#refusal && `The server does not say what is wrong: ${this.#refusal}.`));
      this.#fill(this.#evidence, []);
      this.#fill(this.#remedy, []);
      return false;
    }
    this.element.hidden = false;
    const { summary, evidence, records, remedy } = diagnosis;
    setText(this.#summary, printable(summary));
    this.#fill(this.#evidence, records === undefined ? evidence : [...evidence, records]);
    this.#fill(this.#remedy, remedy, "code");
    return true;
  }

  /** Hides the diagnosis, because the guest is well or its view is closed. */
  hide(): void {
    this.#latest.forget();
    this.element.hidden = true;
  }

  /** Sets the items of a list. It changes only items that differ, so that a user can select a text. */
  #fill(list: HTMLElement, texts: readonly string[], name?: "code"): void {
    while (list.children.length > texts.length) list.lastChild!.remove();
    for (const [i, text] of texts.entries()) {
      if (i >= list.children.length) list.append(element("li", {}, ...(name === undefined ? [] : [element(name)])));
      const item = list.children[i]!;
      setText(name === undefined ? item : item.firstChild!, printable(text));
    }
  }
}
