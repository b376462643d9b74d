import { type Clock, SYSTEM_CLOCK } from "../../driver/clock.ts";
import type { Description, DescriptionReader, Descriptions } from "../../driver/description.ts";
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
  /** The simulated host. Its methods set and remove faults of its guests. */
  readonly simulation: SimulatedHost;

  /**
   * @param clock tests pass a clock of their own
   * @throws VirstreamError `invalid-uri`
   */
  constructor(uri: string, { clock = SYSTEM_CLOCK }: { readonly clock?: Clock } = {}) {
    this.uri = uri;
    const options = parseSimulatedUri(uri);
    this.host = options.host;
    this.simulation = new SimulatedHost(options, clock, this);
  }

  /**
   * @throws VirstreamError `unsupported` at the first pull, if the query has the enforce flag and asks for unknown
   *   groups; `connection-closed` at a pull after the driver was closed
   */
  sweep(query: Query, context: SweepContext): AsyncIterableIterator<readonly DomainStatsRecord[]> {
    return new Sweep(this.simulation, query, context).records();
  }

  /**
   * Makes a guest's definition when a caller first asks for it, and keeps it. A simulated guest has no I/O limits and
   * no CPU placement.
   */
  describe<T>(reader: DescriptionReader<T>): Descriptions<T> {
    const known = new Map<string, Description<T>>();
    return {
      of: ({ uuid }) => {
        let description = known.get(uuid);
        const index = description === undefined ? this.simulation.identities.find({ uuid }) : -1;
        if (index >= 0) {
          const definition = reader.parse(this.simulation.definition(index));
          description = { definition, limits: new Map(), placement: undefined };
          known.set(uuid, description);
        }
        return description;
      },
      settled: async () => {},
      close: () => known.clear(),
    };
  }

  async close(): Promise<void> {
    this.simulation.close();
  }
}

/** Opens the simulated host. Rejects with `invalid-uri`. */
export const openSimulated: OpenDriver = async (uri) => new SimulatedDriver(uri);
