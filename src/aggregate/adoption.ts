import { Domain, DomainStatsRecord } from "../model/record.ts";

/** So many places each host has before the next one's begin. */
const BLOCK = 2 ** 24;

/**
 * Makes what a host's driver gave out the aggregate's own: its domains can be asked for again through the aggregate, and
 * no two records of one sweep have the same place.
 *
 * Places come in blocks, one for each host in the order in which the hosts were named. A source that is itself several
 * hosts has a block for each, and these get further ones as they are met; so aggregates can be aggregated.
 */
export class Adoption {
  readonly #owner: object;
  readonly #blocks = new Map<number, number>();
  readonly #hosts: number;
  #nextBlock: number;

  /**
   * @param owner the driver that the domains shall belong to
   * @param hosts how many hosts there are
   */
  constructor(owner: object, hosts: number) {
    this.#owner = owner;
    this.#hosts = hosts;
    this.#nextBlock = hosts + 1;
  }

  /** The same domain, given out by the aggregate. */
  domain({ uuid, name, id, host }: Domain): Domain {
    return new Domain(uuid, name, id, host, this.#owner);
  }

  /** @param host the number of the host that it comes from, from 0 */
  record(record: DomainStatsRecord, host: number): DomainStatsRecord {
    return this.#copy(record, this.domain(record.domain), this.place(record.index, host));
  }

  /**
   * A record that speaks for all hosts: none of them has the domain.
   *
   * @param ordinal its place among those that were asked for
   */
  nobodysRecord(record: DomainStatsRecord, domain: Domain, ordinal: number): DomainStatsRecord {
    return this.#copy(record, domain, this.nobodysPlace(ordinal));
  }

  /** A domain that was asked for, and of which no host is known. */
  nobodys({ uuid, name }: Pick<Domain, "uuid" | "name">): Domain {
    return new Domain(uuid, name, -1, "", this.#owner);
  }

  /** The place of one that was asked for, and of which no host is known. */
  nobodysPlace(ordinal: number): number {
    return this.place(ordinal, this.#hosts);
  }

  /** The place among all hosts of a place on one. */
  place(index: number, host: number): number {
    if (index < BLOCK) return host * BLOCK + index;
    const inner = Math.floor(index / BLOCK);
    const key = host * BLOCK + inner;
    let block = this.#blocks.get(key);
    if (block === undefined) {
      block = this.#nextBlock++;
      this.#blocks.set(key, block);
    }
    return block * BLOCK + (index % BLOCK);
  }

  #copy(record: DomainStatsRecord, domain: Domain, index: number): DomainStatsRecord {
    const { params, status, sampledAt, tookMs, reason, missing, error } = record;
    return new DomainStatsRecord({ domain, params, status, sampledAt, tookMs, index, reason, missing, error });
  }
}
