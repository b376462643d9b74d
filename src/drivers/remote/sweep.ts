import type { SweepContext } from "../../driver/driver.ts";
import { Queue } from "../../driver/queue.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { CreditMeter } from "../../wire/flow-control.ts";

/** What a sweep or a watch says to its server. */
export interface StreamControl {
  /** Gives credit. */
  grant(bytes: number): void;
  /** Ends it. Does nothing when it has ended. */
  cancel(): void;
}

/** The receiving end of one sweep: what the server sent, bounded by the credit that it was given. */
export class RemoteSweep {
  readonly queue = new Queue<DomainStatsRecord>();
  readonly #context: SweepContext;
  readonly #control: StreamControl;
  readonly #credit: CreditMeter;

  /** @param credit bytes that the server was given with the query */
  constructor(credit: number, context: SweepContext, control: StreamControl) {
    this.#context = context;
    this.#control = control;
    this.#credit = new CreditMeter(credit);
    this.queue.onReturn = () => {
      context.signal.removeEventListener("abort", this.#leave);
      control.cancel();
    };
    context.signal.addEventListener("abort", this.#leave);
  }

  /** The server knows how many domains there are. */
  expect(domains: number): void {
    if (!this.queue.ended) this.#context.expect(domains);
  }

  /** Records that the server sent, and what they took of the credit: it is given back when they are consumed. */
  push(records: readonly DomainStatsRecord[], bytes: number): void {
    this.queue.pushChunk(records, () => {
      const grant = this.#credit.consume(bytes);
      // A sweep that has ended takes no credit.
      if (grant > 0 && !this.queue.ended) this.#control.grant(grant);
    });
  }

  /** The server's END: what is queued is still handed out, then the error if there is one. */
  end(error: unknown): void {
    this.#context.signal.removeEventListener("abort", this.#leave);
    this.queue.end(error);
  }

  readonly #leave = (): void => void this.queue.return();
}
