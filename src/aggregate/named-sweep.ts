import { VirstreamError } from "../model/error.ts";
import { type DomainSelector, FILTER_MASK } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { STATE_NUMBERS } from "../model/state.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import { type AggregateSweepOptions, answersOf } from "./answers.ts";
import { mayPass } from "./known-domains.ts";
import type { Member } from "./member.ts";
import { unreachableRecord } from "./ownership.ts";

/** A selector of the query that has no record yet. */
interface Open {
  readonly selector: DomainSelector;
  readonly ordinal: number;
  /** The hosts that have answered; the best of their records and its weight. */
  readonly answered: Set<Member>;
  best: DomainStatsRecord | undefined;
  bestWeight: number;
  /** The failed record of the domain, if an unreachable host had the domain when that host last answered. */
  last: DomainStatsRecord | undefined;
  /** Whether some host has the domain, but it does not pass the query's filters. */
  filtered: boolean;
}

/**
 * A sweep of named domains, whichever host has them: all hosts are asked for all of them, and each selector has exactly one
 * record, or none if its domain does not pass the filters on any host. A domain that runs gets its record at once. For any
 * other, all hosts must answer first: a domain that has migrated may still be defined on its old host. While a host cannot be
 * reached, a domain cannot be called gone.
 */
export class NamedSweep {
  readonly #options: AggregateSweepOptions;
  readonly #selectors: SelectorTable<Open>;
  readonly #open: Set<Open>;
  readonly #hasFilter: boolean;
  /** The hosts that have not answered in full. */
  readonly #asked: Set<Member>;
  /** Records that were given out: two selectors may mean one domain. */
  readonly #delivered = new WeakSet<DomainStatsRecord>();
  #unreachable: VirstreamError | undefined;
  /** How many hosts have answered in full. */
  #answered = 0;
  /** Whether anything is known of an unreachable host's domains. */
  #remembered = false;

  constructor(options: AggregateSweepOptions) {
    this.#options = options;
    this.#selectors = new SelectorTable(options.query.domains ?? [], (selector, ordinal) => ({
      ...{ selector, ordinal, answered: new Set() },
      ...{ best: undefined, bestWeight: -1, last: undefined, filtered: false },
    }));
    this.#open = new Set(this.#selectors.values());
    this.#asked = new Set(options.members);
    this.#hasFilter = (options.query.flags & FILTER_MASK) !== 0;
  }

  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    if (!this.#hasFilter) this.#options.context.expect(this.#open.size);
    for await (const { member, records, ended, unreachable } of answersOf(this.#options, () => {})) {
      const settled = ended ? this.#end(member, unreachable) : this.#take(member, records);
      if (settled.length > 0) yield settled;
      if (this.#open.size === 0) return;
    }
  }

  #take(member: Member, records: readonly DomainStatsRecord[]): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    for (const record of records) {
      let owned: DomainStatsRecord | undefined;
      const weight = weightOf(record);
      for (const open of this.#selectors.of(record.domain)) {
        if (!this.#open.has(open)) continue;
        open.answered.add(member);
        if (weight > open.bestWeight) {
          owned ??= this.#options.ownership.record(record, member.number);
          open.best = owned;
          open.bestWeight = weight;
        }
        if (weight >= LEAST_RUNNING || this.#isComplete(open)) this.#settle(open, settled);
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

  /** Whether every host that may still answer has answered for this selector. */
  #isComplete({ answered }: Open): boolean {
    for (const member of this.#asked) if (!answered.has(member)) return false;
    return true;
  }

  #settle(open: Open, settled: DomainStatsRecord[]): void {
    this.#open.delete(open);
    const record = this.#recordOf(open);
    if (record === undefined || this.#delivered.has(record)) return;
    this.#delivered.add(record);
    settled.push(record);
  }

  #recordOf({ selector, ordinal, best, bestWeight, last, filtered }: Open): DomainStatsRecord | undefined {
    if (best !== undefined && bestWeight > 0) return best;
    if (last !== undefined || filtered) return last;
    if (best !== undefined && best.reason !== "unknown" && this.#unreachable === undefined) return best;
    const reason = this.#unreachable ?? best;
    if (reason === undefined) {
      throw new VirstreamError("internal", `no host has answered for ${JSON.stringify(selector)}`);
    }
    return this.#options.ownership.missing(selector, ordinal, reason);
  }

  /**
   * A host sends a `gone` record for a domain that it does not have, and nothing for one that does not pass the
   * filters.
   */
  #answeredInFull(member: Member): void {
    this.#answered++;
    if (!this.#hasFilter) return;
    for (const open of this.#open) open.filtered ||= !open.answered.has(member);
  }

  /** A host cannot be reached: the domains that it had get a record with its name. */
  #remember(member: Member, unreachable: VirstreamError): void {
    const { query, ownership } = this.#options;
    this.#unreachable ??= unreachable;
    this.#remembered ||= member.known.size > 0;
    for (const { domain, index } of member.known) {
      const selectors = this.#selectors.of(domain);
      if (selectors.length === 0) continue;
      const place = ownership.index(index, member.number);
      const record = mayPass(domain, query)
        ? unreachableRecord(ownership.domain(domain), place, unreachable)
        : undefined;
      for (const open of selectors) {
        open.last ??= record;
        open.filtered ||= record === undefined;
      }
    }
  }
}

/** A record of at least this weight is of a domain that runs: the sweep does not wait for the other hosts. */
const LEAST_RUNNING = 6;

/**
 * Ranks the records that several hosts have of one domain during and after a migration: first that of the host on which
 * it runs, then active before inactive, then complete, partial, failed and gone.
 */
function weightOf({ status, domain, params }: DomainStatsRecord): number {
  if (status === "gone") return 0;
  if (status === "failed") return 1;
  const active = domain.id >= 0;
  const state = params.number("state.state");
  const runs = active && (state === undefined || state === STATE_NUMBERS.running);
  return 2 + (runs ? 4 : 0) + (active ? 2 : 0) + (status === "ok" ? 1 : 0);
}
