interface Chunk<T> {
  readonly items: T[] | readonly T[];
  /**
   * Called when the consumer is done with the chunk. Undefined for a chunk of single items, to which `push` may add
   * more.
   */
  readonly release: (() => void) | undefined;
}

/**
 * A queue between a source that pushes and a consumer that pulls. The source adds items as they come, singly or in
 * chunks, and a pull takes the next chunk. Waiting items that were added singly, one after the other, become one chunk.
 *
 * The queue itself has no bound. Its owner limits the items, by `length` and `onTaken`, or by credit that the owner
 * returns to a sender when a chunk is released.
 */
export class Queue<T> implements AsyncIterableIterator<readonly T[]> {
  /** Called after each pull that took a chunk, in a microtask of its own. */
  onTaken: (() => void) | undefined;
  /** Called once when the consumer leaves before the end. */
  onReturn: (() => void) | undefined;

  #chunks: Chunk<T>[] = [];
  #length = 0;
  /** Releases the chunk that the consumer has. */
  #release: (() => void) | undefined;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** How many items wait to be taken. */
  get length(): number {
    return this.#length;
  }

  /** True once the queue was ended, or its consumer left. From then on the queue drops every item that is added. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Adds one item. */
  push(item: T): void {
    if (this.#ended) return;
    const last = this.#chunks.at(-1);
    if (last !== undefined && last.release === undefined) (last.items as T[]).push(item);
    else this.#chunks.push({ items: [item], release: undefined });
    this.#length++;
    this.#wake?.();
  }

  /**
   * Adds items that the consumer takes together.
   *
   * @param release called when the consumer is done with the chunk: when it pulls the next one
   */
  pushChunk(items: readonly T[], release: () => void): void {
    if (this.#ended) return;
    this.#chunks.push({ items, release });
    this.#length += items.length;
    this.#wake?.();
  }

  /**
   * Ends the queue: no more items follow. The consumer still gets the items in the queue, and then the error, if there
   * is one.
   */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** Takes the next chunk, or waits for one. Only one call may be pending at a time. */
  async next(): Promise<IteratorResult<readonly T[]>> {
    const release = this.#release;
    this.#release = undefined;
    release?.();
    while (this.#chunks.length === 0) {
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    const chunk = this.#chunks.shift()!;
    this.#length -= chunk.items.length;
    this.#release = chunk.release;
    if (this.onTaken !== undefined) queueMicrotask(this.onTaken);
    return { done: false, value: chunk.items };
  }

  /** Drops the waiting items and ends the queue: the consumer has left. */
  async return(): Promise<IteratorResult<readonly T[]>> {
    const left = !this.#ended;
    this.end();
    this.#error = undefined;
    this.#release = undefined;
    this.#chunks = [];
    this.#length = 0;
    if (left) this.onReturn?.();
    return { done: true, value: undefined };
  }

  /** Returns the queue itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }
}
