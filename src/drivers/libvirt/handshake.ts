import { hostname as localHostname } from "node:os";
import { VirstreamError } from "../../model/error.ts";
import { AuthType, FEATURE_KEEPALIVE, PROCEDURES } from "./rpc/procedures.ts";
import { isRemoteError } from "./rpc/remote-error.ts";
import type { RpcClient } from "./rpc/rpc-client.ts";
import type { Transport } from "./transport/uri.ts";

/** The daemon's description of itself at the start of a connection. */
export interface HypervisorFacts {
  /** The daemon's host name. */
  readonly host: string;
  /** The name of libvirt's driver, in lower case: `qemu`, `test`, `xen`, … */
  readonly hypervisor: string;
  /** major · 1,000,000 + minor · 1,000 + release; undefined where the driver does not say. */
  readonly hypervisorVersion: number | undefined;
  /** The daemon's own version, in the same form. */
  readonly libvirtVersion: number;
}

/**
 * Performs libvirt's opening sequence: authenticate, let the daemon send keepalives, open the hypervisor read-only, and
 * ask for its name and versions. Each step up to the opening waits for the one before, because the daemon answers calls
 * in any order and refuses calls that overtake the opening. AUTH_LIST is sent even where no authentication is wanted:
 * on a socket behind polkit, the daemon serves root only after this call.
 *
 * Rejects with `unauthenticated` when the daemon wants an authentication that is not supported or polkit refuses, or
 * with the daemon's own error.
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
      return 'use +ssh, or +tls with certificates; on an isolated network, set auth_tcp = "none" in libvirtd.conf';
    case "tls":
      return 'set auth_tls = "none" in libvirtd.conf (the certificates still decide which clients may connect), or use +ssh';
    case "unix":
      return 'set auth_unix_ro = "none" or "polkit" in libvirtd.conf';
    default:
      return 'set auth_unix_ro = "none" or "polkit" in libvirtd.conf on the remote host';
  }
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
    // A missing version or name does not matter; a lost connection does.
    if (isRemoteError(error)) return instead;
    throw error;
  };
}
