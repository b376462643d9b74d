import { unreachableRecord } from "../driver/missing-record.ts";
import { VirstreamError } from "../model/error.ts";
import { STATE_NUMBERS } from "../model/field/state-numbers.ts";
import { type DomainSelector, FILTER_MASK } from "../model/query.ts";
import { byIndex, type DomainStatsRecord } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import { type AggregateSweepOptions, answersOf } from "./answers.ts";
import { selectorOf } from "./known-domains.ts";
import type { Member } from "./member.ts";

interface Best {
  readonly record: DomainStatsRecord;
  /** The rank of this record among the records that several hosts have of one domain; see weightOf. */
  readonly weight: number;
}

/** A selector of the query for which more records may come. */
interface Open {
  readonly selector: DomainSelector;
  readonly ordinal: number;
  /** The hosts that have sent a record for this selector. */
  readonly answered: Set<Member>;
  /**
   * The best record of each domain that the selector means, by uuid. Several hosts can have domains of the same name.
   */
  readonly found: Map<string, Best>;
  /** The best of the records in which hosts report that they do not have the domain. */
  without: Best | undefined;
  /** By uuid: the failed record of each domain that an unreachable host had when it last answered. */
  readonly last: Map<string, DomainStatsRecord>;
  /** True when a host has the domain, but the domain does not pass the query's filters. */
  filtered: boolean;
}

/**
 * A sweep of named domains. It asks all hosts for all named domains, because any host may have them, and yields exactly
 * one record for each domain. A selector has no record if its domain passes the filters on no host. A domain that runs
 * gets its record at once. For any other domain, all hosts must answer first: a domain that has migrated may still be
 * defined on its old host. After the record of a running domain, a selector by name still waits for all hosts, because
 * each host may have a domain of that name. While a host cannot be reached, the sweep reports no domain as gone,
 * because that host may have it.
 */
export class NamedSweep {
  readonly #options: AggregateSweepOptions;
  readonly #selectors: SelectorTable<Open>;
  readonly #open: Set<Open>;
  readonly #hasFilter: boolean;
  /** The hosts whose answer has not ended yet. The error of a host that cannot be reached also ends its answer. */
  readonly #asked: Set<Member>;
  /** The uuids of the domains whose record was yielded. */
  readonly #delivered = new Set<string>();
  #unreachable: VirstreamError | undefined;
  /** How many hosts have answered in full. */
  #answered = 0;
  /** True if an unreachable host had domains when it last answered. */
  #remembered = false;

  constructor(options: AggregateSweepOptions) {
    this.#options = options;
    this.#selectors = new SelectorTable(options.query.domains ?? [], (selector, ordinal) => ({
      ...{ selector, ordinal, answered: new Set(), found: new Map() },
      ...{ without: undefined, last: new Map(), filtered: false },
    }));
    this.#open = new Set(this.#selectors.values());
    this.#asked = new Set(options.members);
    this.#hasFilter = (options.query.flags & FILTER_MASK) !== 0;
  }

  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { context, query, members } = this.#options;
    // A uuid that no host has is looked up as a name. As a name it may mean several domains, or a domain that another
    // selector means. So the number of domains is known now only if each selector is the uuid of a domain that a host
    // had when it last answered.
    const isKnown = (selector: DomainSelector): boolean =>
      "uuid" in selector && members.some(({ known }) => known.hasUuid(selector.uuid));
    if (!this.#hasFilter && query.domains?.every(isKnown)) context.expect(this.#open.size);
    for await (const { member, records, ended, unreachable } of answersOf(this.#options, () => {})) {
      if (unreachable !== undefined) context.absent?.({ host: member.name, error: unreachable });
      const settled = ended ? this.#end(member, unreachable) : this.#take(member, records);
      if (settled.length > 0) yield settled;
      if (this.#open.size === 0) return;
    }
  }

  #take(member: Member, records: readonly DomainStatsRecord[]): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    for (const record of records) {
      const { uuid } = record.domain;
      const best: Best = { record: this.#options.ownership.record(record, member.number), weight: weightOf(record) };
      for (const open of this.#selectors.of(record.domain)) {
        if (!this.#open.has(open)) continue;
        open.answered.add(member);
        if (best.weight === 0 || uuid === NIL_UUID) open.without = better(open.without, best);
        else open.found.set(uuid, better(open.found.get(uuid), best));
        const exact = "uuid" in open.selector && open.selector.uuid === uuid;
        if (best.weight >= LEAST_RUNNING && (exact || !("uuid" in open.selector))) {
          this.#deliver(best.record, settled);
          if (exact) this.#open.delete(open);
        }
        if (this.#isComplete(open)) this.#settle(open, settled);
      }
    }
    return settled;
  }

  #end(member: Member, unreachable: VirstreamError | undefined): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    this.#asked.delete(member);
    if (unreachable === undefined) this.#answeredInFull(member);
    else this.#remember(member, unreachable);
    if (this.#asked.size === 0 && this.#answered === 0 && !this.#remembered) throw this.#unreachable;
    for (const open of this.#open) if (this.#isComplete(open)) this.#settle(open, settled);
    return settled;
  }

  /** True if every host whose answer has not ended yet has already sent its record for this selector. */
  #isComplete({ selector, answered }: Open): boolean {
    for (const member of this.#asked) {
      if (!answered.has(member)) return false;
      // A source that stands for several hosts may have several domains of the same name, so more of its records may
      // follow.
      if (!("uuid" in selector) && member.name.includes(",")) return false;
    }
    return true;
  }

  #settle(open: Open, settled: DomainStatsRecord[]): void {
    this.#open.delete(open);
    const records = this.#recordsOf(open).sort(byIndex);
    for (const record of records) this.#deliver(record, settled);
  }

  /** Adds a record to `settled`, unless its domain already has a record: two selectors may name the same domain. */
  #deliver(record: DomainStatsRecord, settled: DomainStatsRecord[]): void {
    const { uuid } = record.domain;
    if (this.#delivered.has(uuid)) return;
    if (uuid !== NIL_UUID) this.#delivered.add(uuid);
    settled.push(record);
  }

  #recordsOf({ selector, ordinal, found, without, last, filtered }: Open): DomainStatsRecord[] {
    const known = new Map(last);
    for (const [uuid, { record }] of found) known.set(uuid, record);
    // A domain with the selector's uuid has precedence over domains that have the selector's text as their name.
    const exact = "uuid" in selector ? known.get(selector.uuid) : undefined;
    if (exact !== undefined) return [exact];
    if (known.size > 0) return [...known.values()];
    if (without !== undefined && without.weight > 0) return [without.record];
    if (filtered) return [];
    if (without !== undefined && without.record.reason !== "unknown" && this.#unreachable === undefined) {
      return [without.record];
    }
    const reason = this.#unreachable ?? without?.record;
    if (reason === undefined) {
      throw new VirstreamError("internal", `no host has answered for ${JSON.stringify(selector)}`);
    }
    return [this.#options.ownership.missing(selector, ordinal, reason)];
  }

  /**
   * Notes that a host has answered in full. A host sends a `gone` record for a domain that it does not have. So if it
   * sent no record for a selector, the selector's domain does not pass the filters.
   */
  #answeredInFull(member: Member): void {
    this.#answered++;
    if (!this.#hasFilter) return;
    for (const open of this.#open) open.filtered ||= !open.answered.has(member);
  }

  /**
   * Notes that a host cannot be reached: each domain that it had when it last answered gets a failed record that names
   * this host.
   */
  #remember(member: Member, unreachable: VirstreamError): void {
    const { query, ownership } = this.#options;
    this.#unreachable ??= unreachable;
    this.#remembered ||= member.known.size > 0;
    const selects = selectorOf(query);
    for (const { domain, index } of member.known) {
      const passes = selects(domain);
      for (const open of this.#selectors.of(domain)) {
        open.filtered ||= !passes;
        if (!passes || open.last.has(domain.uuid)) continue;
        const place = ownership.index(index, member.number);
        open.last.set(domain.uuid, unreachableRecord(ownership.domain(domain, member.number), place, unreachable));
      }
    }
  }
}

function better(one: Best | undefined, other: Best): Best {
  return one === undefined || other.weight > one.weight ? other : one;
}

/** A record of at least this weight is of a running domain, so the sweep does not wait for the other hosts. */
const LEAST_RUNNING = 6;

/**
 * Ranks the records that several hosts have of one domain during and after a migration; the greatest weight is best.
 * `gone` has the least weight, and then `failed`. Among the other records, the record of the host on which the domain
 * runs is best. Next, an active domain is better than an inactive one, and then a complete record is better than a
 * partial one.
 */
function weightOf({ status, domain, params }: DomainStatsRecord): number {
  if (status === "gone") return 0;
  if (status === "failed") return 1;
  const active = domain.id >= 0;
  const state = params.number("state.state");
  const runs = active && (state === undefined || state === STATE_NUMBERS.running);
  return 2 + (runs ? 4 : 0) + (active ? 2 : 0) + (status === "ok" ? 1 : 0);
}
