import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { Stream } from "./stream.ts";

/**
 * The records of all domains, sweep after sweep, for as long as somebody listens. Consumed as Observable, async iterable
 * or by callback; see Stream. All watches of a connection that ask for the same share one sampler. It does not end by
 * itself, and fails only for what waiting cannot mend.
 *
 * A consumer that is slow is not fed old values: it skips to the newest record of each domain, and is told so by a `gap`
 * among the events.
 */
export class WatchStream extends Stream<DomainStatsRecord> {
  /** The same watch with what happens around the records: `gone`, `sync`, `gap`, `status`. */
  readonly events: Stream<WatchEvent>;

  constructor(sampling: Sampling, query: Query, cadence: Cadence, signal?: AbortSignal) {
    super((ended) => onlyRecords(sampling.watch(query, cadence, ended)), signal);
    this.events = new Stream((ended) => sampling.watch(query, cadence, ended), signal);
  }
}

async function* onlyRecords(
  chunks: AsyncIterableIterator<readonly WatchEvent[]>,
): AsyncGenerator<readonly DomainStatsRecord[]> {
  for await (const events of chunks) {
    const records: DomainStatsRecord[] = [];
    for (const event of events) if (event.type === "record") records.push(event.record);
    if (records.length > 0) yield records;
  }
}
