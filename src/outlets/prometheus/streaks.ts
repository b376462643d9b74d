import { DomainMap } from "../../model/domain-map.ts";
import { type Domain, type DomainStatsRecord, isUnanswered } from "../../model/record.ts";

/** Since when domains have not answered: by the steady time of the first of their records that says so. */
export class Streaks {
  #since = new DomainMap<number>();

  /** The steady time, in ms; undefined: it answered in its last record. */
  since(domain: Domain): number | undefined {
    return this.#since.get(domain);
  }

  /** A domain's newest record. */
  take(record: DomainStatsRecord): void {
    const { domain, steadyAt } = record;
    if (!isUnanswered(record)) this.forget(domain);
    else if (this.#since.get(domain) === undefined) this.#since.set(domain, steadyAt);
  }

  /** The records of all domains: those without a record are forgotten. */
  takeAll(records: Iterable<DomainStatsRecord | undefined>): void {
    const before = this.#since;
    this.#since = new DomainMap();
    for (const record of records) {
      if (record === undefined || !isUnanswered(record)) continue;
      this.#since.set(record.domain, before.get(record.domain) ?? record.steadyAt);
    }
  }

  forget(domain: Domain): void {
    this.#since.delete(domain);
  }
}
