import { sameRecord } from "../driver/same-record.ts";
import type { VirstreamError } from "../model/error.ts";
import type { DomainStatsRecord, SweepSummary } from "../model/record.ts";
import { Feed, type FeedEntry, type FeedOptions } from "./feed.ts";

/** The inputs of a feed that a sampler feeds. */
export interface SweptFeedOptions extends FeedOptions {
  /** The name of the host that is swept; for several hosts, all names with commas between them. */
  readonly host: string;
  /**
   * True if the query names its domains: then a domain that does not exist has a record in every sweep, with the status
   * `gone`.
   */
  readonly named: boolean;
}

/** A feed that a sampler feeds sweep by sweep. */
export class SweptFeed extends Feed {
  readonly #host: string;
  readonly #named: boolean;
  #failed = 0;

  constructor(options: SweptFeedOptions) {
    super(options);
    this.#host = options.host;
    this.#named = options.named;
  }

  /** Notes that a sweep begins in which this feed takes part. */
  beginSweep(): void {
    this.underWay.add(this.#host);
    this.sweep++;
  }

  /** Takes records of the sweep that is under way. */
  takeSwept(records: readonly DomainStatsRecord[]): void {
    this.#recovered();
    for (const record of records) this.#sampled(record);
    this.flush();
  }

  /** Notes that the sweep is complete: domains that were not in this sweep are gone. */
  endSweep(summary: SweepSummary, overrun: number): void {
    this.#recovered();
    for (const entry of this.numbers) {
      if (entry !== undefined && entry.sweep !== this.sweep) this.remove(entry);
    }
    this.synchronized({ type: "sync", tick: 0, host: this.#host, summary, overrun });
    this.flush();
  }

  /**
   * Notes that the sweep failed, and that `overrun` sweeps were left out before and during it. The sampler will try
   * again.
   */
  failSweep(error: VirstreamError, overrun: number): void {
    this.#failed += 1 + overrun;
    this.underWay.clear();
    if (!this.absent.has(this.#host)) {
      this.report({ type: "status", state: "reconnecting", host: this.#host, error });
    }
    this.flush();
  }

  #sampled(record: DomainStatsRecord): void {
    const known = this.entries.get(record.domain);
    if (known !== undefined) {
      known.sweep = this.sweep;
      if (this.cadence.mode === "on-change" && sameRecord(known.record, record) && !this.#heartbeatDue(known)) return;
    }
    const entry = this.take(record, known);
    if (record.status === "gone" && !this.#named) this.remove(entry);
  }

  /** True if, without a record now, the domain would be silent for longer than the heartbeat by the next sweep. */
  #heartbeatDue(entry: FeedEntry): boolean {
    return this.options.now() + this.cadence.intervalMs - entry.reportedAt > this.cadence.heartbeatMs;
  }

  /**
   * After failed sweeps, the first records show that the source can be reached again. Sends `connected`, and a gap that
   * counts the failed sweeps.
   */
  #recovered(): void {
    if (this.#failed === 0) return;
    const skipped = this.#failed;
    this.#failed = 0;
    this.report({ type: "status", state: "connected", host: this.#host, error: undefined });
    this.event({ type: "gap", reason: "source", skipped, host: this.#host });
  }
}
