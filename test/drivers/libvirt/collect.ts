import { expect, vi } from "vitest";
import type { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { checkQuery, type StatsQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { PATIENCE } from "../../until.ts";

/** What a sweep has yielded, and how it ended. */
export interface Collected {
  readonly records: DomainStatsRecord[];
  /** When each came, in ms from the beginning. */
  readonly times: Map<string, number>;
  readonly expected: number[];
  readonly error: unknown;
}

/** Runs a sweep to its end. */
export async function collect(driver: LibvirtDriver, query: StatsQuery = {}, signal?: AbortSignal): Promise<Collected> {
  const start = performance.now();
  const records: DomainStatsRecord[] = [];
  const times = new Map<string, number>();
  const expected: number[] = [];
  const context = {
    signal: signal ?? new AbortController().signal,
    expect: (count: number) => void expected.push(count),
  };
  try {
    for await (const chunk of driver.sweep(checkQuery(query), context)) {
      for (const record of chunk) times.set(record.domain.name, performance.now() - start);
      records.push(...chunk);
    }
    return { records, times, expected, error: undefined };
  } catch (error) {
    return { records, times, expected, error };
  }
}

/** By the domains' names, each status with its reason. */
export function statuses({ records }: Collected): Record<string, string> {
  return Object.fromEntries(
    records.map(({ domain, status, reason }) => [domain.name, reason === undefined ? status : `${status} ${reason}`]),
  );
}

/** Resolves when every guest answers: the calls that the test before left behind have been answered, too. */
export async function calm(driver: LibvirtDriver): Promise<void> {
  await vi.waitFor(async () => {
    for (const { status } of (await collect(driver)).records) expect(status).toBe("ok");
  }, PATIENCE);
}
