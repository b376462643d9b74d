/** Admits so much per second, such as events, and what one second admits at once. */
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

  /** Counts an event, or what costs so much, and returns 0; or returns in how many ms it may be, and does not count it. */
  take(cost = 1): number {
    const now = this.#now();
    this.#free = Math.min(this.#most, this.#free + (now - this.#at) * this.#perMs);
    this.#at = now;
    // Half a µs of rounding must not cost a timer.
    if (this.#free + 1e-6 < cost) return (cost - this.#free) / this.#perMs;
    this.#free -= cost;
    return 0;
  }
}
