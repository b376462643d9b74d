import { FILTER_MASK, LIST_FILTERS, type Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import { SelectorTable } from "../sampling/selector-table.ts";

/** So many domains of a host are remembered; beyond that, some have no record while it is absent. */
const MAX_KNOWN = 100_000;

const ACTIVE_STATES = LIST_FILTERS.running | LIST_FILTERS.paused | LIST_FILTERS.other;
const INACTIVE_STATES = LIST_FILTERS.shutoff | LIST_FILTERS.other;

/** A domain, and its place in its host's listing. */
export interface KnownDomain {
  readonly domain: Domain;
  readonly index: number;
}

/** A count of a host's domains, which holds once it is finished. */
export interface Census {
  add(records: readonly DomainStatsRecord[]): void;
  finish(): void;
}

/** Which domains a host had when it was last heard of: they are answered for while it is absent. */
export class KnownDomains {
  #domains = new DomainMap<KnownDomain>();
  /** The last count, in two columns, until somebody asks: most counts are replaced before that. */
  #count: { readonly domains: readonly Domain[]; readonly indexes: readonly number[] } | undefined;

  /** Whether nothing is known. */
  get empty(): boolean {
    return this.#count === undefined ? this.#domains.size === 0 : this.#count.domains.length === 0;
  }

  /** Those that a query is about, as far as can be told from whether they ran. */
  *of({ flags, domains }: Query): Generator<KnownDomain> {
    if (domains === undefined) {
      for (const known of this.#all()) if (mayPass(flags, known.domain)) yield known;
      return;
    }
    const selectors = new SelectorTable(domains, () => true);
    for (const known of this.#all()) if (selectors.of(known.domain).length > 0) yield known;
  }

  /** Begins a count of all domains anew. */
  census(): Census {
    const domains: Domain[] = [];
    const indexes: number[] = [];
    return {
      add: (records) => {
        for (const { domain, status, index } of records) {
          if (status === "gone" || domains.length === MAX_KNOWN) continue;
          domains.push(domain);
          indexes.push(index);
        }
      },
      finish: () => {
        this.#count = { domains, indexes };
      },
    };
  }

  /** One domain was heard of between two counts. */
  add({ domain, status, index }: DomainStatsRecord): void {
    const all = this.#all();
    if (status === "gone") all.delete(domain);
    else if (all.get(domain)?.domain !== domain) remember(all, domain, index);
  }

  delete(domain: Domain): void {
    this.#all().delete(domain);
  }

  #all(): DomainMap<KnownDomain> {
    if (this.#count !== undefined) {
      const { domains, indexes } = this.#count;
      this.#count = undefined;
      this.#domains = new DomainMap();
      for (const [i, domain] of domains.entries()) remember(this.#domains, domain, indexes[i]!);
    }
    return this.#domains;
  }
}

function remember(all: DomainMap<KnownDomain>, domain: Domain, index: number): void {
  if (all.size < MAX_KNOWN || all.get(domain) !== undefined) all.set(domain, { domain, index });
}

function mayPass(flags: number, { id }: Domain): boolean {
  if ((flags & FILTER_MASK) === 0) return true;
  const [active, states] = id >= 0 ? [LIST_FILTERS.active, ACTIVE_STATES] : [LIST_FILTERS.inactive, INACTIVE_STATES];
  const ofActivity = flags & (LIST_FILTERS.active | LIST_FILTERS.inactive);
  const ofState = flags & (ACTIVE_STATES | INACTIVE_STATES);
  return (ofActivity === 0 || (ofActivity & active) !== 0) && (ofState === 0 || (ofState & states) !== 0);
}
