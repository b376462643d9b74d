import type { Driver, SweepContext } from "../src/driver/driver.ts";
import type { Query } from "../src/model/query.ts";
import { Domain, DomainStatsRecord } from "../src/model/record.ts";
import { simulatedRecords } from "./records.ts";

/**
 * The number of prepared domains, which streams repeat. They are too many for a processor's cache, so no codec seems
 * fast only because its data is in the cache.
 */
const PREPARED = 2_048;
/** How many records PreparedDriver passes on at a time. */
const CHUNK = 256;

/** The prepared records in chunks, repeated until `count` records were yielded. */
export function* cycle<T>(chunks: readonly (readonly T[])[], count: number): Generator<readonly T[]> {
  for (let given = 0; given < count; ) {
    for (const chunk of chunks) {
      if (given >= count) return;
      const part = chunk.length <= count - given ? chunk : chunk.slice(0, count - given);
      given += part.length;
      yield part;
    }
  }
}

/** Splits items into groups of `size`. */
export function inChunks<T>(items: readonly T[], size: number): T[][] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(items.slice(at, at + size));
  return chunks;
}

/** The prepared records, which are the same for all contenders. */
export const wireRecords = (): Promise<DomainStatsRecord[]> => simulatedRecords(PREPARED);

/** The same record, but of a domain of another host, because a sweep may have only one record of each domain. */
function onHost(
  host: string,
  { domain, params, status, sampledAt, steadyAt, tookMs, index }: DomainStatsRecord,
): DomainStatsRecord {
  const other = new Domain(domain.uuid, domain.name, domain.id, host);
  return new DomainStatsRecord({ domain: other, params, status, sampledAt, steadyAt, tookMs, index });
}

/**
 * A driver that costs almost nothing: it yields prepared records, as many as `domains` says. Each repetition of them is from
 * another host.
 */
export class PreparedDriver implements Driver {
  readonly uri = "prepared:///";
  readonly hypervisor = "prepared";
  readonly host = "prepared";
  /** How many records each of the next sweeps has. */
  domains = 0;
  #chunks: readonly (readonly DomainStatsRecord[])[] = [];

  prepare(records: readonly DomainStatsRecord[]): void {
    this.#chunks = inChunks(records, CHUNK);
  }

  async *sweep(_query: Query, { expect }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    expect(this.domains);
    let given = 0;
    for (const records of cycle(this.#chunks, this.domains)) {
      const host = `host-${Math.floor(given / PREPARED)}`;
      given += records.length;
      yield records.map((record) => onHost(host, record));
    }
  }

  async close(): Promise<void> {}
}
