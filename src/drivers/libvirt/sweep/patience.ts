/**
 * When waiting ends. Pure arithmetic on a clock that is handed in (milliseconds), for one sweep.
 *
 * The rule is simple on a host of ordinary size: `deadlineMs` after the sweep could begin to ask, everyone has been
 * asked or given up. But on a large and healthy host the domains at the end of the line get their turn later than that,
 * and would never once be read completely if the clock alone decided. So as long as the sweep moves on, it may go on:
 *
 * - A call is overdue `deadlineMs` after the beginning, or half of that after it was sent, whichever is later.
 * - Those who wait for their turn are given up `deadlineMs` after the beginning, or when for half of that nothing has
 *   moved, whichever is later; and in any case after `deadlineMs` and TURN_MS for each domain of the sweep. That bounds
 *   what slow guests, which do move, can cost the others.
 * - A late domain is given RESCUE_MS for what needs no monitor; those who wait for that are given up when for RESCUE_MS
 *   nothing has moved, and in any case after RESCUE_MS and RESCUE_TURN_MS for each of them.
 *
 * While the consumer is behind, nothing is asked, and those who wait do not age.
 */

/** What a domain may take of the sweep's time, on average. A healthy QEMU guest takes 3 to 10 ms. */
const TURN_MS = 25;
/** How long a late domain's cheap call may take; healthy is 0.2 ms. */
const RESCUE_MS = 500;
const RESCUE_TURN_MS = 5;

/** What is waited for: a slot for a monitor call, a lane for a call that needs none, a lane to rescue a late domain. */
export type Turn = "slot" | "lane" | "rescue";

interface Waiting {
  count: number;
  /** When the last one got its turn or its answer. */
  movedAt: number;
}

/** Tells when what waits, and what was asked, is to be given up. Pure; the times are handed in. */
export class Patience {
  readonly #deadlineMs: number;
  readonly #waiting: Readonly<Record<Turn, Waiting>>;
  #beganAt: number;
  #domains = 0;
  /** Since when there are domains to rescue without a break, and how many came in. */
  #rescuingSince = 0;
  #rescues = 0;
  #heldSince: number | undefined;

  constructor(deadlineMs: number, now: number) {
    this.#deadlineMs = deadlineMs;
    this.#beganAt = now;
    this.#waiting = {
      slot: { count: 0, movedAt: now },
      lane: { count: 0, movedAt: now },
      rescue: { count: 0, movedAt: now },
    };
  }

  /** The sweep knows its domains and can begin to ask. */
  begin(now: number, domains: number): void {
    this.#beganAt = now;
    this.#domains = domains;
  }

  /** So many have got in line. */
  joined(turn: Turn, count: number, now: number): void {
    const waiting = this.#waiting[turn];
    if (waiting.count === 0) {
      waiting.movedAt = now;
      if (turn === "rescue") {
        this.#rescuingSince = now;
        this.#rescues = 0;
      }
    }
    if (turn === "rescue") this.#rescues += count;
    waiting.count += count;
  }

  /** One has left the line, to be asked or to be given up. */
  left(turn: Turn): void {
    this.#waiting[turn].count--;
  }

  /** One was asked, or has answered. */
  moved(turn: Turn, now: number): void {
    this.#waiting[turn].movedAt = now;
  }

  waiting(turn: Turn): number {
    return this.#waiting[turn].count;
  }

  /** When a call that is sent now becomes overdue. */
  callDueAt(turn: Turn, now: number): number {
    if (turn === "rescue") return now + RESCUE_MS;
    return Math.max(this.#beganAt + this.#deadlineMs, now + this.#deadlineMs / 2);
  }

  /** When those who wait are given up, if nothing moves before; Infinity when nobody waits. */
  dueAt(turn: Turn): number {
    const { count, movedAt } = this.#waiting[turn];
    if (count === 0 || this.#heldSince !== undefined) return Number.POSITIVE_INFINITY;
    if (turn === "rescue") {
      return Math.min(movedAt + RESCUE_MS, this.#rescuingSince + RESCUE_MS + this.#rescues * RESCUE_TURN_MS);
    }
    const end = this.#beganAt + this.#deadlineMs;
    return Math.min(Math.max(end, movedAt + this.#deadlineMs / 2), end + this.#domains * TURN_MS);
  }

  get held(): boolean {
    return this.#heldSince !== undefined;
  }

  /** The consumer is behind: time stands still for those who wait. */
  hold(now: number): void {
    this.#heldSince ??= now;
  }

  /** The consumer has caught up. */
  go(now: number): void {
    if (this.#heldSince === undefined) return;
    const held = now - this.#heldSince;
    this.#heldSince = undefined;
    this.#beganAt += held;
    this.#rescuingSince += held;
    for (const waiting of Object.values(this.#waiting)) waiting.movedAt = now;
  }
}
