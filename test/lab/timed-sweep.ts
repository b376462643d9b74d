import type { Connection } from "../../src/client/connection.ts";
import type { StatsQuery } from "../../src/model/query.ts";
import type { DomainStatsRecord, RecordStatus } from "../../src/model/record.ts";

/** A record, and when it came, in ms from the sweep's beginning. */
export interface Arrival {
  readonly record: DomainStatsRecord;
  readonly atMs: number;
}

/** A sweep that is over, one way or the other. */
export class TimedSweep {
  readonly arrivals: readonly Arrival[];
  /** On performance.now()'s clock. */
  readonly beganAt: number;
  readonly tookMs: number;
  /** What the sweep failed with. */
  readonly error: unknown;

  constructor(arrivals: readonly Arrival[], beganAt: number, tookMs: number, error: unknown) {
    this.arrivals = arrivals;
    this.beganAt = beganAt;
    this.tookMs = tookMs;
    this.error = error;
  }

  /** When the last record of a status came, in ms; NaN when there is none. */
  lastMs(...statuses: readonly RecordStatus[]): number {
    const times = this.arrivals.filter(({ record }) => statuses.includes(record.status)).map(({ atMs }) => atMs);
    return times.length === 0 ? Number.NaN : Math.max(...times);
  }

  /** How many records have a status. */
  count(...statuses: readonly RecordStatus[]): number {
    return this.arrivals.filter(({ record }) => statuses.includes(record.status)).length;
  }

  /** How many records each uuid has. */
  perDomain(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { record } of this.arrivals) {
      counts.set(record.domain.uuid, (counts.get(record.domain.uuid) ?? 0) + 1);
    }
    return counts;
  }

  /** A domain's record and its time; of two, the first. */
  of(uuid: string): Arrival | undefined {
    return this.arrivals.find(({ record }) => record.domain.uuid === uuid);
  }

  /** What became of whom, in short: `ok`, `partial timeout`, by the domain's name. */
  outcomes(): Record<string, string> {
    return Object.fromEntries(
      this.arrivals.map(({ record: { domain, status, reason } }) => [
        domain.name,
        reason === undefined ? status : `${status} ${reason}`,
      ]),
    );
  }
}

/** Runs one sweep to its end and notes when each record came. Never rejects: see `error`. */
export async function timedSweep(
  connection: Connection,
  query: StatsQuery = {},
  onRecord: (record: DomainStatsRecord) => unknown = () => {},
): Promise<TimedSweep> {
  const arrivals: Arrival[] = [];
  const beganAt = performance.now();
  let error: unknown;
  try {
    await connection.stats(query).forEach((record) => {
      arrivals.push({ record, atMs: performance.now() - beganAt });
      onRecord(record);
    });
  } catch (thrown) {
    error = thrown;
  }
  return new TimedSweep(arrivals, beganAt, performance.now() - beganAt, error);
}
