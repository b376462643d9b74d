import type { DomainRates } from "../../client/rates.ts";
import type { WatchEvent } from "../../model/watch.ts";

/** Turns what happens in a watch into text as it happens. Pure: whoever calls it prints what it gives. */
export interface WatchFormat {
  /** Whether it has a place for every event; otherwise gaps, states and domains that left are told beside it. */
  readonly tellsAll: boolean;
  /** @param rates those of the event's record, where rates are wanted */
  event(event: WatchEvent, rates?: DomainRates): string;
}
