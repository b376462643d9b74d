import type { Driver } from "../src/driver/driver.ts";
import { SweepTally } from "../src/driver/tally.ts";
import { TypedParams } from "../src/model/params.ts";
import type { Query } from "../src/model/query.ts";
import { DomainStatsRecord } from "../src/model/record.ts";
import { ParamType } from "../src/model/schema.ts";
import type { Cadence, WatchSink } from "../src/model/watch.ts";
import { simulatedHost } from "./records.ts";

/** The number of domains of the watch. */
const TICK_DOMAINS = 512;
/**
 * The number of prepared ticks, which the watch repeats. They have as many records as the peers repeat, so that all
 * contenders use the processor's caches alike. When the ticks begin again, all counters decrease.
 */
const PREPARED_TICKS = 4;
/** At most this many ticks may wait for the client's confirmation. */
const AHEAD = 16;
const TICK_MS = 1_000;
/** How many of the 79 parameters change from tick to tick: a third. */
export const CHANGING = 26;
/** How many records a driver passes on at a time. */
const CHUNK = 256;

/**
 * Ticks of the simulated host, one second apart. On average 24 parameters of a record change in a second. A few more
 * are changed by a usual amount, so that a third changes in every record.
 */
function preparedTicks(): DomainStatsRecord[][] {
  const { host, groups } = simulatedHost(TICK_DOMAINS);
  const began = Date.now();
  const ticks: DomainStatsRecord[][] = [];
  for (let tick = 0; tick < PREPARED_TICKS; tick++) {
    const now = began + tick * TICK_MS;
    const before = ticks.at(-1);
    ticks.push(
      Array.from({ length: TICK_DOMAINS }, (_, index) => {
        const sampled = host.sample(index, groups, now);
        const last = before?.[index];
        return new DomainStatsRecord({
          domain: last?.domain ?? host.domain(index),
          params: last === undefined ? sampled : changing(last.params, sampled),
          status: "ok",
          sampledAt: now + (index >> 8),
          tookMs: 0.2 + (index % 50) / 1000,
          index,
        });
      }),
    );
  }
  return ticks;
}

/** The parameters of a domain's next record, of which exactly CHANGING differ from those of the record before. */
function changing(before: TypedParams, sampled: TypedParams): TypedParams {
  const { schema } = before;
  const doubles = before.doubles.slice();
  let changed = 0;
  for (let i = 0; i < doubles.length && changed < CHANGING; i++) {
    const double = sampled.doubles[i]!;
    if (double === doubles[i]) continue;
    doubles[i] = double;
    changed++;
  }
  for (let i = doubles.length - 1; i >= 0 && changed < CHANGING; i--) {
    if (schema.types[i] !== ParamType.ullong || doubles[i] !== before.doubles[i]) continue;
    doubles[i] = doubles[i]! + 4_096;
    changed++;
  }
  if (changed !== CHANGING) throw new Error(`${changed} parameters change`);
  return new TypedParams(schema, doubles, before.texts, before.bigs);
}

/**
 * A driver with a `watch` of its own that costs almost nothing. It emits prepared ticks, one after the other, as fast
 * as the client confirms them. Without the confirmations, a watch would conflate ticks for a slow client, and the
 * benchmark would not measure what the watch can deliver.
 */
export class TickingDriver implements Driver {
  readonly uri = "ticking:///";
  readonly hypervisor = "prepared";
  readonly host = "prepared";
  readonly #ticks = preparedTicks();
  #allowed = AHEAD;
  #wake: (() => void) | undefined;

  /** Tells the driver that the client has received this number of further ticks. */
  confirm(ticks: number): void {
    this.#allowed += ticks;
    this.#wake?.();
  }

  watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
    let stopped = false;
    void this.#push(sink, () => stopped);
    return () => {
      stopped = true;
    };
  }

  sweep(): never {
    throw new Error("this driver is only watched");
  }

  async close(): Promise<void> {}

  async #push(sink: WatchSink, stopped: () => boolean): Promise<void> {
    for (let tick = 0; !stopped(); tick++) {
      while (this.#allowed === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
      this.#allowed--;
      const records = this.#ticks[tick % PREPARED_TICKS]!;
      const tally = new SweepTally(records[0]!.sampledAt);
      for (let at = 0; at < records.length; at += CHUNK) {
        const chunk = records.slice(at, at + CHUNK);
        tally.add(chunk);
        for (const record of chunk) sink.record(record);
        sink.flush();
        await new Promise<void>((resolve) => setImmediate(resolve));
        if (stopped()) return;
      }
      sink.event({ type: "sync", tick: tick + 1, host: this.host, summary: tally.summary(1), overrun: 0 });
      sink.flush();
    }
  }
}
