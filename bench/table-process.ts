import type { DomainRates } from "../src/client/rates/domain-rates.ts";
import { RateMeter } from "../src/client/rates.ts";
import { TableRows } from "../src/client/table/rows.ts";
import { DomainStatsRecord, domainKey } from "../src/model/record.ts";
import type { SyncEvent } from "../src/model/watch.ts";
import { answerCalls, cpuMicros } from "./calls.ts";
import { simulatedHost } from "./records.ts";

/**
 * What takes the records: the table, a Map of their rates with an array that is sorted at each tick (`naive`), or only
 * the meter of the rates.
 */
export type Keeper = "table" | "naive" | "meter";

const DOMAINS = 10_000;
/** How many rows a page shows. */
const TOP = 20;
const START_MS = 1_790_000_000_000;
const WARM_UP = 8;
const TICKS = 40;
const SYNC: SyncEvent = {
  ...{ type: "sync", tick: 1, host: "simulated", overrun: 0 },
  summary: { domains: DOMAINS, ok: DOMAINS, partial: 0, failed: 0, gone: 0, startedAt: START_MS, tookMs: 0 },
};

const calls = {
  /** CPU time of a tick, with the top rows by CPU use, in µs. */
  async measure(keeper: Keeper): Promise<number> {
    const { host, groups } = simulatedHost(DOMAINS);
    const domains = Array.from({ length: DOMAINS }, (_, index) => host.domain(index));
    const tick = KEEPERS[keeper]();
    let micros = 0;
    for (let i = 0; i < WARM_UP + TICKS; i++) {
      const now = START_MS + i * 1_000;
      const records = domains.map((domain, index) => {
        const params = host.sample(index, groups, now);
        return new DomainStatsRecord({
          ...{ domain, params, status: "ok", sampledAt: now, tookMs: 0 },
          steadyAt: now,
          index,
        });
      });
      const before = cpuMicros();
      if (tick(records) !== TOP) throw new Error("a tick left rows out");
      if (i >= WARM_UP) micros += cpuMicros() - before;
    }
    return micros / TICKS;
  },
};
export type TableCalls = typeof calls;

const KEEPERS: Record<Keeper, () => (records: readonly DomainStatsRecord[]) => number> = {
  table: () => {
    const rows = new TableRows({
      now: () => 0,
      source: { host: "simulated" },
      patterns: undefined,
      onReady: () => {},
      onEnd: () => {},
    });
    const reader = rows.read();
    return (records) => {
      for (const record of records) rows.record(record);
      rows.event(SYNC);
      void reader.next();
      return rows.top(TOP, (row) => row.rates.cpu.percent).length;
    };
  },
  naive: () => {
    const meter = new RateMeter();
    const rows = new Map<string, DomainRates>();
    return (records) => {
      for (const record of records) rows.set(domainKey(record.domain), meter.take(record));
      return [...rows.values()].sort((one, other) => (other.cpu.percent ?? -1) - (one.cpu.percent ?? -1)).slice(0, TOP)
        .length;
    };
  },
  meter: () => {
    const meter = new RateMeter();
    return (records) => records.filter((record) => meter.take(record).record === record).slice(0, TOP).length;
  },
};

answerCalls(calls);
