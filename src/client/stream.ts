import { Observable, type Subscriber } from "rxjs";
import { VirstreamError } from "../model/error.ts";

/** Opens what a stream consumes: chunks, pulled one by one, until the signal is aborted. */
export type ChunkSource<T> = (signal: AbortSignal) => AsyncIterable<readonly T[]>;

/**
 * One stream, consumed in any of the ways that people know:
 *
 * - it *is* an RxJS `Observable`: `stream.subscribe(…)`, `stream.pipe(…)`; pushed as fast as it comes;
 * - it is an `AsyncIterable`: `for await (const item of stream)`; pulled, so that slowness reaches the source;
 * - `forEach(callback)`: a callback that returns a promise holds the stream back until that is settled.
 *
 * It is cold: nothing happens until it is consumed, and each consumption starts a new one. `break`, `unsubscribe()` and the
 * AbortSignal all end the work at its source. An aborted stream fails with the signal's reason.
 */
export class Stream<T> extends Observable<T> implements AsyncIterable<T> {
  readonly #open: ChunkSource<T>;
  readonly #signal: AbortSignal | undefined;

  /** @internal */
  constructor(open: ChunkSource<T>, signal?: AbortSignal) {
    super((subscriber) => {
      const chunks = new ChunkReader(open, signal);
      void pump(chunks, subscriber);
      return () => chunks.leave();
    });
    this.#open = open;
    this.#signal = signal;
  }

  /** Starts to consume the stream, for `for await`. */
  [Symbol.asyncIterator](): AsyncIterableIterator<T> {
    return new ItemIterator(new ChunkReader(this.#open, this.#signal));
  }

  /** The items in chunks as they came, for consumers that cannot afford a promise per item. */
  chunks(): AsyncIterable<readonly T[]> {
    return { [Symbol.asyncIterator]: () => new ChunkReader(this.#open, this.#signal) };
  }

  /**
   * Calls back once per item and resolves at the end. While a promise that the callback returned is unsettled, nothing
   * more is pulled. A callback that throws or rejects ends the stream at its source, and forEach rejects with that error.
   */
  override async forEach(callback: (item: T) => void | PromiseLike<void>): Promise<void> {
    const chunks = new ChunkReader(this.#open, this.#signal);
    try {
      for await (const chunk of chunks) {
        for (const item of chunk) {
          const held = callback(item);
          if (held !== undefined) await held;
          if (chunks.aborted) break;
        }
      }
    } finally {
      chunks.leave();
    }
  }

  /** Everything, collected: the batch is nothing but the stream. */
  async toArray(): Promise<T[]> {
    const items: T[] = [];
    for await (const chunk of this.chunks()) {
      for (const item of chunk) items.push(item);
    }
    return items;
  }
}

async function pump<T>(chunks: ChunkReader<T>, subscriber: Subscriber<T>): Promise<void> {
  try {
    for (;;) {
      const result = await chunks.next();
      if (result.done) break;
      for (const item of result.value) {
        subscriber.next(item);
        if (subscriber.closed) return;
      }
    }
    subscriber.complete();
  } catch (error) {
    subscriber.error(error);
  }
}

/**
 * One consumption of a source, and the owner of its end: whichever comes first of the consumer leaving, the caller's
 * signal and the source's own end closes it once, and the source learns of it by signal and by `return()`.
 */
class ChunkReader<T> implements AsyncIterableIterator<readonly T[]> {
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #source: AsyncIterator<readonly T[]> | undefined;
  #rejectNext: ((reason: unknown) => void) | undefined;
  #closed = false;

  constructor(open: ChunkSource<T>, signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal?.aborted) {
      this.#closed = true;
    } else {
      signal?.addEventListener("abort", this.#onAbort, { once: true });
      try {
        this.#source = open(this.#abort.signal)[Symbol.asyncIterator]();
      } catch (error) {
        this.#close();
        throw error;
      }
    }
  }

  /** Whether the caller's signal ended it. */
  get aborted(): boolean {
    return this.#signal?.aborted ?? false;
  }

  async next(): Promise<IteratorResult<readonly T[]>> {
    if (this.#closed) {
      if (this.#signal?.aborted) throw this.#signal.reason;
      return { done: true, value: undefined };
    }
    if (this.#rejectNext !== undefined) {
      throw new VirstreamError("invalid-argument", "next() was called before the one before it was settled");
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
      throw this.#signal?.aborted ? this.#signal.reason : error;
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

  /** Ends it from the consumer's side. Safe to call at any time, any number of times. */
  leave(): void {
    if (this.#closed) return;
    this.#close();
    this.#abort.abort();
    // Not waited for: the signal is what makes the source give up.
    this.#source?.return?.().then(undefined, () => {});
  }

  #close(): void {
    this.#closed = true;
    this.#signal?.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (): void => {
    const reject = this.#rejectNext;
    this.leave();
    reject?.(this.#signal?.reason);
  };
}

/**
 * Hands out single items of chunks. A hand-written iterator, because an async generator costs several times as much per
 * item: while a chunk lasts, `next()` is an index and a resolved promise.
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
    if (this.#position < this.#chunk.length && !this.#chunks.aborted) {
      return Promise.resolve({ done: false, value: this.#chunk[this.#position++]! });
    }
    // Calls that overlap wait for each other, as those of a generator do.
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
    while (this.#position >= this.#chunk.length || this.#chunks.aborted) {
      this.#chunk = [];
      this.#position = 0;
      const result = await this.#chunks.next();
      if (result.done) return { done: true, value: undefined };
      this.#chunk = result.value;
    }
    return { done: false, value: this.#chunk[this.#position++]! };
  }
}
