import type { Format } from "./format.ts";
import { JsonFormat, NdjsonFormat } from "./json.ts";
import { TableFormat } from "./table.ts";
import { VirshFormat, VirshWatchFormat } from "./virsh.ts";

/** How records can be printed. */
export const FORMATS = ["table", "virsh", "ndjson", "json"] as const;
/** One of them. */
export type FormatName = (typeof FORMATS)[number];

/** The options of a format. */
export interface FormatOptions {
  /** The groups asked for as a mask; 0: all. */
  readonly groups?: number;
  /** Show rates in place of totals, where the format has columns for them. */
  readonly rates?: boolean;
  /** Whether the domains are of several hosts. */
  readonly hosts?: boolean;
  /** Whether sweep follows sweep. */
  readonly watch?: boolean;
}

/** A format by its name. A watch has no end, so `json`, which is one array, does not fit one. */
export function createFormat(
  name: FormatName,
  { groups = 0, rates = false, hosts = false, watch = false }: FormatOptions = {},
): Format {
  switch (name) {
    case "table":
      return new TableFormat(groups, rates, hosts);
    case "virsh":
      return watch ? new VirshWatchFormat() : new VirshFormat();
    case "ndjson":
      return new NdjsonFormat();
    case "json":
      return new JsonFormat();
  }
}
