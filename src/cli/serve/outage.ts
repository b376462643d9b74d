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

/** A duration in words, as `12 s`, `34 min` or `5 h`. */
export function lasting(ms: number): string {
  const seconds = Math.round(ms / 1_000);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}
