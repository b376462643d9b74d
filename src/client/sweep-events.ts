import type { Driver } from "../driver/driver.ts";
import { SweepTally } from "../driver/tally.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord, SweepSummary } from "../model/record.ts";

/** The events of a sweep. */
export type SweepEvent =
  /** The number of records to come, as soon as the driver knows it. */
  | { readonly type: "expect"; readonly domains: number }
  /** One domain's record. */
  | { readonly type: "record"; readonly record: DomainStatsRecord }
  /** The end of the sweep: every domain has had its record. */
  | { readonly type: "sync"; readonly summary: SweepSummary };

/**
 * Runs a sweep, and yields its events. The event `expect` does not wait for the first record: a progress display needs
 * it at once.
 */
export async function* sweepEvents(
  driver: Driver,
  query: Query,
  signal: AbortSignal,
): AsyncGenerator<readonly SweepEvent[]> {
  const tally = new SweepTally(Date.now());
  const began = performance.now();
  let expect: (domains: number) => void = () => {};
  let expected: Promise<number> | undefined = new Promise((resolve) => {
    expect = resolve;
  });
  const records = driver.sweep(query, { signal, expect, absent: tally.addAbsent })[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = records.next();
      if (expected !== undefined) {
        const domains = await Promise.race([expected, next.then(() => undefined)]);
        if (domains !== undefined) {
          expected = undefined;
          yield [{ type: "expect", domains }];
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
