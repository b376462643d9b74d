import type { SweepContext } from "../../driver/driver.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { ChunkQueue, CreditReturn } from "./chunk-queue.ts";

/** What a sweep or a watch says to its server. */
export interface StreamControl {
  /** Gives credit. */
  grant(bytes: number): void;
  /** Ends it. Does nothing when it has ended. */
  cancel(): void;
}

/** The receiving end of one sweep: what the server sent, bounded by the credit that it was given. */
export class RemoteSweep implements AsyncIterableIterator<readonly DomainStatsRecord[]> {
  readonly #context: SweepContext;
  readonly #control: StreamControl;
  readonly #credit: CreditReturn;
  readonly #queue = new ChunkQueue<DomainStatsRecord>();

  /** @param credit bytes that the server was given with the query */
  constructor(credit: number, context: SweepContext, control: StreamControl) {
    this.#context = context;
    this.#control = control;
    this.#credit = new CreditReturn(credit, (bytes) => control.grant(bytes));
    context.signal.addEventListener("abort", this.#cancel, { once: true });
  }

  /** The server knows how many domains there are. */
  expect(domains: number): void {
    if (!this.#queue.ended) this.#context.expect(domains);
  }

  /** Records that the server sent, and what they took of the credit. */
  push(records: readonly DomainStatsRecord[], bytes: number): void {
    this.#queue.push(records, bytes, this.#credit);
  }

  /** The server's END: what is queued is still handed out, then the error if there is one. */
  end(error: unknown): void {
    this.#credit.end();
    this.#queue.end(error);
    this.#context.signal.removeEventListener("abort", this.#cancel);
  }

  next(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    return this.#queue.next();
  }

  async return(): Promise<IteratorResult<readonly DomainStatsRecord[]>> {
    this.#cancel();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  readonly #cancel = (): void => {
    if (this.#queue.ended) return;
    this.end(undefined);
    this.#queue.discard();
    this.#control.cancel();
  };
}
