import { onAbort } from "../driver/clock.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { Subscription } from "../sampling/subscription.ts";
import { ratesIn } from "./rates.ts";
import type { WatchSources } from "./stream.ts";

/**
 * Returns the functions that open the streams of a watch. When the consumption of a stream ends, `return()` of the
 * stream's iterator removes the consumer from its feed.
 */
export function watchSources(sampling: Sampling, query: Query, cadence: Cadence): WatchSources {
  const events = () => Subscription.to(sampling, query, cadence, (each) => each);
  return {
    records: () => Subscription.to(sampling, query, cadence, recordsOf),
    events,
    rates: (left) => {
      const source = events();
      onAbort(left, () => void source.return());
      return ratesIn(source);
    },
  };
}

function recordsOf(events: readonly WatchEvent[]): DomainStatsRecord[] {
  const records: DomainStatsRecord[] = [];
  for (const event of events) if (event.type === "record") records.push(event.record);
  return records;
}
