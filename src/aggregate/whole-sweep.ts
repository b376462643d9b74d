import type { SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { DomainMap } from "../sampling/domain-map.ts";
import type { Member } from "./member.ts";
import { Merge } from "./merge.ts";
import type { Ownership } from "./ownership.ts";
import { isFaultOfQuery, unreachableRecord } from "./unreachable.ts";

/** What a sweep of all hosts depends on. */
export interface AggregateSweepOptions {
  readonly members: readonly Member[];
  readonly query: Query;
  readonly context: SweepContext;
  readonly ownership: Ownership;
  /** Aborted with the error to fail with, when the driver is closed. */
  readonly closed: AbortSignal;
}

/**
 * A sweep of all domains of all hosts, or of those that pass its filters: all hosts are swept at once, and records come in
 * the order in which they are ready. The domains that an unreachable host had when it last answered get a failed record
 * each, so that no reader takes them for gone.
 */
export class WholeSweep {
  readonly #options: AggregateSweepOptions;
  /** How many domains each host has, as far as known. */
  readonly #sizes = new Map<Member, number>();
  #announced = false;
  #yielded = false;
  #unreachable = 0;

  constructor(options: AggregateSweepOptions) {
    this.#options = options;
  }

  records(): Merge<readonly DomainStatsRecord[]> {
    const { members, context, closed } = this.#options;
    const sources = (ended: AbortSignal) => members.map((member) => this.#recordsOf(member, ended));
    return new Merge({ sources, signal: context.signal, closed });
  }

  async *#recordsOf(member: Member, signal: AbortSignal): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { members, query, ownership } = this.#options;
    const delivered: Domain[] = [];
    let count = 0;
    let nextIndex = 0;
    try {
      const expect = (domains: number): void => this.#expect(member, domains);
      for await (const records of member.sweep(query, { signal, expect })) {
        count += records.length;
        if (!member.known.empty) {
          for (const { domain, index } of records) {
            delivered.push(domain);
            nextIndex = Math.max(nextIndex, index + 1);
          }
        }
        this.#yielded ||= records.length > 0;
        yield records.map((record) => ownership.record(record, member.number));
      }
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (signal.aborted) return;
      if (isFaultOfQuery(error)) throw error;
      const failed = this.#failed(member, delivered, nextIndex, error);
      count += failed.length;
      this.#yielded ||= failed.length > 0;
      if (failed.length > 0) yield failed;
      if (++this.#unreachable === members.length && !this.#yielded) throw error;
    }
    if (!this.#sizes.has(member)) this.#expect(member, count);
  }

  /** @param nextIndex the first index that no record of this sweep has; 0 when the host has no record in it */
  #failed(member: Member, delivered: readonly Domain[], nextIndex: number, error: VirstreamError): DomainStatsRecord[] {
    const { query, ownership } = this.#options;
    const records: DomainStatsRecord[] = [];
    const answered = new DomainMap<true>();
    for (const domain of delivered) answered.set(domain, true);
    for (const { domain, index } of member.known.of(query)) {
      if (answered.get(domain)) continue;
      // An index of the last sweep may be another domain's in this one, where a domain has come or gone.
      const free = ownership.index(nextIndex === 0 ? index : nextIndex + records.length, member.number);
      records.push(unreachableRecord(ownership.domain(domain), free, error));
    }
    return records;
  }

  /** The number of all domains is known once that of every host is. */
  #expect(member: Member, domains: number): void {
    this.#sizes.set(member, domains);
    if (this.#announced || this.#sizes.size < this.#options.members.length) return;
    this.#announced = true;
    let all = 0;
    for (const size of this.#sizes.values()) all += size;
    this.#options.context.expect(all);
  }
}
