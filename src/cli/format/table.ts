import type { DomainRates } from "../../client/rates.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { SyncEvent, WatchEvent } from "../../model/watch.ts";
import { type Column, columnsOf, HOST_COLUMN, lineOf } from "./column.ts";
import { printable } from "./quantity.ts";
import { type RateFigures, rateFigures } from "./rate-figures.ts";
import type { RecordFormat } from "./record-format.ts";
import type { WatchFormat } from "./watch-format.ts";

/** A table for people: a line per domain as it arrives, with the columns that the groups asked for can fill. */
export class TableFormat implements RecordFormat {
  readonly #columns: readonly Column[];

  /**
   * @param groups the groups asked for as a mask; 0: all
   * @param rates rates in the place of totals
   * @param hosts whether domains of several hosts come: then each line says whose it is
   */
  constructor(groups: number, rates = false, hosts = false) {
    const [name, ...rest] = columnsOf(groups, rates);
    this.#columns = hosts ? [name!, HOST_COLUMN, ...rest] : [name!, ...rest];
  }

  begin(): string {
    return `${lineOf(this.#columns, (column) => column.title)}\n`;
  }

  record(record: DomainStatsRecord, rates?: RateFigures): string {
    return `${lineOf(this.#columns, (column) => column.text({ record, rates }))}\n`;
  }

  end(): string {
    return "";
  }
}

/**
 * The same lines, sweep after sweep, for pipes and files: each sweep ends with a comment and an empty line. With one
 * host that makes it a paragraph; the sweeps of several hosts run side by side, and so do their lines.
 */
export class TableWatchFormat implements WatchFormat {
  readonly tellsAll = false;
  readonly #table: TableFormat;
  #begun = false;

  /** As TableFormat's. */
  constructor(groups: number, rates: boolean, hosts: boolean) {
    this.#table = new TableFormat(groups, rates, hosts);
  }

  event(event: WatchEvent, rates?: DomainRates): string {
    if (event.type !== "record" && event.type !== "sync") return "";
    const head = this.#begun ? "" : this.#table.begin();
    this.#begun = true;
    if (event.type === "sync") return `${head}# ${sweepText(event)}\n\n`;
    return head + this.#table.record(event.record, rates && rateFigures(rates));
  }
}

/** A sweep in words, e.g. `sweep 3: 40 domains of hv1 in 0.12 s, 1 partial`. */
export function sweepText({ tick, host, summary, overrun }: SyncEvent): string {
  const { domains, tookMs } = summary;
  const rest = (["partial", "failed", "gone"] as const)
    .filter((status) => summary[status] > 0)
    .map((status) => `, ${summary[status]} ${status}`);
  const whose = `${domains} domain${domains === 1 ? "" : "s"} of ${printable(host)}`;
  const leftOut = overrun === 0 ? "" : `; ${overrun} left out: it outlasted the interval`;
  return `sweep ${tick}: ${whose} in ${(tookMs / 1_000).toFixed(2)} s${rest.join("")}${leftOut}`;
}
