import type { HostSource } from "../aggregate/aggregate-driver.ts";
import type { OpenOptions } from "../driver/driver.ts";
import { openDriver } from "../driver/registry.ts";
import { Connection } from "./connection.ts";
import { FleetConnection } from "./fleet.ts";

/**
 * Connects to a host's domains. The URI's scheme selects the driver: `qemu:///system` and similar URIs connect to
 * libvirtd, `ws://HOST:PORT` to another virstream, `test:///default` to the simulated host in this process.
 * registerDriver() adds schemes.
 *
 * @throws VirstreamError `invalid-uri`, `unknown-scheme`, and the driver's errors: `socket-missing`, `socket-denied`,
 *   `connection-refused`, `connect-timeout`, `unauthenticated`, …
 */
export async function connect(uri: string, options: OpenOptions = {}): Promise<Connection> {
  const driver = await openDriver(uri, options);
  // The driver for servers has `watch`, because a server sweeps for its clients. So a page that only reads servers does
  // not load on-demand.ts here.
  if (driver.watch === undefined) await import("./on-demand.ts");
  return new Connection(driver);
}

/**
 * Connects to several hosts as one: each sweep, watch and list covers all hosts, and each domain names its host. The
 * options apply to every host; `{ uri, …options }` in place of a URI has options for one host. A host that cannot be
 * reached is retried with back-off, while the other hosts continue.
 *
 * @throws VirstreamError `invalid-argument` without a URI, or when a host is named twice; a host's error from connect(),
 *   with the name of the host, when retrying cannot cure it; and, when no host could be reached, their common error, such
 *   as `connection-refused` or `connect-timeout`, or `connection-lost` when their errors differ
 */
export function connectAll(
  hosts: readonly (string | HostSource)[],
  options: OpenOptions = {},
): Promise<FleetConnection> {
  return FleetConnection.open(hosts, options);
}
