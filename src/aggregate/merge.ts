/** What a Merge depends on. */
export interface MergeOptions<T> {
  /** The sources; they get a signal that is aborted when the merge ends, whichever side ends it. */
  readonly sources: (ended: AbortSignal) => readonly AsyncIterable<T>[];
  /** The consumer leaves when it is aborted. */
  readonly signal: AbortSignal;
  /** The merge fails with its reason when it is aborted. */
  readonly closed: AbortSignal;
}

/**
 * Several streams as one, in the order in which their items are ready: a silent source does not hold up the others. Each
 * source is at most one item ahead of the consumer, so back pressure reaches every source. Begins with the first pull; ends
 * when all sources have ended, or with the error of one.
 */
export class Merge<T> implements AsyncIterableIterator<T> {
  readonly #options: MergeOptions<T>;
  readonly #abort = new AbortController();
  readonly #sources = new Set<AsyncIterator<T>>();
  readonly #ready: { readonly source: AsyncIterator<T>; readonly item: T }[] = [];
  #started = false;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(options: MergeOptions<T>) {
    this.#options = options;
  }

  async next(): Promise<IteratorResult<T>> {
    if (!this.#started) this.#start();
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

  async return(): Promise<IteratorResult<T>> {
    this.#leave();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #start(): void {
    this.#started = true;
    if (this.#ended) return;
    const { sources, signal, closed } = this.#options;
    signal.addEventListener("abort", this.#leave);
    closed.addEventListener("abort", this.#onClosed);
    if (closed.aborted) this.#onClosed();
    else if (signal.aborted) this.#leave();
    if (this.#ended) return;
    for (const source of sources(this.#abort.signal)) this.#sources.add(source[Symbol.asyncIterator]());
    for (const source of this.#sources) this.#pull(source);
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
        this.#fail(error);
      },
    );
  }

  readonly #leave = (): void => {
    this.#ready.length = 0;
    this.#error = undefined;
    this.#end();
  };

  readonly #onClosed = (): void => this.#fail(this.#options.closed.reason);

  /** The consumer gets what is ready, and then this error. */
  #fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.#end();
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#options.signal.removeEventListener("abort", this.#leave);
    this.#options.closed.removeEventListener("abort", this.#onClosed);
    this.#abort.abort();
    // Not waited for: the signal is what makes a source give up.
    for (const source of this.#sources) source.return?.().then(undefined, () => {});
    this.#sources.clear();
    this.#wake?.();
  }
}
