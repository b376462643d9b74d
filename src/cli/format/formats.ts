import { JsonFormat, NdjsonFormat, NdjsonWatchFormat } from "./json.ts";
import type { RecordFormat } from "./record-format.ts";
import { TableFormat, TableWatchFormat } from "./table.ts";
import { VirshFormat, VirshWatchFormat } from "./virsh.ts";
import type { WatchFormat } from "./watch-format.ts";

/** How records can be printed. */
export const FORMATS = ["table", "virsh", "ndjson", "json"] as const;
/** One of them. */
export type FormatName = (typeof FORMATS)[number];

/** Those of a watch, which has no end: an array that is never closed is no JSON. */
export type WatchFormatName = Exclude<FormatName, "json">;

/**
 * @param groups the groups asked for as a mask; 0: all
 * @param hosts whether domains of several hosts come
 */
export function createFormat(name: FormatName, groups: number, hosts = false): RecordFormat {
  switch (name) {
    case "table":
      return new TableFormat(groups, false, hosts);
    case "virsh":
      return new VirshFormat();
    case "ndjson":
      return new NdjsonFormat();
    case "json":
      return new JsonFormat();
  }
}

/**
 * @param groups the groups asked for as a mask; 0: all
 * @param rates show rates, where the format has a place for them
 * @param hosts whether domains of several hosts come
 */
export function createWatchFormat(name: WatchFormatName, groups: number, rates: boolean, hosts = false): WatchFormat {
  switch (name) {
    case "table":
      return new TableWatchFormat(groups, rates, hosts);
    case "virsh":
      return new VirshWatchFormat();
    case "ndjson":
      return new NdjsonWatchFormat();
  }
}
