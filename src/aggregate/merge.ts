/**
 * Several streams as one: whatever is ready first is handed out first, and a stream that is silent keeps nobody waiting.
 * Each source is at most one item ahead of the consumer, so that slowness reaches every source. Begins with the first pull.
 */
export class Merge<T> implements AsyncIterableIterator<T> {
  /** Called once at the end, whichever side it comes from: sources that wait for something should give up then. */
  onEnd: (() => void) | undefined;

  readonly #sources = new Set<AsyncIterator<T>>();
  readonly #ready: { readonly source: AsyncIterator<T>; readonly item: T }[] = [];
  #started = false;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** It ends by itself when the last of these has ended; an error of one ends them all. */
  constructor(sources: Iterable<AsyncIterable<T>>) {
    for (const source of sources) this.#sources.add(source[Symbol.asyncIterator]());
  }

  async next(): Promise<IteratorResult<T>> {
    if (!this.#started) {
      this.#started = true;
      for (const source of this.#sources) this.#pull(source);
    }
    for (;;) {
      const first = this.#ready.shift();
      if (first !== undefined) {
        if (!this.#ended) this.#pull(first.source);
        return { done: false, value: first.item };
      }
      if (this.#error !== undefined) {
        const error = this.#error;
        this.#error = undefined;
        throw error;
      }
      if (this.#sources.size === 0) this.#end();
      if (this.#ended) return { done: true, value: undefined };
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Ends it; the consumer gets what is ready, and then this error. */
  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.#end();
  }

  async return(): Promise<IteratorResult<T>> {
    this.#ready.length = 0;
    this.#error = undefined;
    this.#end();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #pull(source: AsyncIterator<T>): void {
    source.next().then(
      (result) => {
        if (this.#ended) return;
        if (result.done) this.#sources.delete(source);
        else this.#ready.push({ source, item: result.value });
        this.#wake?.();
      },
      (error: unknown) => {
        this.#sources.delete(source);
        this.fail(error);
      },
    );
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.onEnd?.();
    // That a source's iterator is closed is a courtesy nobody waits for: what makes it give up is onEnd.
    for (const source of this.#sources) source.return?.().then(undefined, () => {});
    this.#sources.clear();
    this.#wake?.();
  }
}
