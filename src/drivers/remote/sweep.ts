import type { SweepContext } from "../../driver/driver.ts";
import { Queue } from "../../driver/queue.ts";
import type { DomainStatsRecord } from "../../model/record.ts";

/** The messages of a sweep or a watch to its server. */
export interface StreamControl {
  /** Returns credit to the server, now or later, for this many bytes that were consumed. */
  consumed(bytes: number): void;
  /** Cancels the sweep or watch. Does nothing after its end. */
  cancel(): void;
}

/** The receiving end of one sweep: a queue of its records. The credit limits how many the server sends. */
export class RemoteSweep {
  readonly queue = new Queue<DomainStatsRecord>();
  readonly #context: SweepContext;
  readonly #control: StreamControl;

  constructor(context: SweepContext, control: StreamControl) {
    this.#context = context;
    this.#control = control;
    this.queue.onReturn = () => {
      context.signal.removeEventListener("abort", this.#leave);
      control.cancel();
    };
    context.signal.addEventListener("abort", this.#leave);
  }

  /** The server has sent the number of domains. */
  expect(domains: number): void {
    if (!this.queue.ended) this.#context.expect(domains);
  }

  /** Adds records, and the bytes of credit that they used, which go back to the server when the records are consumed. */
  push(records: readonly DomainStatsRecord[], bytes: number): void {
    this.queue.pushChunk(records, () => {
      // The server accepts no credit for a sweep that has ended.
      if (!this.queue.ended) this.#control.consumed(bytes);
    });
  }

  /** The server has sent `end`. The consumer still gets the queued records, and then the error if there is one. */
  end(error: unknown): void {
    this.#context.signal.removeEventListener("abort", this.#leave);
    this.queue.end(error);
  }

  readonly #leave = (): void => void this.queue.return();
}
