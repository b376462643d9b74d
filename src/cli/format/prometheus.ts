import type { Connection } from "../../client/connection.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";
import type { Identities } from "../../outlets/identity/identities.ts";
import { expose } from "../../outlets/prometheus/exposition.ts";
import { familiesOf } from "../../outlets/prometheus/families.ts";
import type { Dialect } from "../../outlets/prometheus/family.ts";
import { prepareRows } from "../../outlets/prometheus/row.ts";
import { Streaks } from "../../outlets/prometheus/streaks.ts";
import { Format } from "./format.ts";

/**
 * A page for Prometheus, which node_exporter's textfile collector can read. Each family of metrics occurs once on the
 * page, with all domains, so the page is printed at the end of the sweep. An interrupted or failed sweep has no page,
 * because domains without a record would look like domains that no longer exist.
 */
export class PrometheusFormat extends Format {
  readonly #connection: Pick<Connection, "host" | "driver">;
  readonly #dialect: Dialect;
  readonly #identities: Identities;
  readonly #records: DomainStatsRecord[] = [];
  readonly #absent = new Set<string>();

  /** @param identities the domains' identities, which the caller has opened and will close */
  constructor(connection: Pick<Connection, "host" | "driver">, dialect: Dialect, identities: Identities) {
    super();
    this.#connection = connection;
    this.#dialect = dialect;
    this.#identities = identities;
  }

  record(record: DomainStatsRecord): string {
    this.#records.push(record);
    // Requests the domain's identity now, so that it is read during the sweep.
    this.#identities.of(record.domain);
    return "";
  }

  override event(event: Exclude<WatchEvent, { type: "record" }>): string {
    if (event.type === "status" && event.host !== undefined) this.#absent.add(event.host);
    return "";
  }

  override settle(timeoutMs: number): Promise<void> {
    return this.#identities.read([], timeoutMs);
  }

  override end(whole = true): string {
    if (!whole) return "";
    const { host, driver } = this.#connection;
    const several = host.includes(",");
    const streaks = new Streaks();
    streaks.takeAll(this.#records);
    const present = this.#records.filter(({ domain }) => !this.#absent.has(domain.host));
    const preparation = prepareRows(present, {
      several,
      now: performance.now(),
      stuckSince: (domain) => streaks.since(domain),
      describe: (domain) => this.#identities.of(domain),
    });
    let step = preparation.next();
    while (!step.done) step = preparation.next();
    const hosts = host.split(",").map((name) => ({ name, up: !this.#absent.has(name) }));
    const page = { rows: step.value, hosts, several, versions: driver.versions ?? [], self: undefined };
    return [...expose(familiesOf(this.#dialect), page, "text")].join("");
  }
}
