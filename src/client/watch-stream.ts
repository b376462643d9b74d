import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import { Stream } from "./stream.ts";

/**
 * The records of all domains, sweep after sweep, for as long as the stream is consumed, as an Observable, an async iterable
 * or by callback; see Stream. All watches of a connection with the same query share one sampler. The stream does not end
 * by itself, and fails only with errors that waiting does not cure.
 *
 * A slow consumer never gets old values: it skips to the newest record of each domain, and a `gap` event says so.
 */
export class WatchStream extends Stream<DomainStatsRecord> {
  /** The same watch as events: `record`, `gone`, `sync`, `gap` and `status`. */
  readonly events: Stream<WatchEvent>;

  constructor(sampling: Sampling, query: Query, cadence: Cadence, signal?: AbortSignal) {
    // The end of either reaches the sampling by the iterator's return().
    super(() => sampling.watchRecords(query, cadence), signal);
    this.events = new Stream(() => sampling.watch(query, cadence), signal);
  }
}
