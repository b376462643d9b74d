import type { DomainStatsRecord, RecordStatus } from "../model/record.ts";
import type { SyncEvent } from "../model/watch.ts";

/** Figures of all sweeps of one driver, since virstream opened it. They are counters unless marked as gauges. */
export interface SweepFigures {
  /** Sweeps that ran to their end. */
  readonly sweeps: number;
  /** Sweeps that failed as a whole, for example because the hypervisor could not be reached. */
  readonly sweepsFailed: number;
  /** Sweeps that were aborted because their last consumer left. */
  readonly sweepsStopped: number;
  /** Sweeps under way; a gauge. */
  readonly sweepsInFlight: number;
  /** How long all sweeps that ran to their end took together, in seconds. */
  readonly sweepSeconds: number;
  /** How long the last sweep that ran to its end took, in seconds; a gauge. */
  readonly lastSweepSeconds: number;
  /** Sweeps that were skipped because the sweep before them took longer than the interval. */
  readonly sweepsOverrun: number;
  /** The number of records with each status. */
  readonly records: Readonly<Record<RecordStatus, number>>;
  /** Records with the reason `quarantined`: an earlier call for the domain was still unanswered. */
  readonly recordsQuarantined: number;
}

/** Counts sweeps and their records. */
export class SweepMetrics {
  readonly #now: () => number;
  readonly #figures = {
    sweeps: 0,
    sweepsFailed: 0,
    sweepsStopped: 0,
    sweepsInFlight: 0,
    sweepSeconds: 0,
    lastSweepSeconds: 0,
    sweepsOverrun: 0,
    records: { ok: 0, partial: 0, failed: 0, gone: 0 },
    recordsQuarantined: 0,
  };

  /** @param now a steady clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /**
   * Counts the start of a sweep. Returns a function; call it once, at the end of the sweep, with the way in which it
   * ended.
   */
  began(): (end: "whole" | "failed" | "stopped") => void {
    const began = this.#now();
    this.#figures.sweepsInFlight++;
    return (end) => {
      this.#figures.sweepsInFlight--;
      if (end === "failed") this.#figures.sweepsFailed++;
      else if (end === "stopped") this.#figures.sweepsStopped++;
      else this.#whole(this.#now() - began);
    };
  }

  records(records: readonly DomainStatsRecord[]): void {
    for (const record of records) this.record(record);
  }

  /** Counts one record, for example a record that a driver pushes. */
  record({ status, reason }: DomainStatsRecord): void {
    this.#figures.records[status]++;
    if (reason === "quarantined") this.#figures.recordsQuarantined++;
  }

  /** Counts the end of a sweep of a driver that pushes. */
  sync({ overrun, summary }: SyncEvent): void {
    this.overrun(overrun);
    this.#whole(summary.tookMs);
  }

  overrun(sweeps: number): void {
    this.#figures.sweepsOverrun += sweeps;
  }

  /** The current figures. */
  snapshot(): SweepFigures {
    return { ...this.#figures, records: { ...this.#figures.records } };
  }

  #whole(tookMs: number): void {
    this.#figures.sweeps++;
    this.#figures.lastSweepSeconds = tookMs / 1_000;
    this.#figures.sweepSeconds += tookMs / 1_000;
  }
}
