/** Limits a rate, such as events per second. All events that the limit permits in one second may also come at once. */
export class Rate {
  readonly #perSecond: () => number;
  readonly #now: () => number;
  #free: number;
  #at: number;

  /**
   * @param perSecond returns the limit, which may change
   * @param now a steady clock, in ms
   */
  constructor(perSecond: () => number, now: () => number = () => performance.now()) {
    this.#perSecond = perSecond;
    this.#free = perSecond();
    this.#now = now;
    this.#at = now();
  }

  /**
   * Counts an event of this cost and returns 0, if there is room. Otherwise does not count it, and returns after how
   * many ms there will be room.
   */
  take(cost = 1): number {
    const now = this.#now();
    const most = this.#perSecond();
    const perMs = most / 1_000;
    this.#free = Math.min(most, this.#free + (now - this.#at) * perMs);
    this.#at = now;
    // The small addend keeps a rounding error from causing a wait.
    if (this.#free + 1e-6 < cost) return (cost - this.#free) / perMs;
    this.#free -= cost;
    return 0;
  }
}
