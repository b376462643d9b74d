/** One timer for all that may become due, on performance.now()'s clock. It is set anew only to make it earlier. */
export class Alarm {
  readonly #ring: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #at = Number.POSITIVE_INFINITY;

  /** @param ring called at the time, or a little early: who is called looks for what is due, and sets it again */
  constructor(ring: () => void) {
    this.#ring = ring;
  }

  /** Rings at this time at the latest. */
  by(at: number): void {
    if (at >= this.#at) return;
    clearTimeout(this.#timer);
    this.#at = at;
    this.#timer = setTimeout(
      () => {
        this.#at = Number.POSITIVE_INFINITY;
        this.#ring();
      },
      Math.max(0, Math.ceil(at - performance.now())),
    );
  }

  /** Does not ring any more. */
  clear(): void {
    clearTimeout(this.#timer);
  }
}
