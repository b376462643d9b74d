/**
 * How long to wait before connecting again. The waits grow, so that a server that is down gets few attempts. Each is
 * random between 0 and its limit ("full jitter"), so that the clients of a server that comes back do not all connect at
 * the same time. Pure: the clock and the random numbers are passed in.
 */

/** The first limit, and the last; each is twice the one before. */
const BASE_MS = 250;
const CAP_MS = 30_000;
/** After a connection that lasted this long, the waits begin with the shortest limit again. */
const HEALTHY_MS = 30_000;

/** The options of a Backoff. */
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
