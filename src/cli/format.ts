import type { DomainStatsRecord } from "../model/record.ts";
import { JsonFormat, NdjsonFormat } from "./format-json.ts";
import { TableFormat } from "./format-table.ts";
import { VirshFormat } from "./format-virsh.ts";

/** How records can be printed. */
export const FORMATS = ["table", "virsh", "ndjson", "json"] as const;
export type FormatName = (typeof FORMATS)[number];

/** Turns records into text as they come. Pure: whoever calls it prints what it gives, which may be nothing yet. */
export interface RecordFormat {
  /** What stands before the first record. */
  begin(): string;
  record(record: DomainStatsRecord): string;
  /** What was held back, and what stands after the last record. */
  end(): string;
}

/** @param groups the groups asked for as a mask; 0: all */
export function createFormat(name: FormatName, groups: number): RecordFormat {
  switch (name) {
    case "table":
      return new TableFormat(groups);
    case "virsh":
      return new VirshFormat();
    case "ndjson":
      return new NdjsonFormat();
    case "json":
      return new JsonFormat();
  }
}
