import type { Absent, DomainStatsRecord, SweepSummary } from "../model/record.ts";

/** Counts the records of a sweep by their status, for the summary of the sweep. */
export class SweepTally {
  readonly startedAt: number;
  readonly #absent: Absent[] = [];
  readonly #counts = { ok: 0, partial: 0, failed: 0, gone: 0 };

  /** @param startedAt in ms since 1970 */
  constructor(startedAt: number) {
    this.startedAt = startedAt;
  }

  add(records: readonly DomainStatsRecord[]): void {
    for (const record of records) this.#counts[record.status]++;
  }

  /**
   * Adds a host that could not be reached. This is a property and not a method, so that it can be passed on as a
   * callback.
   */
  readonly addAbsent = (host: Absent): void => void this.#absent.push(host);

  /** @param tookMs how long the sweep took, in ms; the summary has the time rounded to the µs */
  summary(tookMs: number): SweepSummary {
    const { ok, partial, failed, gone } = this.#counts;
    const domains = ok + partial + failed + gone;
    const rounded = Math.round(tookMs * 1000) / 1000;
    const absent = this.#absent.length > 0 && { absent: this.#absent };
    return { domains, ok, partial, failed, gone, startedAt: this.startedAt, tookMs: rounded, ...absent };
  }
}
