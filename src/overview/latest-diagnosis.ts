import type { Diagnosis } from "./diagnosis.ts";

/** A diagnosis that is older than this, in ms, is made again. */
const AGAIN_MS = 10_000;

/** The newest diagnosis of the guest on the screen. It is made in the background, for one guest at a time. */
export class LatestDiagnosis<Guest> {
  readonly #explain: (guest: Guest, signal: AbortSignal) => Promise<Diagnosis | undefined>;
  readonly #onChange: () => void;
  readonly #now: () => number;
  /** The examination that began last. */
  #last: { readonly key: string; readonly at: number; result: Diagnosis | undefined } | undefined;
  #running: AbortController | undefined;

  /**
   * @param explain finds out what is wrong; resolves with undefined, or rejects, if it cannot
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

  /**
   * The diagnosis of a guest by its key; undefined if there is none yet. Begins an examination if the guest has none
   * yet, or if its last one is too old.
   */
  of(key: string, guest: Guest): Diagnosis | undefined {
    const known = this.#last?.key === key ? this.#last : undefined;
    if (known === undefined) this.#running?.abort();
    const isDue = known === undefined || this.#now() - known.at >= AGAIN_MS;
    if (isDue && this.#running === undefined) void this.#begin(key, guest, known?.result);
    return known?.result;
  }

  /**
   * Cancels the examination under way, and drops the diagnosis. Call it when the guest is well, or is no longer on the
   * screen. What is wrong with the guest later may be something else.
   */
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
    // `onChange` is called after a cancelled examination, too. The caller then asks again, and so the examination of
    // the guest that is on the screen now can begin.
    this.#onChange();
  }
}
