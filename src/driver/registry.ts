import { invalid, quote, VirstreamError } from "../model/error.ts";
import { check, checkOptions, FLAG, FUNCTION, type Members, SIGNAL, TEXT, whole } from "../model/options.ts";
import { LIMITS } from "../wire/protocol.ts";
import { onAbort } from "./clock.ts";
import type { Driver, OpenDriver, OpenOptions } from "./driver.ts";
import { Reconnector } from "./reconnector.ts";

/** The longest wait between two attempts that `initialMs` and `maxMs` may allow, in ms. */
const MAX_WAIT_MS = 3_600_000;

const OPEN_MEMBERS = {
  signal: SIGNAL,
  connectTimeoutMs: whole(1, 2_147_483_647),
  waitForFirstConnection: FLAG,
  reconnect: undefined,
  creditBytes: whole(1, LIMITS.credit),
  token: ["a string or a function", (value) => TEXT[1](value) || FUNCTION[1](value), true],
  // The options of the socket are checked where Node opens it, because browsers have none of them.
  headers: undefined,
  ca: undefined,
  cert: undefined,
  key: undefined,
  rejectUnauthorized: undefined,
  agent: undefined,
} satisfies Members;

const RECONNECT_MEMBERS = {
  initialMs: whole(1, MAX_WAIT_MS),
  // checkOpenOptions checks maxMs, because its least value is initialMs.
  maxMs: undefined,
  attempts: [
    "a whole number from 0, or Infinity",
    (value) => value === Number.POSITIVE_INFINITY || (Number.isInteger(value) && (value as number) >= 0),
  ],
  shouldRetry: FUNCTION,
} satisfies Members;

/** The drivers that the program registered, by scheme. */
const drivers = new Map<string, OpenDriver>();
/** The drivers that come with virstream, by scheme. */
const builtIn = new Map<string, OpenDriver>();

/**
 * Makes `connect()` open URIs of a scheme with this driver. A later registration of the same scheme replaces the
 * earlier one.
 *
 * @param scheme the part before the colon, e.g. `qemu` or `test+unix`; lower case
 */
export function registerDriver(scheme: string, open: OpenDriver): void {
  if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) {
    throw invalid(`${JSON.stringify(scheme)} is not a URI scheme`);
  }
  drivers.set(scheme, open);
}

/**
 * Registers a driver that comes with virstream. It never replaces a driver that the program registered, even if the
 * program registered its driver first.
 *
 * @param spare true: do nothing if the scheme already has a built-in driver. A program in Node may also import the
 *   package's entry point for browsers, whose driver must not replace Node's.
 */
export function registerBuiltIn(scheme: string, open: OpenDriver, spare = false): void {
  if (!spare || !builtIn.has(scheme)) builtIn.set(scheme, open);
}

/**
 * Opens the driver that is registered for the URI's scheme. With `waitForFirstConnection`, it makes attempts until one
 * succeeds.
 */
export async function openDriver(uri: string, options: OpenOptions = {}): Promise<Driver> {
  const open = driverFor(uri);
  checkOpenOptions(options);
  options.signal?.throwIfAborted();
  return options.waitForFirstConnection === true ? openWhenReached(open, uri, options) : open(uri, options);
}

/** The function that opens URIs with the scheme of this URI. @throws VirstreamError `invalid-uri`, `unknown-scheme` */
export function driverFor(uri: string): OpenDriver {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(uri)?.[1]?.toLowerCase();
  if (scheme === undefined) {
    throw new VirstreamError(
      "invalid-uri",
      `${quote(withoutSecrets(`${uri}`))} is not a URI: try qemu:///system, ws://HOST:PORT or test:///default`,
    );
  }
  const open = drivers.get(scheme) ?? builtIn.get(scheme);
  if (open === undefined) {
    // The message lists schemes without transports, such as qemu for qemu+ssh: a person chooses from this list.
    const known = [...new Set(schemes().map((name) => name.split("+")[0]!))].sort().join(", ");
    throw new VirstreamError(
      "unknown-scheme",
      `no driver for ${scheme}: URIs; there are drivers for ${known}, such as ws://HOST:PORT`,
    );
  }
  return open;
}

/** The schemes that have a driver. */
export function schemes(): string[] {
  return [...drivers.keys(), ...builtIn.keys()];
}

/** Refuses options that are not valid. @throws VirstreamError `invalid-argument` */
export function checkOpenOptions(options: OpenOptions): void {
  checkOptions("connect's options object", options, OPEN_MEMBERS);
  const { reconnect = {} } = options;
  checkOptions("reconnect", reconnect, RECONNECT_MEMBERS);
  const { initialMs = 1, maxMs = MAX_WAIT_MS } = reconnect;
  check("maxMs", maxMs, whole(initialMs, MAX_WAIT_MS));
}

/** Makes attempts to open a driver until one succeeds. */
async function openWhenReached(open: OpenDriver, uri: string, options: OpenOptions): Promise<Driver> {
  const name = withoutSecrets(uri);
  const opening = new Reconnector<Driver>({
    name: () => name,
    host: () => name,
    open: (signal) => open(uri, { ...options, signal }),
    release: (driver) => driver.close(),
    reconnect: options.reconnect,
  });
  const { signal = new AbortController().signal } = options;
  const stop = (): void => void opening.close(VirstreamError.from(signal.reason));
  const unlisten = onAbort(signal, stop);
  try {
    return await opening.connect();
  } catch {
    opening.retry();
    const driver = await opening.reached(Number.POSITIVE_INFINITY, signal).catch(() => undefined);
    signal.throwIfAborted();
    if (driver === undefined) throw opening.error;
    return driver;
  } finally {
    unlisten();
  }
}

/** Matches the parameters of a URI whose values are secrets. */
const SECRET = /([?&][^=&#]*(?:token|passw|secret)[^=&#]*=)[^&#]*/gi;

/**
 * A URI for messages, without its password and without the secrets in its query. In a URI of NATS, all text before
 * the @ is left out, because it may be a token.
 */
export function withoutSecrets(uri: string): string {
  return uri
    .replace(/^(nats(?:\+tls)?:\/\/)[^/?#]*@/i, "$1…@")
    .replace(/(\/\/[^/:@?#]*):[^/?#]*@/, "$1@")
    .replace(SECRET, "$1…");
}
