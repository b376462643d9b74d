import { type Clock, eventLoopTurn, withTimeout } from "../driver/clock.ts";
import type { Driver, SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";

type Chunk = readonly DomainStatsRecord[];
type Pulled = IteratorResult<Chunk> | undefined;

/**
 * A host that keeps its promise has a record within the deadline: that of the domain that is late. When it is silent for
 * this much longer, in ms, something between here and there is dead.
 */
export const GRACE_MS = 1_000;

/**
 * A sweep of one host that cannot hang: it fails with `connection-lost` when no records come for the query's deadline and
 * GRACE_MS. Only the time of a pull counts: a slow consumer does not make a host silent, and a large host may take as long
 * as it needs, while records come.
 */
export async function* sweepWithTimeout(
  driver: Driver,
  query: Query,
  { signal, expect }: SweepContext,
  clock: Clock,
): AsyncGenerator<Chunk, void, void> {
  if (signal.aborted) return;
  const silenceMs = query.deadlineMs + GRACE_MS;
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  signal.addEventListener("abort", stop);
  const context: SweepContext = {
    signal: abort.signal,
    expect: (domains) => {
      if (!abort.signal.aborted) expect(domains);
    },
  };
  let source: AsyncIterator<Chunk> | undefined;
  try {
    source = driver.sweep(query, context)[Symbol.asyncIterator]();
    for (;;) {
      const pulled = source.next();
      let result = await withTimeout<Pulled>(pulled, silenceMs, () => undefined, { signal, clock });
      // When this process itself stood still, timers are late, and fire before what has arrived is read.
      result ??= await Promise.race<Pulled>([pulled, eventLoopTurn().then(() => undefined)]);
      if (result === undefined) {
        throw new VirstreamError("connection-lost", `${driver.uri} has been silent for ${silenceMs} ms`);
      }
      if (result.done) return;
      yield result.value;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
    // A driver that hangs does not settle this; its signal makes it give up.
    source?.return?.().then(undefined, () => {});
  }
}
