import { afterEach, beforeEach, expect, vi } from "vitest";
import type { SweepHost } from "../../../../src/drivers/libvirt/sweep/calls.ts";
import { Sweep } from "../../../../src/drivers/libvirt/sweep/sweep.ts";
import { checkQuery, type StatsQuery } from "../../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../../src/model/record.ts";

/** A sweep under way, and what came of it so far. */
export class Run {
  readonly records: { record: DomainStatsRecord; at: number }[] = [];
  readonly abort = new AbortController();
  readonly sweep: Sweep;
  expected: number | undefined;
  endedAt: number | undefined;
  error: unknown;
  readonly done: Promise<void>;

  constructor(
    daemon: SweepHost & { readonly host: string },
    query: StatsQuery = {},
    pace?: (run: Run) => Promise<void>,
  ) {
    const context = {
      signal: this.abort.signal,
      expect: (domains: number) => {
        expect(this.expected).toBeUndefined();
        this.expected = domains;
      },
    };
    this.sweep = new Sweep(daemon, checkQuery(query), context, daemon);
    const start = performance.now();
    this.sweep.start();
    this.done = this.#consume(start, pace);
  }

  async #consume(start: number, pace?: (run: Run) => Promise<void>): Promise<void> {
    try {
      for await (const chunk of this.sweep.queue) {
        for (const record of chunk) this.records.push({ record, at: performance.now() - start });
        await pace?.(this);
      }
    } catch (error) {
      this.error = error;
    }
    this.endedAt = performance.now() - start;
  }

  /** `name:status/reason` of each record, in the order of the listing. */
  get summary(): string[] {
    return [...this.records]
      .sort((a, b) => a.record.index - b.record.index)
      .map(({ record: { domain, status, reason } }) => `${domain.name}:${status}${reason ? `/${reason}` : ""}`);
  }

  count(status: string, reason?: string): number {
    return this.records.filter(({ record }) => record.status === status && record.reason === reason).length;
  }
}

/** Lets the tests of a file turn the clock by hand; each must leave no timer behind. */
export function turnTheClock(): void {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  });
  afterEach(() => {
    const timers = vi.getTimerCount();
    vi.useRealTimers();
    expect(timers).toBe(0);
  });
}

/** So many ms pass. */
export const advance = (ms: number) => vi.advanceTimersByTimeAsync(ms);
