import { type DomainStatsRecord, RECORD_STATUSES, type RecordStatus } from "../model/record.ts";
import type { SyncEvent } from "../model/watch.ts";

/** What sweeps have come to since the beginning. Counters unless said otherwise. */
export interface SweepFigures {
  /** Sweeps that were whole. */
  readonly sweeps: number;
  /** Sweeps that failed as a whole, as when the hypervisor could not be reached. */
  readonly sweepsFailed: number;
  /** Sweeps that were stopped because nobody wanted them any more. */
  readonly sweepsStopped: number;
  /** Sweeps under way; a gauge. */
  readonly sweepsInFlight: number;
  /** How long the whole sweeps took together, in seconds. */
  readonly sweepSeconds: number;
  /** How long the last whole one took, in seconds; a gauge. */
  readonly lastSweepSeconds: number;
  /** Sweeps that were left out because the one before outlasted its interval. */
  readonly sweepsOverrun: number;
  /** Records by status. */
  readonly records: Readonly<Record<RecordStatus, number>>;
  /** Records of domains in which an earlier call was still unanswered. */
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

  /** A sweep begins; call what it returns once at its end. */
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

  /** A record that a driver pushed. */
  record({ status, reason }: DomainStatsRecord): void {
    this.#records[status]++;
    if (reason === "quarantined") this.#quarantined++;
  }

  /** The end of a sweep that a driver pushed. */
  sync({ overrun, summary }: SyncEvent): void {
    this.#whole++;
    this.#overrun += overrun;
    this.#lastMs = summary.tookMs;
    this.#ms += summary.tookMs;
  }

  overrun(sweeps: number): void {
    this.#overrun += sweeps;
  }

  /** The figures as they are now. */
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
