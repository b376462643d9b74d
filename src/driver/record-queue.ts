import type { DomainStatsRecord } from "../model/record.ts";

/**
 * Between a driver that is called back and a consumer that pulls: records are put in as they come, a pull takes all that
 * is there. The driver watches `length` and starts nothing new while it is high; `onTaken` tells it when to go on.
 */
export class RecordQueue implements AsyncIterableIterator<readonly DomainStatsRecord[]> {
  /** Called after each pull that took records, and once more when the consumer leaves. */
  onTaken: (() => void) | undefined;
  /** Called once when the consumer leaves before the end. */
  onReturn: (() => void) | undefined;

  #records: DomainStatsRecord[] = [];
  #ended = false;
  #error: unknown;
  #waiting: PromiseWithResolversLike<IteratorResult<readonly DomainStatsRecord[]>> | undefined;

  /** How many records wait to be taken. */
  get length(): number {
    return this.#records.length;
  }

  /** True once the queue was ended, failed or left: what is put in then is dropped. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Adds a record, unless the queue has ended. */
  push(record: DomainStatsRecord): void {
    if (this.#ended) return;
    this.#records.push(record);
    this.#settle();
  }

  /** No more records; those that wait are still handed out. */
  end(): void {
    this.#ended = true;
    this.#settle();
  }

  /** No more records, and after those that wait the consumer gets this error. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }

  /** Takes all waiting records, or waits for the next one. */
  next(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    if (this.#records.length > 0) return Promise.resolve({ done: false, value: this.#take() });
    if (this.#error !== undefined) {
      const error = this.#error;
      this.#error = undefined;
      return Promise.reject(error);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    this.#waiting ??= withResolvers();
    return this.#waiting.promise;
  }

  /** Drops the waiting records and ends the queue: the consumer has left. */
  return(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    const left = !this.#ended;
    this.#records = [];
    this.#error = undefined;
    this.end();
    if (left) this.onReturn?.();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** Returns the queue itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  #settle(): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    if (this.#records.length > 0) {
      this.#waiting = undefined;
      waiting.resolve({ done: false, value: this.#take() });
    } else if (this.#ended) {
      this.#waiting = undefined;
      if (this.#error === undefined) waiting.resolve({ done: true, value: undefined });
      else waiting.reject(this.#error);
      this.#error = undefined;
    }
  }

  #take(): readonly DomainStatsRecord[] {
    const records = this.#records;
    this.#records = [];
    if (this.onTaken !== undefined) queueMicrotask(this.onTaken);
    return records;
  }
}

interface PromiseWithResolversLike<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (reason: unknown) => void;
}

function withResolvers<T>(): PromiseWithResolversLike<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
