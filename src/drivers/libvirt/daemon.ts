import { hostname as localHostname } from "node:os";
import type { Duplex } from "node:stream";
import { withTimeout } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import { AuthType, FEATURE_KEEPALIVE, PROCEDURES } from "./rpc/procedures.ts";
import { isRemoteError } from "./rpc/remote-error.ts";
import { RpcClient } from "./rpc/rpc-client.ts";
import type { StatsReader } from "./rpc/stats-reply.ts";
import { checkParameters } from "./transport/parameters.ts";
import { openSsh } from "./transport/ssh.ts";
import { openTcp } from "./transport/tcp.ts";
import { openTls } from "./transport/tls.ts";
import { connectSocket } from "./transport/unix.ts";
import type { LibvirtUri, Transport } from "./transport/uri.ts";

/**
 * Opens a byte stream to the daemon of a URI. Each transport is such a function. The stream carries messages only: the
 * function completes the transport's own handshake (TLS with libvirt's welcome byte, ssh with its helper) before it
 * resolves. Rejects with a VirstreamError, or with the signal's reason, after it has closed everything that it had
 * opened.
 */
export type OpenTransport = (uri: LibvirtUri, signal: AbortSignal) => Promise<Duplex>;

/** Opens a stream over the transport of the URI: a unix socket, TCP, TLS or ssh. */
export const openTransport: OpenTransport = async (uri, signal) => {
  signal.throwIfAborted();
  checkParameters(uri);
  return (OPENERS[uri.transport] ?? openSsh)(uri, signal);
};

const OPENERS: Partial<Record<Transport, OpenTransport>> = { unix: connectSocket, tcp: openTcp, tls: openTls };

/** How to reach a daemon. */
export interface DaemonAddress {
  readonly uri: LibvirtUri;
  readonly transports: OpenTransport;
  /** How long opening a connection may take, in ms. */
  readonly timeoutMs: number;
  /** Reads the statistics replies of all connections. Default: each connection has a reader of its own. */
  readonly stats?: StatsReader;
}

/** A connection to a daemon, and the daemon's description of itself. */
export interface OpenedDaemon {
  readonly client: RpcClient;
  readonly facts: HypervisorFacts;
}

/**
 * Opens one connection. Rejects with `connect-timeout` if transport and handshake together take longer than
 * `timeoutMs`.
 */
export function connectDaemon(address: DaemonAddress, signal: AbortSignal | undefined): Promise<OpenedDaemon> {
  const { uri, timeoutMs } = address;
  // The kernel accepts connections for a daemon that hangs: only a timeout shows that no answer will come.
  const late = (): never => {
    throw new VirstreamError(
      "connect-timeout",
      `${uri.uri} did not answer within ${timeoutMs} ms: it hangs, or is overloaded; virstream doctor finds out more`,
    );
  };
  return withTimeout((ended) => connect(address, ended), timeoutMs, late, { signal });
}

async function connect({ uri, transports, stats }: DaemonAddress, signal: AbortSignal): Promise<OpenedDaemon> {
  const client = new RpcClient(await transports(uri, signal), stats);
  const onAbort = () => client.destroy(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    if (signal.aborted) onAbort();
    const facts = await openHypervisor(client, uri.name, uri.transport);
    // If the client ended together with the last answer, an `onEnded` that is set from now on is never called. So this
    // checks for the end.
    if (client.ended !== undefined) throw client.ended;
    return { client, facts };
  } catch (error) {
    client.destroy(VirstreamError.from(error));
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** The daemon's description of itself when a connection is opened. */
export interface HypervisorFacts {
  /** The daemon's host name. */
  readonly host: string;
  /** The name of libvirt's driver, in lower case: `qemu`, `test`, `xen`, … */
  readonly hypervisor: string;
  /** major · 1,000,000 + minor · 1,000 + release; undefined if the driver does not report it. */
  readonly hypervisorVersion: number | undefined;
  /** The daemon's own version, in the same form. */
  readonly libvirtVersion: number;
  /** True if the driver has the statistics call. Without it, only each domain's state can be read. */
  readonly statistics: boolean;
}

/**
 * Drivers that are known to have the statistics call. Any other driver is asked, because distributions add the call to
 * some drivers.
 */
const WITH_STATISTICS: readonly string[] = ["qemu", "test"];

/**
 * Performs libvirt's opening sequence: authenticate, let the daemon send keepalives, open the hypervisor read-only, and
 * ask for the facts in HypervisorFacts. Each step up to the opening waits for the answer of the step before, because
 * the daemon handles calls in any order, and refuses calls that it handles before the opening. AUTH_LIST is sent even
 * if no authentication is wanted: on a socket that polkit protects, the daemon serves root only after this call.
 *
 * Rejects with `unauthenticated` when polkit refuses, or when the daemon wants a kind of authentication that is not
 * supported; with `unsupported` when the daemon has no driver for `name`; otherwise with the daemon's own error.
 *
 * @param name the argument of CONNECT_OPEN, e.g. `qemu:///system`
 * @param transport how the daemon was reached, for the advice in an `unauthenticated` error
 */
export async function openHypervisor(
  client: RpcClient,
  name: string,
  transport: Transport = "unix",
): Promise<HypervisorFacts> {
  await authenticate(client, transport);
  if (await client.call(PROCEDURES.supportsFeature, FEATURE_KEEPALIVE)) client.keepAlive();
  await client.call(PROCEDURES.open, name).catch((error) => explainDriver(error, name));
  const [host, type, hypervisorVersion, libvirtVersion] = await Promise.all([
    client.call(PROCEDURES.hostname, undefined).catch(unlessUnsupported(localHostname())),
    client.call(PROCEDURES.type, undefined),
    client.call(PROCEDURES.version, undefined).catch(unlessUnsupported(undefined)),
    client.call(PROCEDURES.libVersion, undefined),
  ]);
  const hypervisor = type.toLowerCase();
  const statistics = WITH_STATISTICS.includes(hypervisor) || (await hasStatistics(client));
  return { host, hypervisor, hypervisorVersion, libvirtVersion, statistics };
}

/** Asks for the statistics of a domain that cannot exist, to learn whether the driver has the statistics call. */
export async function hasStatistics(client: RpcClient): Promise<boolean> {
  try {
    await client.call(PROCEDURES.stats, { uuids: [NIL_UUID], groups: 1, flags: 0 });
    return true;
  } catch (error) {
    if (!isRemoteError(error)) throw error;
    return error.code !== "unsupported";
  }
}

async function authenticate(client: RpcClient, transport: Transport): Promise<void> {
  const types = await client.call(PROCEDURES.authList, undefined);
  if (types.length === 0 || types.includes(AuthType.none)) return;
  if (types.includes(AuthType.polkit)) {
    await client.call(PROCEDURES.authPolkit, undefined).catch(explainPolkit);
    return;
  }
  const wanted = types.includes(AuthType.sasl) ? "SASL" : `of the unknown type ${types.join(", ")}`;
  throw new VirstreamError(
    "unauthenticated",
    `the daemon wants authentication ${wanted}, which virstream does not support: ${AUTH_ADVICE[transport] ?? SSH_AUTH_ADVICE}`,
  );
}

const AUTH_ADVICE: Partial<Record<Transport, string>> = {
  tcp: 'use +ssh, or +tls with certificates; on an isolated network, set auth_tcp = "none" in libvirtd.conf',
  tls: 'set auth_tls = "none" in libvirtd.conf (the certificates still decide which clients may connect), or use +ssh',
  unix: 'set auth_unix_ro = "none" or "polkit" in libvirtd.conf',
};
const SSH_AUTH_ADVICE = 'set auth_unix_ro = "none" or "polkit" in libvirtd.conf on the remote host';

/** VIR_ERR_NO_CONNECT: the daemon has no driver for the URI. */
const NO_CONNECT = 5;

function explainDriver(error: unknown, name: string): never {
  if (!isRemoteError(error) || error.libvirt?.code !== NO_CONNECT) throw error;
  const driver = name.split(":", 1)[0];
  throw new VirstreamError(
    "unsupported",
    `the daemon has no driver for ${name} (${error.message}): on its host install libvirt-daemon-driver-${driver} (Debian, ` +
      `Ubuntu) or libvirt-daemon-${driver} (Fedora), and restart the daemon; or correct the URI`,
    { cause: error, libvirt: error.libvirt },
  );
}

function explainPolkit(error: unknown): never {
  if (!isRemoteError(error)) throw error;
  throw new VirstreamError(
    "unauthenticated",
    `polkit does not let this user read from libvirt (${error.message}): allow the action org.libvirt.unix.monitor (on the ` +
      "read-write socket, org.libvirt.unix.manage) by a rule in /etc/polkit-1/rules.d, or add the user to the group " +
      'libvirt, or set auth_unix_ro = "none" in libvirtd.conf',
    { cause: error, ...(error.libvirt && { libvirt: error.libvirt }) },
  );
}

function unlessUnsupported<T>(instead: T): (error: unknown) => T {
  return (error) => {
    // If the daemon refuses to report a version or a name, the connection is still usable. An error that the daemon did
    // not send means that the connection was lost.
    if (isRemoteError(error)) return instead;
    throw error;
  };
}
