import { type DomainStatsRecord, RECORD_STATUSES, type RecordStatus } from "../model/record.ts";
import type { SyncEvent } from "../model/watch.ts";

/** Figures of all sweeps since the start. They are counters unless marked as gauges. */
export interface SweepFigures {
  /** Sweeps that ran to their end. */
  readonly sweeps: number;
  /** Sweeps that failed as a whole, for example because the hypervisor could not be reached. */
  readonly sweepsFailed: number;
  /** Sweeps that were aborted because their last consumer left. */
  readonly sweepsStopped: number;
  /** Sweeps under way; a gauge. */
  readonly sweepsInFlight: number;
  /** The total time of the sweeps that ran to their end, in seconds. */
  readonly sweepSeconds: number;
  /** The time of the last sweep that ran to its end, in seconds; a gauge. */
  readonly lastSweepSeconds: number;
  /** Sweeps that were skipped because the sweep before took longer than its interval. */
  readonly sweepsOverrun: number;
  /** Records by status. */
  readonly records: Readonly<Record<RecordStatus, number>>;
  /** Records of domains with an earlier call that was still unanswered. */
  readonly recordsQuarantined: number;
}

/** Counts sweeps and their records. */
export class SweepMetrics {
  readonly #now: () => number;
  readonly #records: Record<RecordStatus, number> = { ok: 0, partial: 0, failed: 0, gone: 0 };
  #whole = 0;
  #failed = 0;
  #stopped = 0;
  #inFlight = 0;
  #ms = 0;
  #lastMs = 0;
  #overrun = 0;
  #quarantined = 0;

  /** @param now a steady clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Counts the start of a sweep. Call the returned function once, at the end of the sweep. */
  began(): (end: "whole" | "failed" | "stopped") => void {
    const began = this.#now();
    this.#inFlight++;
    return (end) => {
      this.#inFlight--;
      if (end === "failed") this.#failed++;
      else if (end === "stopped") this.#stopped++;
      else {
        this.#whole++;
        this.#lastMs = this.#now() - began;
        this.#ms += this.#lastMs;
      }
    };
  }

  records(records: readonly DomainStatsRecord[]): void {
    for (const record of records) this.record(record);
  }

  /** Counts one record, as of a driver that pushes them. */
  record({ status, reason }: DomainStatsRecord): void {
    this.#records[status]++;
    if (reason === "quarantined") this.#quarantined++;
  }

  /** Counts the end of a sweep of a driver that pushes. */
  sync({ overrun, summary }: SyncEvent): void {
    this.#whole++;
    this.#overrun += overrun;
    this.#lastMs = summary.tookMs;
    this.#ms += summary.tookMs;
  }

  overrun(sweeps: number): void {
    this.#overrun += sweeps;
  }

  /** The current figures. */
  snapshot(): SweepFigures {
    const records = Object.fromEntries(RECORD_STATUSES.map((status) => [status, this.#records[status]]));
    return {
      sweeps: this.#whole,
      sweepsFailed: this.#failed,
      sweepsStopped: this.#stopped,
      sweepsInFlight: this.#inFlight,
      sweepSeconds: this.#ms / 1000,
      lastSweepSeconds: this.#lastMs / 1000,
      sweepsOverrun: this.#overrun,
      records: records as Record<RecordStatus, number>,
      recordsQuarantined: this.#quarantined,
    };
  }
}
