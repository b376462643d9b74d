import { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import { checkQuery, type StatsQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { ManualClock } from "./manual-clock.ts";

/** The groups whose record has 79 parameters for 2 vCPUs, 2 disks and 2 interfaces. */
export const SIX_GROUPS = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"] as const;

/** A simulated host on a clock that stands still. */
export class Bench {
  readonly clock = new ManualClock();
  readonly driver: SimulatedDriver;
  /** What the last sweep announced. */
  expected: number | undefined;
  readonly controller = new AbortController();

  constructor(parameters = "") {
    this.driver = new SimulatedDriver(`test:///default?${parameters}`, { clock: this.clock });
  }

  get host() {
    return this.driver.simulation;
  }

  /** A sweep that is pulled by hand. */
  begin(query: StatsQuery = {}, signal: AbortSignal = this.controller.signal) {
    this.expected = undefined;
    return this.driver.sweep(checkQuery(query, this.driver), {
      signal,
      expect: (domains) => {
        this.expected = domains;
      },
    });
  }

  /** A whole sweep, with as much time as it takes. */
  async chunks(query: StatsQuery = {}): Promise<(readonly DomainStatsRecord[])[]> {
    const chunks: (readonly DomainStatsRecord[])[] = [];
    const sweep = this.begin(query);
    for (;;) {
      const { done, value } = await this.clock.settle(sweep.next());
      if (done) return chunks;
      chunks.push(value);
    }
  }

  async records(query: StatsQuery = {}): Promise<DomainStatsRecord[]> {
    return (await this.chunks(query)).flat();
  }
}

/** The record of a guest by its index in the host. */
export function ofGuest(records: readonly DomainStatsRecord[], index: number): DomainStatsRecord {
  const name = `guest-${String(index).padStart(5, "0")}`;
  const record = records.find(({ domain }) => domain.name === name);
  if (record === undefined) throw new Error(`no record of ${name}`);
  return record;
}
