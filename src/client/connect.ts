import type { OpenOptions } from "../driver/driver.ts";
import { openDriver } from "../driver/registry.ts";
import { Connection } from "./connection.ts";

/**
 * Connects to a host's domains. The URI's scheme picks the driver: `qemu:///system` and its like go to libvirtd,
 * `ws://HOST:PORT` to another virstream, `test:///default` to the simulated host in this process, and registerDriver()
 * adds more.
 *
 * @throws VirstreamError `invalid-uri`, `unknown-scheme`, and what the driver raises: `socket-missing`, `socket-denied`,
 *   `connection-refused`, `connect-timeout`, `unauthenticated`, …
 */
export async function connect(uri: string, options: OpenOptions = {}): Promise<Connection> {
  return new Connection(await openDriver(uri, options));
}
