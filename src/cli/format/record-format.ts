import type { DomainStatsRecord } from "../../model/record.ts";

/** Turns records into text as they come. Pure: whoever calls it prints what it gives, which may be nothing yet. */
export interface RecordFormat {
  /** What stands before the first record. */
  begin(): string;
  record(record: DomainStatsRecord): string;
  /** What was held back, and what stands after the last record. */
  end(): string;
}
