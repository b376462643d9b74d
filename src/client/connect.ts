import type { OpenOptions } from "../driver/driver.ts";
import { openDriver } from "../driver/registry.ts";
import { Connection } from "./connection.ts";

/**
 * Connects to a host's domains. The URI's scheme selects the driver: `qemu:///system` and similar URIs connect to
 * libvirtd, `ws://HOST:PORT` to another virstream, `test:///default` to the simulated host in this process.
 * registerDriver() adds schemes.
 *
 * @throws VirstreamError `invalid-uri`, `unknown-scheme`, and the driver's errors: `socket-missing`, `socket-denied`,
 *   `connection-refused`, `connect-timeout`, `unauthenticated`, …
 */
export async function connect(uri: string, options: OpenOptions = {}): Promise<Connection> {
  return new Connection(await openDriver(uri, options));
}
