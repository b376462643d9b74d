import { type Clock, SYSTEM_CLOCK } from "../../driver/clock.ts";
import type { Driver, OpenDriver, SweepContext } from "../../driver/driver.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { SimulatedHost } from "./host.ts";
import { parseSimulatedUri } from "./parameters.ts";
import { Sweep } from "./sweep.ts";

/**
 * The simulated host as a driver: `test:///default?domains=1000`. It needs nothing but this process, so it runs
 * wherever JavaScript does.
 */
export class SimulatedDriver implements Driver {
  readonly uri: string;
  readonly hypervisor = "test";
  readonly host: string;
  /** The host itself: faults are set and removed through it. */
  readonly simulation: SimulatedHost;

  /**
   * @param clock for tests
   * @throws VirstreamError `invalid-uri`
   */
  constructor(uri: string, { clock = SYSTEM_CLOCK }: { readonly clock?: Clock } = {}) {
    this.uri = uri;
    const options = parseSimulatedUri(uri);
    this.host = options.host;
    this.simulation = new SimulatedHost(options, clock, this);
  }

  /** @throws VirstreamError at the first pull: `unsupported` with the enforce flag, `connection-closed` */
  sweep(query: Query, context: SweepContext): AsyncIterableIterator<readonly DomainStatsRecord[]> {
    return new Sweep(this.simulation, query, context).records();
  }

  async close(): Promise<void> {
    this.simulation.close();
  }
}

/** Opens the simulated host. Rejects with `invalid-uri`. */
export const openSimulated: OpenDriver = async (uri) => new SimulatedDriver(uri);
