import type { Clock } from "../../../src/driver/clock.ts";

/** A clock that stands still until it is told: tests of deadlines take no time. */
export class ManualClock implements Clock {
  #now: number;
  #timers: { at: number; callback: () => void }[] = [];

  constructor(now = 1_790_000_000_000) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  /** How many timers are armed. */
  get timers(): number {
    return this.#timers.length;
  }

  setTimeout(callback: () => void, ms: number): object {
    const timer = { at: this.#now + ms, callback };
    this.#timers.push(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers = this.#timers.filter((armed) => armed !== timer);
  }

  /** Lets time pass, timers included. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.at > end) break;
      this.#fire(next);
    }
    this.#now = end;
  }

  /** Sets the clock to another time without firing anything, as an administrator would. */
  set(now: number): void {
    this.#now = now;
  }

  /** Fires the next timer without its time having come by the clock. */
  fireEarly(): void {
    const next = this.#next();
    if (next === undefined) return;
    this.clearTimeout(next);
    next.callback();
  }

  /** Settles a promise by letting time pass from timer to timer, as far as it takes. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    while (!settled) {
      await turn();
      const next = this.#next();
      if (!settled && next !== undefined) this.#fire(next);
    }
    return promise;
  }

  #next() {
    return this.#timers.toSorted((a, b) => a.at - b.at)[0];
  }

  #fire(timer: { at: number; callback: () => void }): void {
    this.clearTimeout(timer);
    this.#now = Math.max(this.#now, timer.at);
    timer.callback();
  }
}

/** The most turns of the event loop that `turn` takes: something else may poll for as long as it runs. */
const MOST_TURNS = 100;

/**
 * Lets everything go on that can go on without time passing. A sweep takes a turn of the event loop of its own when it has
 * worked for some milliseconds, so one turn may be too few.
 */
export async function turn(): Promise<void> {
  for (let turns = 0; turns < MOST_TURNS; turns++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (!process.getActiveResourcesInfo().includes("Immediate")) return;
  }
}
