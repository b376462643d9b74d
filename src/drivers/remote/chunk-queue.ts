import { CreditMeter } from "../../wire/credit.ts";

/** Gives a server back what its consumer is done with, until the sweep or watch that it was given for is over. */
export class CreditReturn {
  readonly #meter: CreditMeter;
  readonly #grant: (bytes: number) => void;
  #over = false;

  /** @param window bytes of credit given at the beginning */
  constructor(window: number, grant: (bytes: number) => void) {
    this.#meter = new CreditMeter(window);
    this.#grant = grant;
  }

  /** So many bytes were consumed. */
  consumed(bytes: number): void {
    const grant = this.#meter.consume(bytes);
    if (grant > 0 && !this.#over) this.#grant(grant);
  }

  /** Nothing is granted any more: there is nobody to take it. */
  end(): void {
    this.#over = true;
  }
}

interface Chunk<T> {
  readonly items: readonly T[];
  readonly bytes: number;
  readonly credit: CreditReturn | undefined;
}

/** So many taken chunks are swept out of the front of the queue at once: often enough, and seldom enough. */
const SWEPT_OUT = 1_024;

/**
 * What a server sent and the consumer has not pulled yet, in chunks as they came. Its bound is the credit that the
 * server was given: the credit for a chunk goes back when the consumer asks for the one after it, for then it is done
 * with it. One call of `next` at a time.
 */
export class ChunkQueue<T> {
  #chunks: Chunk<T>[] = [];
  #position = 0;
  #inHand: Chunk<T> | undefined;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  /** How many chunks wait to be pulled. */
  get size(): number {
    return this.#chunks.length - this.#position;
  }

  /** Whether nothing more is taken. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Ignored once the queue has ended. */
  push(items: readonly T[], bytes = 0, credit?: CreditReturn): void {
    if (this.#ended) return;
    this.#chunks.push({ items, bytes, credit });
    this.#wake?.();
  }

  /** The end: what is queued is still handed out, then the error if there is one. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake?.();
  }

  /** The end that the consumer wants: nothing is handed out any more. */
  discard(): void {
    this.end();
    this.#error = undefined;
    this.#inHand = undefined;
    this.#chunks = [];
    this.#position = 0;
  }

  async next(): Promise<IteratorResult<readonly T[]>> {
    const done = this.#inHand;
    this.#inHand = undefined;
    done?.credit?.consumed(done.bytes);
    while (this.#position === this.#chunks.length) {
      this.#chunks = [];
      this.#position = 0;
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
    this.#inHand = this.#chunks[this.#position]!;
    // Drop the reference: a consumer that holds no item of a chunk must let it go.
    this.#chunks[this.#position++] = EMPTY;
    if (this.#position === SWEPT_OUT) {
      // A queue that is never quite empty, as a watch's may be for days, would else keep its past.
      this.#chunks.splice(0, SWEPT_OUT);
      this.#position = 0;
    }
    return { done: false, value: this.#inHand.items };
  }
}

const EMPTY: Chunk<never> = { items: [], bytes: 0, credit: undefined };
