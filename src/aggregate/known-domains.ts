import { matcherOf, passesFilter } from "../driver/matcher.ts";
import { DomainMap } from "../model/domain-map.ts";
import { LIST_FILTERS, type Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";

/** Maximum number of remembered domains of a host. Further domains have no record while the host cannot be reached. */
const MAX_KNOWN = 100_000;

const { active, inactive, persistent, transient, running, paused, shutoff, other } = LIST_FILTERS;
/**
 * The filters that an active domain, whose id is not −1, may pass. INACTIVE_TRAITS has the filters that an inactive
 * domain may pass.
 */
const ACTIVE_TRAITS = active | persistent | transient | running | paused | other;
const INACTIVE_TRAITS = inactive | persistent | transient | shutoff | other;

/** A domain, and its index on its host. */
export interface KnownDomain {
  readonly domain: Domain;
  readonly index: number;
}

/**
 * The domains that a host had when it last answered: each of them has a failed record while the host cannot be reached.
 */
export class KnownDomains extends DomainMap<KnownDomain> {
  add({ domain, status, index }: DomainStatsRecord): void {
    const known = this.get(domain);
    if (status === "gone") this.delete(domain);
    else if (known?.domain !== domain && (known !== undefined || this.size < MAX_KNOWN)) {
      this.set(domain, { domain, index });
    }
  }
}

/**
 * Returns a function that says whether a query selects a domain. Of the domain's state, the function knows only what
 * the domain's id shows: whether the domain is active.
 */
export function selectorOf({ flags, names, hosts }: Query): (domain: Domain) => boolean {
  const [isNamed, isOfHost] = [matcherOf(names), matcherOf(hosts)];
  return ({ id, name, host }) =>
    passesFilter(id >= 0 ? ACTIVE_TRAITS : INACTIVE_TRAITS, flags) && isNamed(name) && isOfHost(host);
}
