import { VirstreamError } from "../model/error.ts";
import type { DomainSelector } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import { SelectorTable } from "../sampling/selector-table.ts";
import { type AggregateSweepOptions, answersOf } from "./answers.ts";
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
  /** Its record on an unreachable host that had it when that host last answered. */
  last: DomainStatsRecord | undefined;
}

/**
 * A sweep of named domains, whichever host has them: all hosts are asked for all of them, and each selector has exactly one
 * record. A domain that runs gets its record at once. For any other, all hosts must answer first: a domain that has
 * migrated may still be defined on its old host. While a host cannot be reached, a domain cannot be called gone.
 */
export class NamedSweep {
  readonly #options: AggregateSweepOptions;
  readonly #selectors: SelectorTable<Open>;
  readonly #open: Set<Open>;
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
      ...{ best: undefined, bestWeight: -1, last: undefined },
    }));
    this.#open = new Set(this.#selectors.values());
    this.#asked = new Set(options.members);
  }

  async *records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    this.#options.context.expect(this.#selectors.size);
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
        if (weight >= RUNNING || this.#isComplete(open)) this.#settle(open, settled);
      }
    }
    return settled;
  }

  #end(member: Member, unreachable: VirstreamError | undefined): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    this.#asked.delete(member);
    if (unreachable === undefined) this.#answered++;
    else this.#remember(member, unreachable);
    if (this.#asked.size === 0 && this.#answered === 0 && !this.#remembered) throw this.#unreachable;
    for (const open of this.#open) if (this.#isComplete(open)) this.#settle(open, settled);
    return settled;
  }

  /** Whether every host that may still answer has answered for it. */
  #isComplete({ answered }: Open): boolean {
    for (const member of this.#asked) if (!answered.has(member)) return false;
    return true;
  }

  #settle(open: Open, settled: DomainStatsRecord[]): void {
    this.#open.delete(open);
    const record = this.#recordOf(open);
    if (this.#delivered.has(record)) return;
    this.#delivered.add(record);
    settled.push(record);
  }

  #recordOf({ selector, ordinal, best, bestWeight, last }: Open): DomainStatsRecord {
    if (best !== undefined && bestWeight > 0) return best;
    if (last !== undefined) return last;
    if (best !== undefined && best.reason !== "unknown" && this.#unreachable === undefined) return best;
    const reason = this.#unreachable ?? best;
    if (reason === undefined) {
      throw new VirstreamError("internal", `no host has answered for ${JSON.stringify(selector)}`);
    }
    return this.#options.ownership.missing(selector, ordinal, reason);
  }

  /** A host cannot be reached: the domains that it had get a record with its name. */
  #remember(member: Member, unreachable: VirstreamError): void {
    const { query, ownership } = this.#options;
    this.#unreachable ??= unreachable;
    this.#remembered ||= !member.known.empty;
    for (const { domain, index } of member.known.of(query)) {
      const place = ownership.index(index, member.number);
      const record = unreachableRecord(ownership.domain(domain), place, unreachable);
      for (const open of this.#selectors.of(domain)) open.last ??= record;
    }
  }
}

/** VIR_DOMAIN_RUNNING. */
const STATE_RUNNING = 1;
/** The weight of a domain that runs; no other host has a better record of it. */
const RUNNING = 6;

/**
 * Ranks the records that several hosts have of one domain during and after a migration: the host on which it runs first,
 * then active before inactive, whole before partial, failed, and gone last.
 */
function weightOf({ status, domain, params }: DomainStatsRecord): number {
  if (status === "gone") return 0;
  if (status === "failed") return 1;
  const active = domain.id >= 0;
  const state = params.number("state.state");
  const runs = active && (state === undefined || state === STATE_RUNNING);
  return 2 + (runs ? 4 : 0) + (active ? 2 : 0) + (status === "ok" ? 1 : 0);
}
