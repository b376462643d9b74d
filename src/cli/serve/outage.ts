/** Measures how long something was unavailable. */
export class Outage {
  #since: number | undefined;

  get isUnderWay(): boolean {
    return this.#since !== undefined;
  }

  /** Begins an outage, unless one is under way. */
  begin(): void {
    this.#since ??= performance.now();
  }

  /** Ends the outage. Returns how long it took, in ms; 0 if there was none. */
  end(): number {
    const ms = this.#since === undefined ? 0 : Math.round(performance.now() - this.#since);
    this.#since = undefined;
    return ms;
  }
}
