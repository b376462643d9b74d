import { WatchStream } from "../../src/client/stream.ts";
import { watchSources } from "../../src/client/watch-sources.ts";
import type { Query } from "../../src/model/query.ts";
import type { Cadence } from "../../src/model/watch.ts";
import type { Sampling } from "../../src/sampling/sampling.ts";

/** A watch as a connection with this sampling makes it. */
export function watchOf(sampling: Sampling, query: Query, cadence: Cadence, signal?: AbortSignal): WatchStream {
  return new WatchStream(watchSources(sampling, query, cadence), signal, () => () => {});
}
