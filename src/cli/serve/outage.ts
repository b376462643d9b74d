/** How long something has been away. */
export class Outage {
  readonly #now: () => number;
  #since: number | undefined;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get isUnderWay(): boolean {
    return this.#since !== undefined;
  }

  /** Begins it, unless it is under way. */
  begin(): void {
    this.#since ??= this.#now();
  }

  /** Ends it. Returns how long it took, in ms; 0 if there was none. */
  end(): number {
    const ms = this.#since === undefined ? 0 : Math.round(this.#now() - this.#since);
    this.#since = undefined;
    return ms;
  }
}
