/**
 * When to send. A message costs about as much as encoding ten records, so records that come fast share one; but the
 * first record of a sweep, and any that comes alone, must not wait. So: the first leaves at once; after that a message
 * leaves when it has 64 KiB, or as soon as 5 ms have passed since the one before it.
 */
export class Coalescer {
  /** A message of this size leaves without waiting, in bytes. */
  static readonly FULL = 65_536;
  /** The least time between two messages that are not full, in ms. */
  static readonly INTERVAL_MS = 5;

  readonly #now: () => number;
  #flushedAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** How long a message of so many bytes has yet to wait, in ms; 0 or less: send it now. */
  wait(bytes: number): number {
    if (bytes >= Coalescer.FULL) return 0;
    return this.#flushedAt + Coalescer.INTERVAL_MS - this.#now();
  }

  /** Tells it that a message was sent. */
  flushed(): void {
    this.#flushedAt = this.#now();
  }
}
