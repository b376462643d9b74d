import { onAbort } from "../../driver/clock.ts";
import type { SweepContext } from "../../driver/driver.ts";
import { Queue } from "../../driver/queue.ts";
import type { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord, SweepSummary } from "../../model/record.ts";
import { malformed } from "../../wire/errors.ts";
import type { DecodedMessage } from "../../wire/message-decoder.ts";
import { LIMITS } from "../../wire/protocol.ts";
import { silenceError } from "./failure.ts";
import { SeenDomains } from "./seen-domains.ts";

/**
 * A server sends a record of each domain by the query's deadline; a server of several hosts may send it up to a second
 * later. If the server sends nothing for this many ms longer than the deadline, it has lost the sweep.
 */
const SILENCE_MS = 30_000;

/**
 * The records that wait for the consumer may need at most HELD_BYTES of memory, plus HELD_PER_CREDIT for each byte of
 * credit. Credit bounds only the bytes of their messages, and a hostile server's messages can expand to a thousand
 * times as much. Records of idle guests that are all alike expand to about a hundred times their bytes, which is within
 * the limit.
 */
const HELD_BYTES = 134_217_728;
const HELD_PER_CREDIT = 256;

/** Sends the client's messages about one sweep or one watch to the server. */
export interface StreamControl {
  /** True if the server has credit left, so that it may send. */
  mayReceive(): boolean;
  /** Returns credit to the server, now or later, for this many bytes that were consumed. */
  consumed(bytes: number): void;
  /** Cancels the sweep or watch. Does nothing if the sweep or watch has ended. */
  cancel(): void;
}

/** The receiving end of one sweep: a queue of its records. The credit limits how many records the server sends. */
export class RemoteSweep {
  readonly queue = new Queue<DomainStatsRecord>();
  readonly #url: string;
  readonly #mostHeld: number;
  readonly #silenceMs: number;
  readonly #context: SweepContext;
  readonly #control: StreamControl;
  readonly #unlisten: () => void;
  #begun = false;
  readonly #seen = new SeenDomains();
  /** About how much memory the records that wait need, in bytes. */
  #held = 0;
  /** The silence of the server counts from this time, on the steady clock. */
  #heardAt = performance.now();

  constructor(
    { url, credit }: { readonly url: string; readonly credit: number },
    query: Query,
    context: SweepContext,
    control: StreamControl,
  ) {
    this.#url = url;
    this.#mostHeld = HELD_BYTES + HELD_PER_CREDIT * credit;
    this.#silenceMs = query.deadlineMs + SILENCE_MS;
    this.#context = context;
    this.#control = control;
    this.#unlisten = onAbort(context.signal, () => void this.queue.return());
    this.queue.onReturn = () => {
      this.#unlisten();
      control.cancel();
    };
  }

  /** Called when the server has begun the sweep. @param domains the number of domains; undefined: not known */
  begin(domains: number | undefined): void {
    if (this.#begun) throw malformed("a sweep begins twice");
    this.#begun = true;
    this.#heardAt = performance.now();
    if (domains !== undefined && !this.queue.ended) this.#context.expect(domains);
  }

  /** Adds records. The bytes of credit that they used go back to the server when the records are consumed. */
  push({ records, bytes, expanded }: Extract<DecodedMessage, { readonly type: "records" }>): void {
    // If the server sent one domain twice and another domain not at all, the number of records would still be right.
    if (!this.#seen.add(records)) throw malformed("a sweep has a domain twice");
    if (this.#seen.size > LIMITS.domains) throw malformed("a sweep has too many domains");
    this.#heardAt = performance.now();
    this.#held += expanded;
    if (this.#held > this.#mostHeld) throw malformed("its records expand too far");
    this.queue.pushChunk(records, () => {
      this.#held -= expanded;
      // The server accepts no credit for a sweep that has ended.
      if (!this.queue.ended) this.#control.consumed(bytes);
    });
  }

  /**
   * Called when the server has sent `end`. The consumer still gets the queued records, and then the error if there is
   * one.
   */
  ended(error: VirstreamError | undefined, summary: SweepSummary | undefined): void {
    if (error === undefined && summary?.domains !== this.#seen.size) {
      throw malformed(`a summary counts ${summary?.domains} of ${this.#seen.size} records`);
    }
    if (!this.queue.ended) for (const host of summary?.absent ?? []) this.#context.absent?.(host);
    this.end(error);
  }

  /** Ends the sweep. The consumer still gets the queued records. */
  end(error: unknown): void {
    this.#unlisten();
    this.queue.end(error);
  }

  /** Ends the sweep if the server had credit, and has sent nothing of the sweep for longer than any domain may take. */
  checkSilence(now: number): void {
    if (this.queue.length > 0 || !this.#control.mayReceive()) this.#heardAt = now;
    const silentMs = now - this.#heardAt;
    if (silentMs < this.#silenceMs) return;
    this.end(silenceError(this.#url, silentMs));
    this.#control.cancel();
  }
}
