import type { DomainStatsRecord } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";
import { expose } from "../../outlets/prometheus/exposition.ts";
import { familiesOf } from "../../outlets/prometheus/families.ts";
import type { Dialect } from "../../outlets/prometheus/family.ts";
import { prepareRows } from "../../outlets/prometheus/row.ts";
import { Streaks } from "../../outlets/prometheus/streaks.ts";
import { Format } from "./format.ts";

/**
 * A page for Prometheus, as node_exporter's textfile collector reads it. Each family is there once, so the page comes at the end. A
 * sweep that was interrupted or failed has no page: domains would seem to have left.
 */
export class PrometheusFormat extends Format {
  readonly #source: { readonly host: string };
  readonly #dialect: Dialect;
  readonly #records: DomainStatsRecord[] = [];
  readonly #absent = new Set<string>();

  constructor(source: { readonly host: string }, dialect: Dialect) {
    super();
    this.#source = source;
    this.#dialect = dialect;
  }

  record(record: DomainStatsRecord): string {
    this.#records.push(record);
    return "";
  }

  override event(event: Exclude<WatchEvent, { type: "record" }>): string {
    if (event.type === "status" && event.host !== undefined) this.#absent.add(event.host);
    return "";
  }

  override end(whole = true): string {
    if (!whole) return "";
    const { host } = this.#source;
    const several = host.includes(",");
    const streaks = new Streaks();
    streaks.takeAll(this.#records);
    const present = this.#records.filter(({ domain }) => !this.#absent.has(domain.host));
    const preparation = prepareRows(present, {
      several,
      now: performance.now(),
      stuckSince: (domain) => streaks.since(domain),
    });
    let step = preparation.next();
    while (!step.done) step = preparation.next();
    const hosts = host.split(",").map((name) => ({ name, up: !this.#absent.has(name) }));
    return [...expose(familiesOf(this.#dialect), { rows: step.value, hosts, several, self: undefined }, "text")].join(
      "",
    );
  }
}
