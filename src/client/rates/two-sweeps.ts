import { onAbort } from "../../driver/abort.ts";
import { type Clock, withTimeout } from "../../driver/clock.ts";
import { invalid, quote } from "../../model/error.ts";
import { check, whole } from "../../model/options.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { DEFAULT_INTERVAL_MS, MAX_INTERVAL_MS, MIN_INTERVAL_MS } from "../../model/watch.ts";
import { RateMeter } from "../rates.ts";
import type { DomainRates } from "./domain-rates.ts";

/** What a batch call may ask for besides records; not yet checked. */
export interface RatesRequest {
  readonly rates: boolean;
  readonly overMs: number | undefined;
}

/** What ends the wait between two sweeps. */
export interface WaitContext {
  readonly signal: AbortSignal | undefined;
  /** Aborted with its error when the connection is closed. */
  readonly end: AbortSignal;
  readonly clock: Clock;
}

/**
 * The rates between two sweeps, in the order of the second. From the end of the first to the start of the second it waits for `overMs`: whatever the
 * order of the records, the two of a domain are at least that far apart.
 *
 * @throws VirstreamError `invalid-argument`
 */
export async function ratesOver(
  sweep: () => Promise<DomainStatsRecord[]>,
  { rates, overMs = DEFAULT_INTERVAL_MS }: RatesRequest,
  context: WaitContext,
): Promise<DomainRates[]> {
  if (typeof rates !== "boolean") throw invalid(`rates must be true or false, not ${quote(rates)}`);
  if (!rates) throw invalid("overMs goes with rates: true");
  check("overMs", overMs, whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS));
  const meter = new RateMeter();
  for (const record of await sweep()) meter.take(record);
  await wait(overMs, context);
  return (await sweep()).map((record) => meter.take(record));
}

async function wait(ms: number, { signal, end, clock }: WaitContext): Promise<void> {
  const ended = (over: AbortSignal): Promise<void> =>
    new Promise((_, reject) => {
      const unlisten = onAbort(end, () => reject(end.reason));
      onAbort(over, unlisten);
    });
  await withTimeout<void>(ended, ms, () => {}, { signal, clock });
}
