import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { Stream } from "./stream.ts";

/**
 * The records of all domains, sweep after sweep, for as long as it has a consumer: an Observable, an async iterable or a
 * callback; see Stream. All watches of a connection that ask for the same share one sampler. It does not end by itself, and
 * fails only for what waiting does not cure.
 *
 * A slow consumer gets no old values: it skips to the newest record of each domain, and a `gap` among the events says so.
 */
export class WatchStream extends Stream<DomainStatsRecord> {
  /** The same watch with what happens around the records: `gone`, `sync`, `gap`, `status`. */
  readonly events: Stream<WatchEvent>;

  constructor(sampling: Sampling, query: Query, cadence: Cadence, signal?: AbortSignal) {
    // The end of either reaches the sampling by the iterator's return().
    super(() => sampling.watchRecords(query, cadence), signal);
    this.events = new Stream(() => sampling.watch(query, cadence), signal);
  }
}
