import { checkMembers, VirstreamError } from "../model/error.ts";
import type { Driver, OpenDriver, OpenOptions } from "./driver.ts";

const OPEN_MEMBERS = ["signal", "connectTimeoutMs", "token", "ca", "creditBytes"];

/** The drivers that the program registered. */
const drivers = new Map<string, OpenDriver>();
/** The drivers that come with virstream. */
const builtIn = new Map<string, OpenDriver>();

/**
 * Makes `connect()` open URIs of a scheme with this driver. A later registration of the same scheme replaces the earlier.
 *
 * @param scheme the part before the colon, e.g. `qemu` or `test+unix`; lower case
 */
export function registerDriver(scheme: string, open: OpenDriver): void {
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) {
    throw new VirstreamError("invalid-argument", `${JSON.stringify(scheme)} is not a URI scheme`);
  }
  drivers.set(scheme, open);
}

/**
 * Registers a driver that comes with virstream. It never replaces one that the program registered, even if the program did so
 * first.
 *
 * @param spare whether it gives way to another one of virstream's: in Node, a program may load the entry for browsers, too
 */
export function registerBuiltIn(scheme: string, open: OpenDriver, spare = false): void {
  if (!spare || !builtIn.has(scheme)) builtIn.set(scheme, open);
}

/** Opens the driver that is registered for the URI's scheme. */
export async function openDriver(uri: string, options: OpenOptions = {}): Promise<Driver> {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    throw new VirstreamError(
      "invalid-uri",
      `${JSON.stringify(withoutSecrets(String(uri)))} is not a URI: try qemu:///system, ws://HOST:PORT or test:///default`,
    );
  }
  const open = drivers.get(scheme) ?? builtIn.get(scheme);
  if (open === undefined) {
    // Without their transports: what a person would choose from.
    const schemes = new Set([...drivers.keys(), ...builtIn.keys()].map((name) => name.split("+")[0]!));
    const known = [...schemes].sort().join(", ");
    throw new VirstreamError(
      "unknown-scheme",
      `no driver for ${scheme}: URIs; there are drivers for ${known}, such as ws://HOST:PORT`,
    );
  }
  checkMembers(options, OPEN_MEMBERS, "connect's options");
  options.signal?.throwIfAborted();
  return open(uri, options);
}

/** Names of query parameters that hold secrets. */
const SECRET = /([?&][^=&#]*(?:token|passw|secret)[^=&#]*=)[^&#]*/gi;

/** A URI for messages: without its password, and without the secrets in its query. */
export function withoutSecrets(uri: string): string {
  return uri.replace(/(\/\/[^/:@?#]*):[^/?#]*@/, "$1@").replace(SECRET, "$1…");
}
