import type { Driver } from "../driver/driver.ts";
import type { Query } from "../model/query.ts";
import { type DomainStatsRecord, type SweepSummary, SweepTally } from "../model/record.ts";
import { Stream } from "./stream.ts";

/** The events of a sweep. */
export type SweepEvent =
  /** The number of records to come, as soon as the driver knows it. */
  | { readonly type: "expect"; readonly domains: number }
  /** One domain's record. */
  | { readonly type: "record"; readonly record: DomainStatsRecord }
  /** The end of the sweep: every domain has had its record. */
  | { readonly type: "sync"; readonly summary: SweepSummary };

/**
 * The records of one sweep, each as soon as the driver has it, as an Observable, an async iterable or by callback; see
 * Stream. Each consumption runs a sweep of its own.
 */
export class StatsStream extends Stream<DomainStatsRecord> {
  /** The same sweep as events: `expect`, `record` and `sync`. */
  readonly events: Stream<SweepEvent>;

  constructor(driver: Driver, query: Query, signal?: AbortSignal) {
    super((ended) => driver.sweep(query, { signal: ended, expect: () => {} }), signal);
    this.events = new Stream((ended) => sweepEvents(driver, query, ended), signal);
  }
}

/** A sweep as events. An `expect` does not wait for the first record: a progress display needs it at once. */
async function* sweepEvents(driver: Driver, query: Query, signal: AbortSignal): AsyncGenerator<readonly SweepEvent[]> {
  const tally = new SweepTally(Date.now());
  const began = performance.now();
  let expected: number | undefined;
  let announce: () => void = () => {};
  const announced = new Promise<"expect">((resolve) => {
    announce = () => resolve("expect");
  });
  const expect = (domains: number): void => {
    expected = domains;
    announce();
  };
  const records = driver.sweep(query, { signal, expect })[Symbol.asyncIterator]();
  let announcedOnce = false;
  try {
    for (;;) {
      const next = records.next();
      if (!announcedOnce) {
        // The consumer may leave at the yield below: then an error of this pull has no other handler.
        next.catch(() => {});
        await Promise.race([next, announced]);
        if (expected !== undefined) {
          announcedOnce = true;
          yield [{ type: "expect", domains: expected }];
        }
      }
      const result = await next;
      if (result.done) break;
      tally.add(result.value);
      yield result.value.map((record) => ({ type: "record", record }));
    }
    yield [{ type: "sync", summary: tally.summary(performance.now() - began) }];
  } finally {
    await records.return?.();
  }
}
