/** Admits so many events per second, and those of one second at once. */
export class Rate {
  readonly #perMs: number;
  readonly #most: number;
  readonly #now: () => number;
  #free: number;
  #at: number;

  /** @param now a steady clock, in ms */
  constructor(perSecond: number, now: () => number = () => performance.now()) {
    this.#perMs = perSecond / 1_000;
    this.#most = perSecond;
    this.#free = perSecond;
    this.#now = now;
    this.#at = now();
  }

  /** Counts an event, and returns 0; or returns in how many ms it may be, and does not count it. */
  take(): number {
    const now = this.#now();
    this.#free = Math.min(this.#most, this.#free + (now - this.#at) * this.#perMs);
    this.#at = now;
    // Half a µs of rounding must not cost a timer.
    if (this.#free + 1e-6 < 1) return (1 - this.#free) / this.#perMs;
    this.#free--;
    return 0;
  }
}
