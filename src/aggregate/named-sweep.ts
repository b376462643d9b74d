import type { SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { DomainSelector, Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Adoption } from "./adoption.ts";
import type { Member } from "./member.ts";
import { Merge } from "./merge.ts";
import { namedBy, runs, Selection, weight } from "./selection.ts";
import { isFaultOfQuery, unreachableRecord } from "./unreachable.ts";

/** A name that is not settled yet. */
interface Open {
  readonly selector: DomainSelector;
  /** Its place among the names. */
  readonly ordinal: number;
  /** Who has answered, and what counts most of that. */
  readonly answered: Set<Member>;
  best: DomainStatsRecord | undefined;
  bestWeight: number;
  /** Its record where a host that is absent had it when it was last heard of. */
  last: DomainStatsRecord | undefined;
}

/** What a host has to say: records, or that there is nothing more to come. */
interface Answer {
  readonly member: Member;
  readonly records: readonly DomainStatsRecord[];
  /** Undefined while more may come. */
  readonly end: { readonly absence: VirstreamError | undefined } | undefined;
}

/**
 * A sweep of named domains, whichever host has them: all hosts are asked for all of them, and each name has exactly one
 * record. A domain that runs is handed on at once; for anything else the other hosts are heard first, since a domain that
 * has moved away may still be defined where it was. Nobody can know that a domain is gone while a host is absent.
 */
export class NamedSweep {
  readonly #members: readonly Member[];
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #adoption: Adoption;
  readonly #selection: Selection<Open>;
  readonly #open: Set<Open>;
  readonly #asked: Set<Member>;
  /** Records that were handed on: one may be what several names mean. */
  readonly #handed = new WeakSet<DomainStatsRecord>();
  #absence: VirstreamError | undefined;
  /** How many hosts were there to the end. */
  #hosts = 0;
  /** Whether anything is known of an absent host. */
  #remembered = false;

  constructor(members: readonly Member[], query: Query, context: SweepContext, adoption: Adoption) {
    this.#members = members;
    this.#query = query;
    this.#context = context;
    this.#adoption = adoption;
    this.#selection = new Selection(query, (selector, ordinal) => ({
      selector,
      ordinal,
      answered: new Set(),
      best: undefined,
      bestWeight: -1,
      last: undefined,
    }));
    this.#open = new Set(this.#selection);
    this.#asked = new Set(members);
  }

  records(): Merge<readonly DomainStatsRecord[]> {
    // One source, which merges by itself: it can be failed from outside like every other sweep.
    return new Merge([this.#records()]);
  }

  async *#records(): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    this.#context.expect(this.#selection.size);
    for await (const answer of new Merge(this.#members.map((member) => this.#ask(member)))) {
      const records = answer.end === undefined ? this.#heard(answer) : this.#ended(answer.member, answer.end.absence);
      if (records.length > 0) yield records;
      if (this.#open.size === 0) return;
    }
  }

  async *#ask(member: Member): AsyncGenerator<Answer, void, void> {
    const { signal } = this.#context;
    try {
      for await (const records of member.sweep(this.#query, { signal, expect: () => {} })) {
        yield { member, records, end: undefined };
      }
      if (!signal.aborted) yield { member, records: [], end: { absence: undefined } };
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (signal.aborted) return;
      if (isFaultOfQuery(error)) throw error;
      yield { member, records: [], end: { absence: error } };
    }
  }

  #heard({ member, records }: Answer): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    for (const record of records) {
      let adopted: DomainStatsRecord | undefined;
      for (const open of this.#selection.of(record.domain)) {
        if (!this.#open.has(open)) continue;
        open.answered.add(member);
        const itsWeight = weight(record);
        if (itsWeight > open.bestWeight) {
          adopted ??= this.#adoption.record(record, member.number);
          open.best = adopted;
          open.bestWeight = itsWeight;
        }
        if (runs(record) || this.#all(open)) this.#settle(open, settled);
      }
    }
    return settled;
  }

  #ended(member: Member, absence: VirstreamError | undefined): DomainStatsRecord[] {
    const settled: DomainStatsRecord[] = [];
    this.#asked.delete(member);
    if (absence === undefined) this.#hosts++;
    else this.#remember(member, absence);
    if (this.#asked.size === 0 && this.#hosts === 0 && !this.#remembered) throw this.#absence;
    for (const open of this.#open) if (this.#all(open)) this.#settle(open, settled);
    return settled;
  }

  /** Whether nobody is left who could say more. */
  #all({ answered }: Open): boolean {
    for (const member of this.#asked) if (!answered.has(member)) return false;
    return true;
  }

  #settle(open: Open, settled: DomainStatsRecord[]): void {
    this.#open.delete(open);
    const record = this.#answer(open);
    if (this.#handed.has(record)) return;
    this.#handed.add(record);
    settled.push(record);
  }

  #answer({ selector, ordinal, best, bestWeight, last }: Open): DomainStatsRecord {
    if (best !== undefined && bestWeight > 0) return best;
    if (this.#absence !== undefined && last !== undefined) return last;
    const nobodys = this.#adoption.nobodys(namedBy(selector));
    if (this.#absence !== undefined) {
      return unreachableRecord(nobodys, this.#adoption.nobodysPlace(ordinal), this.#absence);
    }
    if (best === undefined)
      throw new VirstreamError("internal", `no host has answered for ${JSON.stringify(selector)}`);
    return best.reason === "unknown" ? this.#adoption.nobodysRecord(best, nobodys, ordinal) : best;
  }

  /** A host is absent: what it had goes with its name. */
  #remember(member: Member, absence: VirstreamError): void {
    this.#absence ??= absence;
    this.#remembered ||= !member.known.empty;
    for (const { domain, index } of member.known.of(this.#query)) {
      const place = this.#adoption.place(index, member.number);
      const record = unreachableRecord(this.#adoption.domain(domain), place, absence);
      for (const open of this.#selection.of(domain)) open.last ??= record;
    }
  }
}
