import type { Diagnosis } from "../../overview/diagnosis.ts";
import type { GuestLine } from "../../overview/line.ts";

/** How long a diagnosis is shown before it is made again, in ms. */
const AGAIN_MS = 10_000;

/** What is wrong with the guest whose page is shown: found out in the background, one guest at a time. */
export class GuestDiagnosis {
  readonly #explain: (line: GuestLine, signal: AbortSignal) => Promise<Diagnosis>;
  readonly #onChange: () => void;
  readonly #now: () => number;
  /** The last one that began. */
  #last: { readonly key: string; readonly at: number; result: Diagnosis | undefined } | undefined;
  #running: AbortController | undefined;

  /**
   * @param onChange called when there is something new to show
   * @param now a clock in ms
   */
  constructor(
    explain: (line: GuestLine, signal: AbortSignal) => Promise<Diagnosis>,
    onChange: () => void,
    now: () => number,
  ) {
    this.#explain = explain;
    this.#onChange = onChange;
    this.#now = now;
  }

  /** The newest diagnosis of a guest; undefined where none is known yet. Begins one when it is time. */
  of(line: GuestLine): Diagnosis | undefined {
    const { key } = line;
    const known = this.#last?.key === key ? this.#last : undefined;
    if (known === undefined) this.#running?.abort();
    const isDue = known === undefined || this.#now() - known.at >= AGAIN_MS;
    if (isDue && this.#running === undefined) void this.#begin(line, known?.result);
    return known?.result;
  }

  /** The page is left: what runs is cancelled. */
  leave(): void {
    if (this.#running === undefined) return;
    this.#running.abort();
    // It has no result, so the next visit begins another one.
    this.#last = undefined;
  }

  async #begin(line: GuestLine, before: Diagnosis | undefined): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    const last = { key: line.key, at: this.#now(), result: before };
    this.#last = last;
    const result = await this.#explain(line, running.signal).catch(() => undefined);
    if (result !== undefined) last.result = result;
    this.#running = undefined;
    // Also after a cancelled one: the guest that is shown now has waited for its end.
    this.#onChange();
  }
}
