import { type Clock, onAbort, withTimeout } from "../../driver/clock.ts";
import { invalid, quote } from "../../model/error.ts";
import { check, whole } from "../../model/options.ts";
import type { StatsQuery } from "../../model/query.ts";
import { type DomainStatsRecord, domainKey, type Recorded } from "../../model/record.ts";
import { DEFAULT_INTERVAL_MS, MAX_INTERVAL_MS, MIN_INTERVAL_MS } from "../../model/watch.ts";
import { RateMeter } from "../rates.ts";
import type { DomainRates } from "./domain-rates.ts";

/** The options about rates of a batch call, such as getAllDomainStats(). They are not checked yet. */
export interface RatesRequest {
  readonly rates: boolean;
  readonly overMs: number | undefined;
  readonly query: StatsQuery;
}

/** The inputs of the wait between two sweeps: two signals that end it, and a clock. */
export interface WaitContext {
  readonly signal: AbortSignal | undefined;
  /** Aborted when the connection is closed. The reason of the abort is the connection's error. */
  readonly end: AbortSignal;
  readonly clock: Clock;
}

/**
 * The rates between two sweeps, in the order of the second sweep's records. The function waits for `overMs` from the
 * end of the first sweep to the start of the second sweep. So the two records of a domain are at least `overMs` apart,
 * whatever the order of the records. For a moment of a recording, it does not wait: it reads an earlier state of the
 * recording, see recordsBefore.
 *
 * @throws VirstreamError `invalid-argument`
 */
export async function ratesOver(
  sweep: (query: StatsQuery) => Promise<DomainStatsRecord[]>,
  { rates, overMs, query }: RatesRequest,
  context: WaitContext,
  { recorded }: { readonly recorded: Recorded | undefined },
): Promise<DomainRates[]> {
  if (typeof rates !== "boolean") throw invalid(`rates must be true or false, not ${quote(rates)}`);
  if (!rates) throw invalid("overMs goes with rates: true");
  if (overMs !== undefined) check("overMs", overMs, whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS));
  const { at } = query;
  const meter = new RateMeter();
  if (at !== undefined && recorded !== undefined) {
    const now = await sweep(query);
    const before = (moment: number): Promise<DomainStatsRecord[]> => sweep({ ...query, at: moment });
    for (const record of await recordsBefore(now, before, at, recorded, overMs)) meter.take(record);
    return now.map((record) => meter.take(record));
  }
  for (const record of await sweep(query)) meter.take(record);
  await wait(overMs ?? DEFAULT_INTERVAL_MS, context);
  return (await sweep(query)).map((record) => meter.take(record));
}

/**
 * The search for records older than those of a moment starts this many intervals before the moment. Most domains have
 * an older record there. The value is above 1 because sweeps are not quite regular.
 */
const SURE_INTERVALS = 1.2;
/** The search for older records ends once it has gone back by more than this many intervals. */
const MOST_INTERVALS = 60;

/**
 * Reads an earlier state of a recording. The rates at a moment are computed from this state and the state at that
 * moment. The search goes back until most domains have an older record. Sweeps may be further apart than the interval,
 * because a sweep with a guest that hangs takes longer. The times in the records cannot show how far apart the sweeps
 * are, because the clocks of hosts differ.
 *
 * @param now the recording's records at the time `at`
 * @param sweep reads the recording's records at another time
 * @param at the time for which the rates are computed, in ms since 1970
 * @param overMs the least time between the two states, in ms
 */
export async function recordsBefore(
  now: readonly DomainStatsRecord[],
  sweep: (moment: number) => Promise<readonly DomainStatsRecord[]>,
  at: number,
  { from, to, intervalMs }: Recorded,
  overMs = DEFAULT_INTERVAL_MS,
): Promise<readonly DomainStatsRecord[]> {
  const sampled = new Map(now.map(({ domain, steadyAt }) => [domainKey(domain), steadyAt]));
  for (let ms = Math.max(overMs, Math.ceil(SURE_INTERVALS * intervalMs)); ; ms *= 2) {
    const moment = Math.max(from, Math.min(at, to) - ms);
    const records = await sweep(moment);
    const same = records.filter(({ domain, steadyAt }) => sampled.get(domainKey(domain)) === steadyAt).length;
    if (same <= records.length / 2 || moment === from || ms > MOST_INTERVALS * intervalMs) return records;
  }
}

async function wait(ms: number, { signal, end, clock }: WaitContext): Promise<void> {
  const ended = (over: AbortSignal): Promise<void> =>
    new Promise((_, reject) => {
      const unlisten = onAbort(end, () => reject(end.reason));
      onAbort(over, unlisten);
    });
  await withTimeout<void>(ended, ms, () => {}, { signal, clock });
}
