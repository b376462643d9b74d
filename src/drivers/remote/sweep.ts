import type { DomainStatsRecord } from "../../model/record.ts";
import { CreditMeter } from "../../wire/credit.ts";
import type { SweepContext } from "../driver.ts";

/** What a sweep says to its server. */
export interface SweepControl {
  grant(bytes: number): void;
  cancel(): void;
}

interface Chunk {
  readonly records: readonly DomainStatsRecord[];
  readonly bytes: number;
}

/**
 * The receiving end of one sweep: a queue of the chunks that the server sent, bounded by the credit that it was given.
 * The credit for a chunk goes back when the consumer asks for the one after it: then it is done with it.
 */
export class RemoteSweep implements AsyncIterableIterator<readonly DomainStatsRecord[]> {
  readonly #context: SweepContext;
  readonly #control: SweepControl;
  readonly #meter: CreditMeter;
  #chunks: Chunk[] = [];
  #position = 0;
  #inHand = 0;
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(credit: number, context: SweepContext, control: SweepControl) {
    this.#context = context;
    this.#control = control;
    this.#meter = new CreditMeter(credit);
    context.signal.addEventListener("abort", this.#cancel, { once: true });
  }

  expect(domains: number): void {
    if (!this.#ended) this.#context.expect(domains);
  }

  push(records: readonly DomainStatsRecord[], bytes: number): void {
    if (this.#ended) return;
    this.#chunks.push({ records, bytes });
    this.#wake?.();
  }

  /** The server's END: what is queued is still handed out, then the error if there is one. */
  end(error: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#context.signal.removeEventListener("abort", this.#cancel);
    this.#wake?.();
  }

  async next(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    if (this.#inHand > 0) {
      const grant = this.#meter.consume(this.#inHand);
      this.#inHand = 0;
      if (grant > 0 && !this.#ended) this.#control.grant(grant);
    }
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
    const chunk = this.#chunks[this.#position]!;
    // Drop the reference: a consumer that holds no record of a chunk must let it go.
    this.#chunks[this.#position++] = EMPTY;
    this.#inHand = chunk.bytes;
    return { done: false, value: chunk.records };
  }

  async return(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    this.#cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  readonly #cancel = (): void => {
    if (this.#ended) return;
    this.end(undefined);
    this.#chunks = [];
    this.#position = 0;
    this.#control.cancel();
  };
}

const EMPTY: Chunk = { records: [], bytes: 0 };
