/** Measures how long something was unavailable. */
export class Outage {
  readonly #now: () => number;
  #since: number | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get isUnderWay(): boolean {
    return this.#since !== undefined;
  }

  /** Begins an outage, unless one is under way. */
  begin(): void {
    this.#since ??= this.#now();
  }

  /** Ends the outage. Returns how long it took, in ms; 0 if there was none. */
  end(): number {
    const ms = this.#since === undefined ? 0 : Math.round(this.#now() - this.#since);
    this.#since = undefined;
    return ms;
  }
}
