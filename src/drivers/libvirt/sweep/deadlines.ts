/** How much of a sweep's time a domain may take on average, in ms. A healthy QEMU guest takes 3 to 10 ms. */
const DOMAIN_MS = 25;
/**
 * How long the fallback call of a late domain may take, in ms. The call asks only for what needs no monitor. For a
 * healthy domain, it takes 0.2 ms.
 */
const FALLBACK_MS = 500;
const FALLBACK_DOMAIN_MS = 5;

/**
 * The kinds of permit that a call may wait for. `slot`: a slot for a monitor call. `lane`: a lane for a call that needs
 * no monitor. `fallback`: a lane for the fallback call of a late domain. Each class has its own deadline.
 */
export const WAIT_CLASSES = ["slot", "lane", "fallback"] as const;
/** A kind of permit: one of WAIT_CLASSES. */
export type WaitClass = (typeof WAIT_CLASSES)[number];

/**
 * When the calls of one sweep are given up. Pure arithmetic: the caller passes all times, in ms on a steady clock.
 *
 * The beginning is the moment when the sweep knows its domains and can ask them. On a host of ordinary size the rule is
 * simple: `deadlineMs` after the beginning, every domain has been asked or is given up. On a large and healthy host the
 * last domains in the queue get their turn after that time. If only the clock decided, these domains would never be
 * read completely. So a sweep may take longer as long as calls are sent and answered:
 *
 * - A call is overdue `deadlineMs` after the beginning, or half of `deadlineMs` after it was sent, whichever is later.
 * - Waiting calls are given up `deadlineMs` after the beginning, or when no call was sent or answered for half of
 *   `deadlineMs`, whichever is later. At the latest, they are given up when `deadlineMs` plus DOMAIN_MS for each domain
 *   of the sweep has passed since the beginning. This limits the delay that slow guests cause if they still answer.
 * - The fallback call of a late domain may take FALLBACK_MS. Domains that wait for their fallback call are given up
 *   when no such call was sent or answered for FALLBACK_MS. At the latest, they are given up when FALLBACK_MS plus
 *   FALLBACK_DOMAIN_MS for each of these domains has passed since the first of them began to wait.
 *
 * While the consumer takes records too slowly, no call is sent, and the clock of waiting calls is stopped.
 */
export class Deadlines {
  readonly deadlineMs: number;
  /** When a call was last sent or answered, for each class. */
  readonly #movedAt: Record<WaitClass, number>;
  #beganAt: number;
  #domains = 0;
  /**
   * `#fallbacksSince`: the time since which, without a break, at least one domain has waited for its fallback call.
   * `#fallbacks`: the number of domains that have begun to wait since then.
   */
  #fallbacksSince = 0;
  #fallbacks = 0;
  #heldSince: number | undefined;

  constructor(deadlineMs: number, now: number) {
    this.deadlineMs = deadlineMs;
    this.#beganAt = now;
    this.#movedAt = { slot: now, lane: now, fallback: now };
  }

  /** The sweep knows its domains and can begin to ask. */
  begin(now: number, domains: number): void {
    this.#beganAt = now;
    this.#domains = domains;
  }

  /** Calls were queued. `alone`: no other call of this class waits. */
  joined(waitClass: WaitClass, count: number, alone: boolean, now: number): void {
    if (alone) this.moved(waitClass, now);
    if (waitClass !== "fallback") return;
    if (alone) {
      this.#fallbacksSince = now;
      this.#fallbacks = 0;
    }
    this.#fallbacks += count;
  }

  /** A call was sent or answered. */
  moved(waitClass: WaitClass, now: number): void {
    this.#movedAt[waitClass] = now;
  }

  /** When a call that is sent now becomes overdue. */
  callDueAt(waitClass: WaitClass, now: number): number {
    if (waitClass === "fallback") return now + FALLBACK_MS;
    return Math.max(this.#beganAt + this.deadlineMs, now + this.deadlineMs / 2);
  }

  /**
   * When waiting calls are given up, unless a call is sent or answered before that time. Infinity while the clock is
   * stopped.
   */
  dueAt(waitClass: WaitClass): number {
    if (this.held) return Number.POSITIVE_INFINITY;
    const movedAt = this.#movedAt[waitClass];
    if (waitClass === "fallback") {
      return Math.min(movedAt + FALLBACK_MS, this.#fallbacksSince + FALLBACK_MS + this.#fallbacks * FALLBACK_DOMAIN_MS);
    }
    const end = this.#beganAt + this.deadlineMs;
    return Math.min(Math.max(end, movedAt + this.deadlineMs / 2), end + this.#domains * DOMAIN_MS);
  }

  get held(): boolean {
    return this.#heldSince !== undefined;
  }

  /** The consumer takes records too slowly: stops the clock of waiting calls. */
  hold(now: number): void {
    this.#heldSince ??= now;
  }

  /** The consumer takes records again: the clock of waiting calls continues. */
  resume(now: number): void {
    if (this.#heldSince === undefined) return;
    const held = now - this.#heldSince;
    this.#heldSince = undefined;
    this.#beganAt += held;
    this.#fallbacksSince += held;
    for (const waitClass of WAIT_CLASSES) this.moved(waitClass, now);
  }
}
