import type { DomainRates } from "../../client/rates.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { SyncEvent } from "../../model/watch.ts";
import { type Column, columnsOf, HOST_COLUMN, lineOf, rateFigures } from "./column.ts";
import { Format, type OtherEvent } from "./format.ts";
import { printable } from "./quantity.ts";

/**
 * A table for people: a line per domain as it arrives, with columns for the groups asked for. In a watch, a comment and
 * an empty line end each sweep. The sweeps of several hosts run side by side, so their lines are mixed.
 */
export class TableFormat extends Format {
  readonly #columns: readonly Column[];

  /**
   * @param groups the groups asked for as a mask; 0: all
   * @param rates show rates in place of totals
   * @param hosts show each domain's host
   */
  constructor(groups: number, rates: boolean, hosts: boolean) {
    super();
    const [name, ...rest] = columnsOf(groups, rates);
    this.#columns = hosts ? [name!, HOST_COLUMN, ...rest] : [name!, ...rest];
  }

  override begin(): string {
    return `${lineOf(this.#columns, (column) => column.title)}\n`;
  }

  record(record: DomainStatsRecord, rates?: DomainRates): string {
    const row = { record, rates: rates && rateFigures(rates) };
    return `${lineOf(this.#columns, (column) => column.text(row))}\n`;
  }

  override event(event: OtherEvent): string {
    return event.type === "sync" ? `# ${sweepText(event)}\n\n` : "";
  }
}

/** A sweep in words, e.g. `sweep 3: 40 domains of hv1 in 0.12 s, 1 partial`. */
export function sweepText({ tick, host, summary, overrun }: SyncEvent): string {
  const { domains, tookMs } = summary;
  const whose = `${domains} domain${domains === 1 ? "" : "s"} of ${printable(host)}`;
  const leftOut = overrun === 0 ? "" : `; ${overrun} left out: it outlasted the interval`;
  return `sweep ${tick}: ${whose} in ${(tookMs / 1_000).toFixed(2)} s${notWhole(summary)}${leftOut}`;
}

/** The records of a sweep that are not whole, e.g. `, 2 partial, 1 gone`. */
export function notWhole(counts: Readonly<Record<"partial" | "failed" | "gone", number>>): string {
  return (["partial", "failed", "gone"] as const)
    .filter((status) => counts[status] > 0)
    .map((status) => `, ${counts[status]} ${status}`)
    .join("");
}
