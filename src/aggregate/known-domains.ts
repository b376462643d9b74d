import { FILTER_MASK, LIST_FILTERS, type Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import { SelectorTable } from "../sampling/selector-table.ts";

/** How many domains of a host are remembered; further ones have no record while it cannot be reached. */
const MAX_KNOWN = 100_000;

const ACTIVE_STATES = LIST_FILTERS.running | LIST_FILTERS.paused | LIST_FILTERS.other;
const INACTIVE_STATES = LIST_FILTERS.shutoff | LIST_FILTERS.other;

/** A domain, and its index on its host. */
export interface KnownDomain {
  readonly domain: Domain;
  readonly index: number;
}

/** The domains that a host had when it last answered: they have a failed record each while it cannot be reached. */
export class KnownDomains {
  readonly #domains = new DomainMap<KnownDomain>();

  get empty(): boolean {
    return this.#domains.size === 0;
  }

  /** The domains that a query selects. A filter by state is applied only as far as the domain's id shows the state. */
  of({ flags, domains }: Query): KnownDomain[] {
    const selectors = domains === undefined ? undefined : new SelectorTable(domains, () => true);
    return [...this.#domains].filter(({ domain }) =>
      selectors === undefined ? mayPass(flags, domain) : selectors.of(domain).length > 0,
    );
  }

  add({ domain, status, index }: DomainStatsRecord): void {
    const known = this.#domains.get(domain);
    if (status === "gone") this.#domains.delete(domain);
    else if (known?.domain !== domain && (known !== undefined || this.#domains.size < MAX_KNOWN)) {
      this.#domains.set(domain, { domain, index });
    }
  }

  delete(domain: Domain): void {
    this.#domains.delete(domain);
  }
}

function mayPass(flags: number, { id }: Domain): boolean {
  if ((flags & FILTER_MASK) === 0) return true;
  const [active, states] = id >= 0 ? [LIST_FILTERS.active, ACTIVE_STATES] : [LIST_FILTERS.inactive, INACTIVE_STATES];
  const ofActivity = flags & (LIST_FILTERS.active | LIST_FILTERS.inactive);
  const ofState = flags & (ACTIVE_STATES | INACTIVE_STATES);
  return (ofActivity === 0 || (ofActivity & active) !== 0) && (ofState === 0 || (ofState & states) !== 0);
}
