import { type Clock, eventLoopTurn } from "../driver/clock.ts";
import type { Driver, SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";

type Chunk = readonly DomainStatsRecord[];

/**
 * A host that keeps its promise has something to say within the deadline: the record of a domain that is late. When it is
 * silent for so much longer, in ms, something between here and there is dead.
 */
export const GRACE_MS = 1_000;

interface Waiting {
  resolve(result: IteratorResult<Chunk>): void;
  reject(error: unknown): void;
}

/**
 * A sweep of one host that cannot hang: a host from which nothing comes for the query's deadline and a second more is
 * given up with `connection-lost`. Only time in which somebody waits for it counts, so that a slow consumer is not taken
 * for a silent host; and a large host may take as long as it needs, while records come.
 */
export class GuardedSweep implements AsyncIterableIterator<Chunk> {
  readonly #driver: Driver;
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  #source: AsyncIterator<Chunk> | undefined;
  #waiting: Waiting | undefined;
  #timer: unknown;
  #ended = false;

  constructor(driver: Driver, query: Query, context: SweepContext, clock: Clock) {
    this.#driver = driver;
    this.#query = query;
    this.#context = context;
    this.#clock = clock;
  }

  next(): Promise<IteratorResult<Chunk>> {
    const { signal } = this.#context;
    if (this.#ended || signal.aborted) {
      this.#end();
      return Promise.resolve({ done: true, value: undefined });
    }
    return new Promise((resolve, reject) => {
      const waiting = { resolve, reject };
      this.#waiting = waiting;
      const silenceMs = this.#query.deadlineMs + GRACE_MS;
      this.#timer = this.#clock.setTimeout(() => void this.#silent(waiting, silenceMs), silenceMs);
      try {
        this.#source ??= this.#begin();
        this.#source.next().then(
          (result) => this.#answered(result),
          (error: unknown) => this.#fail(error),
        );
      } catch (error) {
        this.#fail(error);
      }
    });
  }

  async return(): Promise<IteratorResult<Chunk>> {
    this.#stop();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #begin(): AsyncIterator<Chunk> {
    this.#context.signal.addEventListener("abort", this.#stop, { once: true });
    const context: SweepContext = {
      signal: this.#abort.signal,
      expect: (domains) => {
        if (!this.#ended) this.#context.expect(domains);
      },
    };
    return this.#driver.sweep(this.#query, context)[Symbol.asyncIterator]();
  }

  #answered(result: IteratorResult<Chunk>): void {
    const waiting = this.#settle();
    if (result.done) this.#end();
    waiting?.resolve(result);
  }

  #fail(error: unknown): void {
    const waiting = this.#settle();
    this.#end();
    waiting?.reject(error);
  }

  async #silent(waiting: Waiting, silenceMs: number): Promise<void> {
    // When it was this process that was stopped, timers are late, and fire before what has arrived is read.
    await eventLoopTurn();
    if (this.#waiting !== waiting) return;
    const message = `${this.#driver.uri} has been silent for ${silenceMs} ms`;
    this.#fail(new VirstreamError("connection-lost", message));
  }

  /** Nobody wants it any more. */
  readonly #stop = (): void => {
    const waiting = this.#settle();
    this.#end();
    waiting?.resolve({ done: true, value: undefined });
  };

  #settle() {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#clock.clearTimeout(this.#timer);
    return waiting;
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#context.signal.removeEventListener("abort", this.#stop);
    this.#abort.abort();
    // A driver that hangs does not settle this; its signal has told it.
    this.#source?.return?.().then(undefined, () => {});
  }
}
