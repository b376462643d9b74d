/** Limits a rate, such as events per second. The amount of one second may also come at once. */
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

  /**
   * Counts an event of this cost and returns 0, if there is room. Otherwise does not count it, and returns after how
   * many ms there will be room.
   */
  take(cost = 1): number {
    const now = this.#now();
    this.#free = Math.min(this.#most, this.#free + (now - this.#at) * this.#perMs);
    this.#at = now;
    // A rounding error of half a µs must not cause a wait.
    if (this.#free + 1e-6 < cost) return (cost - this.#free) / this.#perMs;
    this.#free -= cost;
    return 0;
  }
}
