import type { Diagnosis } from "./diagnosis.ts";

/** How long a diagnosis is shown before it is made again, in ms. */
const AGAIN_MS = 10_000;

/** The newest diagnosis of the guest that is shown: made in the background, one guest at a time. */
export class LatestDiagnosis<Guest> {
  readonly #explain: (guest: Guest, signal: AbortSignal) => Promise<Diagnosis | undefined>;
  readonly #onChange: () => void;
  readonly #now: () => number;
  /** The last one that began. */
  #last: { readonly key: string; readonly at: number; result: Diagnosis | undefined } | undefined;
  #running: AbortController | undefined;

  /**
   * @param explain finds out what is wrong; undefined or an error where it cannot
   * @param onChange called when there is something new to show
   * @param now a clock in ms
   */
  constructor(
    explain: (guest: Guest, signal: AbortSignal) => Promise<Diagnosis | undefined>,
    onChange: () => void,
    now: () => number,
  ) {
    this.#explain = explain;
    this.#onChange = onChange;
    this.#now = now;
  }

  /** That of a guest by its key; undefined where none is known yet. Begins one when it is time. */
  of(key: string, guest: Guest): Diagnosis | undefined {
    const known = this.#last?.key === key ? this.#last : undefined;
    if (known === undefined) this.#running?.abort();
    const isDue = known === undefined || this.#now() - known.at >= AGAIN_MS;
    if (isDue && this.#running === undefined) void this.#begin(key, guest, known?.result);
    return known?.result;
  }

  /** The guest is not shown any more: an examination under way is cancelled, and the next visit begins another one. */
  leave(): void {
    if (this.#running !== undefined) this.forget();
  }

  /** The guest is well: what was wrong with it is no answer to what may be wrong later. */
  forget(): void {
    this.#running?.abort();
    this.#last = undefined;
  }

  async #begin(key: string, guest: Guest, before: Diagnosis | undefined): Promise<void> {
    const running = new AbortController();
    this.#running = running;
    const last = { key, at: this.#now(), result: before };
    this.#last = last;
    const result = await this.#explain(guest, running.signal).catch(() => undefined);
    if (result !== undefined) last.result = result;
    this.#running = undefined;
    // Also after a cancelled one: the guest that is shown now has waited for its end.
    this.#onChange();
  }
}
