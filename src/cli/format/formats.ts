import { JsonFormat, NdjsonFormat } from "./json.ts";
import type { RecordFormat } from "./record-format.ts";
import { TableFormat } from "./table.ts";
import { VirshFormat } from "./virsh.ts";

/** How records can be printed. */
export const FORMATS = ["table", "virsh", "ndjson", "json"] as const;
/** One of them. */
export type FormatName = (typeof FORMATS)[number];

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
