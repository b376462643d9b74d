import { DomainMap } from "../../model/domain-map.ts";
import { type Domain, type DomainStatsRecord, isUnanswered } from "../../model/record.ts";

/**
 * Remembers since when domains have not answered: the steady time of the first record without an answer since the last
 * answer.
 */
export class Streaks {
  #since = new DomainMap<number>();

  /** The steady time since which a domain has not answered, in ms; undefined: it answered in its last record. */
  since(domain: Domain): number | undefined {
    return this.#since.get(domain);
  }

  /** Takes a domain's newest record. */
  take(record: DomainStatsRecord): void {
    const { domain, steadyAt } = record;
    if (!isUnanswered(record)) this.forget(domain);
    else if (this.#since.get(domain) === undefined) this.#since.set(domain, steadyAt);
  }

  /** Takes the records of all domains, and forgets the domains without a record. */
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
