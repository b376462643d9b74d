import { Observable } from "rxjs";
import { onAbort } from "../driver/clock.ts";
import { invalid } from "../model/error.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { DomainRates } from "./rates/domain-rates.ts";
import type { SweepEvent } from "./sweep-events.ts";

/**
 * A function that opens the source of a stream. The stream pulls chunks of items from the source, one by one, until the
 * signal is aborted.
 */
export type ChunkSource<T> = (signal: AbortSignal) => AsyncIterable<readonly T[]>;

/**
 * A function that is called when a consumption begins. It returns a function that is called when the consumption has
 * ended. If the first function throws, nothing is consumed.
 */
export type Begin = () => () => void;

/**
 * A stream that can be consumed in three ways:
 *
 * - as an RxJS `Observable`, with `stream.subscribe(…)` and `stream.pipe(…)`: items are pushed as fast as they come;
 * - as an `AsyncIterable`, with `for await (const item of stream)`: items are pulled, so a slow consumer slows the source;
 * - with `forEach(callback)`: when the callback returns a promise, the stream waits until the promise is settled.
 *
 * It is cold: nothing happens until it is consumed, and each consumption opens the source again. `break`, `unsubscribe()`
 * and the AbortSignal all end the work at the source. When its signal is aborted, an endless stream completes. Any
 * other stream fails with the signal's reason, because it would otherwise look complete.
 */
export class Stream<T> extends Observable<T> implements AsyncIterable<T> {
  readonly #open: ChunkSource<T>;
  readonly #signal: AbortSignal | undefined;
  readonly #endless: boolean;
  readonly #begin: Begin | undefined;

  /**
   * @internal
   * @param endless true if only the consumer ends the stream, so that an abort is the regular end
   */
  constructor(open: ChunkSource<T>, signal?: AbortSignal, endless = false, begin?: Begin) {
    super((subscriber) => {
      const chunks = new ChunkReader(open, signal, endless, begin);
      consume(chunks, (item) => subscriber.next(item)).then(
        () => subscriber.complete(),
        (error) => subscriber.error(error),
      );
      return () => chunks.leave();
    });
    this.#open = open;
    this.#signal = signal;
    this.#endless = endless;
    this.#begin = begin;
  }

  /** Starts a consumption by `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return new ItemIterator(this.#read());
  }

  /** The items in the chunks in which they came, for consumers that cannot afford a promise per item. */
  chunks(): AsyncIterable<readonly T[]> {
    return { [Symbol.asyncIterator]: () => this.#read() };
  }

  /**
   * Calls the callback once per item and resolves at the end. While a promise that the callback returned is unsettled,
   * nothing more is pulled. When the callback throws or rejects, the stream ends at its source, and forEach rejects with
   * that error.
   */
  override async forEach(callback: (item: T) => void | PromiseLike<void>): Promise<void> {
    await consume(this.#read(), callback);
  }

  /** All items, collected into one array. */
  async toArray(): Promise<T[]> {
    const items: T[] = [];
    for await (const chunk of this.chunks()) {
      for (const item of chunk) items.push(item);
    }
    return items;
  }

  #read(): ChunkReader<T> {
    return new ChunkReader(this.#open, this.#signal, this.#endless, this.#begin);
  }
}

/**
 * The records of one sweep, each as soon as the driver has it, as an Observable, an async iterable or by callback; see
 * Stream. Each consumption runs a sweep of its own.
 */
export class StatsStream extends Stream<DomainStatsRecord> {
  /** The same sweep as events: `expect`, `record` and `sync`. */
  readonly events: Stream<SweepEvent>;

  /** @internal */
  constructor(
    records: ChunkSource<DomainStatsRecord>,
    events: ChunkSource<SweepEvent>,
    signal: AbortSignal | undefined,
    begin: Begin,
  ) {
    super(records, signal, false, begin);
    this.events = new Stream(events, signal, false, begin);
  }
}

/** The functions that open the streams of a watch. */
export interface WatchSources {
  readonly records: ChunkSource<DomainStatsRecord>;
  readonly events: ChunkSource<WatchEvent>;
  readonly rates: ChunkSource<DomainRates>;
}

/**
 * The records of all domains, sweep after sweep, for as long as the stream is consumed, as an Observable, an async iterable
 * or by callback; see Stream. All watches of a connection with the same query share one sampler. The stream completes when
 * its signal is aborted or the connection is closed, and fails only with errors that a retry cannot repair.
 *
 * A slow consumer never gets old values: it skips to the newest record of each domain, and a `gap` event says so.
 */
export class WatchStream extends Stream<DomainStatsRecord> {
  /** The same watch as events: `record`, `gone`, `sync`, `gap` and `status`. */
  readonly events: Stream<WatchEvent>;
  /**
   * The same watch as rates: one DomainRates for each record. The rates of a domain's first record are undefined. After
   * a `gap`, the next rates of the domains that it concerns are undefined.
   */
  readonly rates: Stream<DomainRates>;

  /** @internal */
  constructor({ records, events, rates }: WatchSources, signal: AbortSignal | undefined, begin: Begin) {
    super(records, signal, true, begin);
    this.events = new Stream(events, signal, true, begin);
    this.rates = new Stream(rates, signal, true, begin);
  }
}

/** Returns an iterator that a consumer may pull before the iterator of `opened` exists. */
export function later<T>(opened: Promise<AsyncIterator<T>>): AsyncIterableIterator<T> {
  // The next pull reports the error. Without this handler, the error would end the program by an unhandled rejection if
  // the consumer has left.
  opened.catch(() => {});
  const iterator: AsyncIterableIterator<T> = {
    next: async () => (await opened).next(),
    return: async () => (await (await opened).return?.()) ?? { done: true, value: undefined },
    [Symbol.asyncIterator]: () => iterator,
  };
  return iterator;
}

async function consume<T>(chunks: ChunkReader<T>, callback: (item: T) => void | PromiseLike<void>): Promise<void> {
  for await (const chunk of chunks) {
    for (const item of chunk) {
      const held = callback(item);
      if (held !== undefined) await held;
      if (chunks.closed) break;
    }
  }
}

/**
 * One consumption of a source. It closes exactly once: when the consumer leaves, when the caller's signal is aborted,
 * or when the source ends, whichever comes first. If the source has not ended by itself, the reader aborts the source's
 * signal and calls the source's `return()`.
 */
class ChunkReader<T> implements AsyncIterableIterator<readonly T[]> {
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #endless: boolean;
  readonly #unlisten: () => void = () => {};
  readonly #over: () => void = () => {};
  readonly #source: AsyncIterator<readonly T[]> | undefined;
  #rejectNext: ((reason: unknown) => void) | undefined;
  /** True if the consumption has ended; then `next` gives nothing more. */
  closed: boolean;

  constructor(open: ChunkSource<T>, signal: AbortSignal | undefined, endless: boolean, begin: Begin = () => () => {}) {
    this.#signal = signal;
    this.#endless = endless;
    this.closed = signal?.aborted ?? false;
    if (this.closed) return;
    this.#over = begin();
    this.#source = open(this.#abort.signal)[Symbol.asyncIterator]();
    this.#unlisten = onAbort(signal, () => this.#abortPull());
  }

  async next(): Promise<IteratorResult<readonly T[]>> {
    if (this.closed) return this.#ended();
    if (this.#rejectNext !== undefined) {
      throw invalid("next() was called before the last one settled");
    }
    const aborted = new Promise<never>((_, reject) => {
      this.#rejectNext = reject;
    });
    try {
      const result = await Promise.race([this.#source!.next(), aborted]);
      if (result.done) this.#close();
      return result;
    } catch (error) {
      this.leave();
      if (!this.#signal?.aborted) throw error;
      return this.#ended();
    } finally {
      this.#rejectNext = undefined;
    }
  }

  async return(): Promise<IteratorResult<readonly T[]>> {
    this.leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the consumption from the consumer's side. It may be called at any time, any number of times. */
  leave(): void {
    if (this.closed) return;
    this.#close();
    this.#abort.abort();
    // Not awaited, because the signal already makes the source give up.
    this.#source?.return?.().then(undefined, () => {});
  }

  #close(): void {
    this.closed = true;
    this.#unlisten();
    this.#over();
  }

  /** What `next()` returns, or throws, after the consumption is closed. */
  #ended(): IteratorResult<readonly T[]> {
    if (this.#signal?.aborted && !this.#endless) throw this.#signal.reason;
    return { done: true, value: undefined };
  }

  #abortPull(): void {
    const reject = this.#rejectNext;
    this.leave();
    reject?.(this.#signal?.reason);
  }
}

/**
 * Iterates over the single items of chunks. It is hand-written because an async generator costs several times as much per
 * item: within a chunk, `next()` is an index and a resolved promise.
 */
class ItemIterator<T> implements AsyncIterableIterator<T> {
  readonly #chunks: ChunkReader<T>;
  #chunk: readonly T[] = [];
  #position = 0;
  #pulling: Promise<unknown> = Promise.resolve();

  constructor(chunks: ChunkReader<T>) {
    this.#chunks = chunks;
  }

  next(): Promise<IteratorResult<T>> {
    if (this.#position < this.#chunk.length && !this.#chunks.closed) {
      return Promise.resolve({ done: false, value: this.#chunk[this.#position++]! });
    }
    // Overlapping calls wait for each other, as with a generator.
    const pulled = this.#pulling.then(() => this.#pull());
    this.#pulling = pulled.catch(() => {});
    return pulled;
  }

  async return(): Promise<IteratorResult<T>> {
    this.#chunk = [];
    this.#position = 0;
    this.#chunks.leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #pull(): Promise<IteratorResult<T>> {
    while (this.#position >= this.#chunk.length || this.#chunks.closed) {
      this.#chunk = [];
      this.#position = 0;
      const result = await this.#chunks.next();
      if (result.done) return { done: true, value: undefined };
      this.#chunk = result.value;
    }
    return { done: false, value: this.#chunk[this.#position++]! };
  }
}
