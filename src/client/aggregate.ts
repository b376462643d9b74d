import { AggregateDriver } from "../aggregate/aggregate-driver.ts";
import type { OpenOptions } from "../driver/driver.ts";
import { Connection } from "./connection.ts";

/**
 * Connects to several hosts as one: their domains in one sweep, one watch, one list, each with its host. The options are
 * for every host. A host that cannot be reached now is retried; meanwhile the others serve.
 *
 * @throws VirstreamError `invalid-argument` for no URI, or for a host that is named twice; what connect() throws of any host
 *   where retrying cannot cure it, with the name of the host; and, when no host could be reached, `connection-refused`,
 *   `connect-timeout` and the like, or `connection-lost` where their reasons differ
 */
export async function connectAll(uris: readonly string[], options: OpenOptions = {}): Promise<Connection> {
  return new Connection(await AggregateDriver.open(uris, options));
}
