import { entryOf } from "../driver/memo.ts";
import { unknownDomain, unreachableRecord } from "../driver/missing-record.ts";
import { VirstreamError } from "../model/error.ts";
import type { DomainSelector } from "../model/query.ts";
import { Domain, DomainStatsRecord, INDEXES_PER_HOST } from "../model/record.ts";

/**
 * Reassigns a host's domains and records to the aggregate driver: queries of the aggregate accept these domains, and no
 * two records of one sweep have the same index.
 *
 * Each host has a block of indexes, in the order in which the hosts were named. Domains that no host has share one more
 * block. A source that stands for several hosts sends indexes of several blocks. Each of these blocks gets a new block
 * here when it first occurs, so an aggregate can be a host of another aggregate.
 */
export class Ownership {
  readonly #owner: object;
  readonly #blocks = new Map<number, number>();
  readonly #labels: Map<number, string | undefined>;
  readonly #hosts: number;
  #nextBlock: number;

  /**
   * @param owner the driver that the domains will belong to
   * @param labels the label of each host, which its domains have as `host`; undefined: the domains keep the host's own
   *   name
   */
  constructor(owner: object, labels: readonly (string | undefined)[]) {
    this.#owner = owner;
    this.#labels = new Map(labels.entries());
    this.#hosts = labels.length;
    this.#nextBlock = labels.length + 1;
  }

  /** Adds a host. Returns its number, which no other host ever has. */
  add(label: string | undefined): number {
    const number = this.#nextBlock++;
    this.#labels.set(number, label);
    return number;
  }

  /** Forgets a host that was removed. Call it when no further record of the host will come. */
  remove(host: number): void {
    this.#labels.delete(host);
    for (const key of [...this.#blocks.keys()])
      if (Math.floor(key / INDEXES_PER_HOST) === host) this.#blocks.delete(key);
  }

  /**
   * Returns the same domain as a domain of the aggregate.
   *
   * @param from the number of the domain's host, from 0
   */
  domain({ uuid, name, id, host }: Domain, from: number): Domain {
    return new Domain(uuid, name, id, this.#labels.get(from) ?? host, this.#owner);
  }

  /**
   * Returns the same record as a record of the aggregate.
   *
   * @param host the number of the record's host, from 0
   * @param domain the record's domain as a domain of the aggregate, if the caller has it already
   */
  record(record: DomainStatsRecord, host: number, domain = this.domain(record.domain, host)): DomainStatsRecord {
    return new DomainStatsRecord({ ...record, domain, index: this.index(record.index, host) });
  }

  /** Converts an index on one host to the index among all hosts. */
  index(index: number, host: number): number {
    if (index < INDEXES_PER_HOST) return host * INDEXES_PER_HOST + index;
    const key = host * INDEXES_PER_HOST + Math.floor(index / INDEXES_PER_HOST);
    const block = entryOf(this.#blocks, key, () => this.#nextBlock++);
    return block * INDEXES_PER_HOST + (index % INDEXES_PER_HOST);
  }

  /**
   * The record for a selector whose domain no reachable host has.
   *
   * @param ordinal the selector's place in the query
   * @param reason a host's record for the selector, or the error of a host that may have the domain and cannot be
   *   reached
   */
  missing(selector: DomainSelector, ordinal: number, reason: DomainStatsRecord | VirstreamError): DomainStatsRecord {
    const domain = unknownDomain(selector, "", this.#owner);
    const index = this.index(ordinal, this.#hosts);
    return reason instanceof VirstreamError
      ? unreachableRecord(domain, index, reason)
      : new DomainStatsRecord({ ...reason, domain, index });
  }
}
