import type { Driver, SweepContext } from "../src/driver/driver.ts";
import type { Query } from "../src/model/query.ts";
import type { DomainStatsRecord } from "../src/model/record.ts";
import { simulatedRecords } from "./records.ts";

/** So many different domains are prepared; streams go round them. More than fit any cache that could flatter a codec. */
const PREPARED = 2_048;
/** The embedded host hands on so many at once. */
const CHUNK = 256;

/** The prepared records in chunks, round and round, until so many were given out. */
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

/** Items in groups of so many. */
export function inChunks<T>(items: readonly T[], size: number): T[][] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(items.slice(at, at + size));
  return chunks;
}

/** The records of all contenders. */
export const wireRecords = (): Promise<DomainStatsRecord[]> => simulatedRecords(PREPARED);

/** A driver that costs next to nothing: it hands out prepared records, as many as it is told before each sweep. */
export class PreparedDriver implements Driver {
  readonly uri = "prepared:///";
  readonly hypervisor = "prepared";
  readonly host = "prepared";
  /** How many records the next sweeps have. */
  domains = 0;
  #chunks: readonly (readonly DomainStatsRecord[])[] = [];

  prepare(records: readonly DomainStatsRecord[]): void {
    this.#chunks = inChunks(records, CHUNK);
  }

  async *sweep(_query: Query, { expect }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    expect(this.domains);
    yield* cycle(this.#chunks, this.domains);
  }

  async close(): Promise<void> {}
}
