import "./watching.ts";
import { AggregateDriver, type HostSource } from "../aggregate/aggregate-driver.ts";
import type { ConnectionState, OpenOptions } from "../driver/driver.ts";
import type { VirstreamError } from "../model/error.ts";
import { Connection } from "./connection.ts";

/** The present state of one host of a FleetConnection. */
export interface FleetHost {
  /** The host's name or label; until the host has answered, its URI. */
  readonly name: string;
  /** The host's URI, without secrets. */
  readonly uri: string;
  /**
   * `connected`; `degraded`: it cannot be reached, and the connection tries again; `closed`: there are no further
   * attempts.
   */
  readonly state: ConnectionState;
  /** Why the host is not connected. */
  readonly error: VirstreamError | undefined;
}

/** A connection to several hosts as one, to which hosts can be added, and from which they can be removed. */
export class FleetConnection extends Connection {
  readonly #fleet: AggregateDriver;

  /** @internal */
  constructor(fleet: AggregateDriver) {
    super(fleet);
    this.#fleet = fleet;
  }

  /** @internal */
  static async open(sources: readonly (string | HostSource)[], options: OpenOptions): Promise<FleetConnection> {
    return new FleetConnection(await AggregateDriver.open(sources, options));
  }

  /** The hosts, in the order in which they were named or added. */
  get hosts(): FleetHost[] {
    return this.#fleet.statuses.map(({ host, uri = host, state, error }) => ({ name: host, uri, state, error }));
  }

  /**
   * Adds a host. `host` is its URI, or its URI with options that replace those of connectAll(). Resolves when the host
   * has answered or failed once. A host that could not be reached is tried again. Running watches include the host's
   * domains from the time at which it is connected.
   *
   * @throws VirstreamError `invalid-argument` for a host that is there already; `connection-closed`; a host's error
   *   that retrying cannot cure: then the host is not added
   */
  add(host: string | HostSource): Promise<void> {
    return this.#fleet.add(host);
  }

  /**
   * Removes a host, and closes the connection to it. Running watches report the host's domains as `gone`, and then the
   * state `removed`; a sweep under way reports the host as absent.
   *
   * @param uri the host's URI, as the program gave it or as `hosts` shows it
   * @throws VirstreamError `invalid-argument` for an unknown host, and for the last host; `connection-closed`
   */
  remove(uri: string): Promise<void> {
    return this.#fleet.remove(uri);
  }
}
