import type { ErrorCode, VirstreamError } from "../model/error.ts";
import { TypedParams } from "../model/params.ts";
import { FILTER_MASK, LIST_FILTERS, type Query } from "../model/query.ts";
import { type Domain, DomainStatsRecord } from "../model/record.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import { SelectorTable } from "../sampling/selector-table.ts";

/** Errors of the query: a host that raises them can be reached. */
const FAULTS_OF_THE_QUERY: ReadonlySet<ErrorCode> = new Set([
  "invalid-argument",
  "unknown-group",
  "unknown-flag",
  "empty-domain-list",
  "foreign-domain",
  "unknown-domain",
  "unsupported",
]);

/** Whether a sweep failed because of its query, rather than because of its host. */
export function isFaultOfQuery(error: VirstreamError): boolean {
  return FAULTS_OF_THE_QUERY.has(error.code);
}

/** The record of a domain whose host cannot be reached. */
export function unreachableRecord(domain: Domain, index: number, error: VirstreamError): DomainStatsRecord {
  return new DomainStatsRecord({
    ...{ domain, index, error, params: TypedParams.EMPTY, status: "failed", reason: "error" },
    ...{ sampledAt: Date.now(), tookMs: 0 },
  });
}

/** How many domains of a host are remembered; further ones have no record while it cannot be reached. */
const MAX_KNOWN = 100_000;

const ACTIVE_STATES = LIST_FILTERS.running | LIST_FILTERS.paused | LIST_FILTERS.other;
const INACTIVE_STATES = LIST_FILTERS.shutoff | LIST_FILTERS.other;

/** A domain, and its index on its host. */
export interface KnownDomain {
  readonly domain: Domain;
  readonly index: number;
}

/** The domains of one sweep, known once it has ended. */
export interface Snapshot {
  add(records: readonly DomainStatsRecord[]): void;
  finish(): void;
}

/** The domains that a host had when it last answered: they have a failed record each while it cannot be reached. */
export class KnownDomains {
  #domains = new DomainMap<KnownDomain>();
  /** The last snapshot, in two columns until it is read: most snapshots are replaced before that. */
  #snapshot: { readonly domains: readonly Domain[]; readonly indexes: readonly number[] } | undefined;

  get empty(): boolean {
    return (this.#snapshot?.domains.length ?? this.#domains.size) === 0;
  }

  /** Those that a query selects; its filters of states only as far as the id tells. */
  of({ flags, domains }: Query): KnownDomain[] {
    if (domains === undefined) return [...this.#all()].filter(({ domain }) => mayPass(flags, domain));
    const selectors = new SelectorTable(domains, () => true);
    return [...this.#all()].filter(({ domain }) => selectors.of(domain).length > 0);
  }

  /** Begins a snapshot. */
  snapshot(): Snapshot {
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
        this.#snapshot = { domains, indexes };
      },
    };
  }

  /** A record between two snapshots. */
  add({ domain, status, index }: DomainStatsRecord): void {
    const all = this.#all();
    if (status === "gone") all.delete(domain);
    else if (all.get(domain)?.domain !== domain) remember(all, domain, index);
  }

  delete(domain: Domain): void {
    this.#all().delete(domain);
  }

  #all(): DomainMap<KnownDomain> {
    if (this.#snapshot !== undefined) {
      const { domains, indexes } = this.#snapshot;
      this.#snapshot = undefined;
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
