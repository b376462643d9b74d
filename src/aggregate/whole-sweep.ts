import type { SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import type { Member } from "./member.ts";
import { Merge } from "./merge.ts";
import type { Ownership } from "./ownership.ts";
import { isFaultOfQuery, unreachableRecord } from "./unreachable.ts";

/**
 * A sweep of all domains of all hosts, or of those that pass its filters: the hosts are swept at once, and records come
 * as they come. The domains that an absent host is known to have each get a failed record, so that nobody takes their
 * absence for their end.
 */
export class WholeSweep {
  readonly #members: readonly Member[];
  readonly #query: Query;
  readonly #context: SweepContext;
  readonly #ownership: Ownership;
  /** How many domains each host has, of those that have told. */
  readonly #sizes = new Map<Member, number>();
  #announced = false;
  #yielded = false;
  #absent = 0;

  constructor(members: readonly Member[], query: Query, context: SweepContext, ownership: Ownership) {
    this.#members = members;
    this.#query = query;
    this.#context = context;
    this.#ownership = ownership;
  }

  records(): Merge<readonly DomainStatsRecord[]> {
    return new Merge(this.#members.map((member) => this.#recordsOf(member)));
  }

  async *#recordsOf(member: Member): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { signal } = this.#context;
    const delivered: Domain[] = [];
    let count = 0;
    let place = 0;
    try {
      const expect = (domains: number): void => this.#expect(member, domains);
      for await (const records of member.sweep(this.#query, { signal, expect })) {
        count += records.length;
        if (!member.known.empty) {
          for (const { domain, index } of records) {
            delivered.push(domain);
            place = Math.max(place, index + 1);
          }
        }
        this.#yielded ||= records.length > 0;
        yield records.map((record) => this.#ownership.record(record, member.number));
      }
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (signal.aborted) return;
      if (isFaultOfQuery(error)) throw error;
      const failed = this.#failed(member, delivered, place, error);
      count += failed.length;
      this.#yielded ||= failed.length > 0;
      if (failed.length > 0) yield failed;
      if (++this.#absent === this.#members.length && !this.#yielded) throw error;
    }
    if (!this.#sizes.has(member)) this.#expect(member, count);
  }

  /** @param next the first place that no record of this sweep has yet; 0 when there is no record of this host at all */
  #failed(member: Member, delivered: readonly Domain[], next: number, error: VirstreamError): DomainStatsRecord[] {
    const records: DomainStatsRecord[] = [];
    const answered = new DomainMap<true>();
    for (const domain of delivered) answered.set(domain, true);
    for (const { domain, index } of member.known.of(this.#query)) {
      if (answered.get(domain)) continue;
      // Places of the last sweep may be taken in this one, where a domain has come or gone.
      const place = this.#ownership.index(next === 0 ? index : next + records.length, member.number);
      records.push(unreachableRecord(this.#ownership.domain(domain), place, error));
    }
    return records;
  }

  /** How many there are in all is known when every host has told. */
  #expect(member: Member, domains: number): void {
    this.#sizes.set(member, domains);
    if (this.#announced || this.#sizes.size < this.#members.length) return;
    this.#announced = true;
    let all = 0;
    for (const size of this.#sizes.values()) all += size;
    this.#context.expect(all);
  }
}
