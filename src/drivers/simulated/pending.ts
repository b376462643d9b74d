import type { Domain } from "../../model/record.ts";

/** A guest that was asked and whose answer is not due yet. */
export interface Pending {
  readonly index: number;
  /** Its position in the sweep's listing. */
  readonly position: number;
  readonly domain: Domain;
  /** When it was asked, in ms since 1970. */
  readonly askedAt: number;
  /** When its record is due, in ms since 1970. */
  dueAt: number;
  /** Whether it will have answered by then, or its deadline will have passed. */
  answers: boolean;
  /** Whether it takes one of the few slots for guests that are asked at once. */
  readonly slot: boolean;
  /** Whether nothing is to be expected before it is thawed. */
  readonly frozen: boolean;
}

/** The guests that are waited for, by the time when they are due: a binary heap, for a sweep may wait for thousands. */
export class PendingQueue {
  readonly #heap: Pending[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The one that is due first. */
  get first(): Pending | undefined {
    return this.#heap[0];
  }

  add(pending: Pending): void {
    this.#heap.push(pending);
    this.#rise(this.#heap.length - 1);
  }

  /** Takes out the one that is due first. */
  take(): Pending | undefined {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    if (this.#heap.length > 0) {
      this.#heap[0] = last!;
      this.#sink(0);
    }
    return first;
  }

  /** A frozen guest will answer after all, at this time; false when it is not waited for or its deadline comes first. */
  thaw(index: number, answersAt: number): boolean {
    const at = this.#heap.findIndex((pending) => pending.index === index && pending.frozen);
    const pending = this.#heap[at];
    if (pending === undefined || answersAt > pending.dueAt) return false;
    pending.dueAt = answersAt;
    pending.answers = true;
    this.#rise(at);
    return true;
  }

  #rise(at: number): void {
    const pending = this.#heap[at]!;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#heap[parent]!.dueAt <= pending.dueAt) break;
      this.#heap[at] = this.#heap[parent]!;
      at = parent;
    }
    this.#heap[at] = pending;
  }

  #sink(at: number): void {
    const pending = this.#heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= this.#heap.length) break;
      if (child + 1 < this.#heap.length && this.#heap[child + 1]!.dueAt < this.#heap[child]!.dueAt) child++;
      if (this.#heap[child]!.dueAt >= pending.dueAt) break;
      this.#heap[at] = this.#heap[child]!;
      at = child;
    }
    this.#heap[at] = pending;
  }
}
