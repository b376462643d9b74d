/**
 * How long to wait before connecting again. The waits grow, so that a server that is down is not pestered, and each is
 * random between nothing and its limit ("full jitter"), so that the clients of a server that comes back do not all come at
 * once. Pure: the clock and the dice are handed in.
 */

/** The first limit, and the last; each is twice the one before. */
const BASE_MS = 250;
const CAP_MS = 30_000;
/** A connection that has lived for so long was a good one: the waits begin anew. */
const HEALTHY_MS = 30_000;

/** What a Backoff depends on. */
export interface BackoffOptions {
  /** Milliseconds on any clock that does not jump. */
  readonly now: () => number;
  /** From 0 to 1, 1 excluded. Default Math.random. */
  readonly random?: () => number;
}

/** Gives the waits between attempts to connect. */
export class Backoff {
  readonly #now: () => number;
  readonly #random: () => number;
  #attempts = 0;
  #connectedAt: number | undefined;

  constructor({ now, random = Math.random }: BackoffOptions) {
    this.#now = now;
    this.#random = random;
  }

  /** A connection was made. */
  connected(): void {
    this.#connectedAt = this.#now();
  }

  /** How long to wait before the next attempt, in ms. */
  next(): number {
    if (this.#connectedAt !== undefined && this.#now() - this.#connectedAt >= HEALTHY_MS) this.#attempts = 0;
    this.#connectedAt = undefined;
    const limit = Math.min(CAP_MS, BASE_MS * 2 ** this.#attempts);
    if (limit < CAP_MS) this.#attempts++;
    return this.#random() * limit;
  }
}
