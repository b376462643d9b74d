import { hostname as localHostname } from "node:os";
import { VirstreamError } from "../../../model/error.ts";
import { AuthType, FEATURE_KEEPALIVE, PROCEDURES } from "./procedures.ts";
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
 * @param name what CONNECT_OPEN is told, e.g. `qemu:///system`
 */
export async function openHypervisor(client: RpcClient, name: string): Promise<HypervisorFacts> {
  await authenticate(client);
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

async function authenticate(client: RpcClient): Promise<void> {
  const types = await client.call(PROCEDURES.authList, undefined);
  if (types.length === 0 || types.includes(AuthType.none)) return;
  if (types.includes(AuthType.polkit)) {
    await client.call(PROCEDURES.authPolkit, undefined);
    return;
  }
  const wanted = types.includes(AuthType.sasl) ? "SASL" : `of the unknown type ${types.join(", ")}`;
  throw new VirstreamError(
    "unauthenticated",
    `the daemon wants authentication ${wanted}, which virstream does not support: ` +
      'use its unix socket, or let libvirtd.conf say auth_unix_ro = "none" or "polkit"',
  );
}

function unlessUnsupported<T>(instead: T): (error: unknown) => T {
  return (error) => {
    // Versions and names are no reason to fail; a lost connection is.
    if (error instanceof VirstreamError && error.libvirt !== undefined) return instead;
    throw error;
  };
}
