import { hostname as localHostname } from "node:os";
import { VirstreamError } from "../../../model/error.ts";
import type { Transport } from "../transport/uri.ts";
import { AuthType, FEATURE_KEEPALIVE, PROCEDURES } from "./procedures.ts";
import { isRemoteError } from "./remote-error.ts";
import type { RpcClient } from "./rpc-client.ts";

/** What an opened connection knows of the other side. */
export interface HypervisorFacts {
  /** The daemon's host name. */
  readonly host: string;
  /** The driver's name as the daemon says it, in lower case: `qemu`, `test`, `xen`, … */
  readonly hypervisor: string;
  /** As libvirt counts: major · 1,000,000 + minor · 1,000 + release; undefined where the driver does not say. */
  readonly hypervisorVersion: number | undefined;
  /** The daemon's own version, counted the same way. */
  readonly libvirtVersion: number;
}

/**
 * Libvirt's opening sequence: authenticate, let the daemon send keepalives, open the hypervisor read-only, ask who it is.
 * The steps up to the opening wait for each other: the daemon answers calls in any order, and refuses those that
 * overtake the opening. AUTH_LIST is sent even where no authentication is wanted: to root, on a socket behind polkit, it
 * is what opens the door.
 *
 * Rejects with `unauthenticated` when the daemon wants what we cannot give or polkit says no, or with what the daemon says.
 *
 * @param name what CONNECT_OPEN is told, e.g. `qemu:///system`
 * @param transport how the daemon was reached, which decides what to advise where it wants another authentication
 */
export async function openHypervisor(
  client: RpcClient,
  name: string,
  transport: Transport = "unix",
): Promise<HypervisorFacts> {
  await authenticate(client, transport);
  if (await client.call(PROCEDURES.supportsFeature, FEATURE_KEEPALIVE)) client.keepAlive();
  await client.call(PROCEDURES.open, name);
  const [host, type, hypervisorVersion, libvirtVersion] = await Promise.all([
    client.call(PROCEDURES.hostname, undefined).catch(unlessUnsupported(localHostname())),
    client.call(PROCEDURES.type, undefined),
    client.call(PROCEDURES.version, undefined).catch(unlessUnsupported(undefined)),
    client.call(PROCEDURES.libVersion, undefined),
  ]);
  return { host, hypervisor: type.toLowerCase(), hypervisorVersion, libvirtVersion };
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
    `the daemon wants authentication ${wanted}, which virstream does not support: ${authAdvice(transport)}`,
  );
}

function authAdvice(transport: Transport): string {
  switch (transport) {
    case "tcp":
      return 'use +ssh, or +tls with certificates; on a network that nobody else is on, let libvirtd.conf say auth_tcp = "none"';
    case "tls":
      return 'let libvirtd.conf say auth_tls = "none" (the certificates still tell who may connect), or use +ssh';
    case "unix":
      return 'let libvirtd.conf say auth_unix_ro = "none" or "polkit"';
    default:
      return 'let libvirtd.conf on the far side say auth_unix_ro = "none" or "polkit"';
  }
}

function explainPolkit(error: unknown): never {
  if (!isRemoteError(error)) throw error;
  throw new VirstreamError(
    "unauthenticated",
    `polkit does not let this user read from libvirt (${error.message}): allow the action org.libvirt.unix.monitor (on the ` +
      "read-write socket, org.libvirt.unix.manage) by a rule in /etc/polkit-1/rules.d, or add the user to the group " +
      'libvirt, or let libvirtd.conf say auth_unix_ro = "none"',
    { cause: error, ...(error.libvirt && { libvirt: error.libvirt }) },
  );
}

function unlessUnsupported<T>(instead: T): (error: unknown) => T {
  return (error) => {
    // Versions and names are no reason to fail; a lost connection is.
    if (isRemoteError(error)) return instead;
    throw error;
  };
}
