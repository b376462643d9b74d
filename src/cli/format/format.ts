import type { DomainRates } from "../../client/rates.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";

/** An event of a watch that is no record. */
export type OtherEvent = Exclude<WatchEvent, { type: "record" }>;

/** Turns records and events into text as they come. It prints nothing itself; a text may be empty. */
export abstract class Format {
  /** Whether every event has a text. Otherwise gaps, states and domains that left are reported on stderr. */
  readonly hasAllEvents: boolean = false;

  /** The text before the first record, also of a sweep that has none. */
  begin(): string {
    return "";
  }

  /** @param rates those of the record, where rates are wanted */
  abstract record(record: DomainStatsRecord, rates?: DomainRates): string;

  event(_event: OtherEvent): string {
    return "";
  }

  /** The text that was held back, and the text after the last record. */
  end(): string {
    return "";
  }
}
