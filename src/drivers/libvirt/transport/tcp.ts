import { once } from "node:events";
import { connect, isIPv6, type Socket } from "node:net";
import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import type { LibvirtUri } from "./uri.ts";

const PORTS: Readonly<Record<string, number>> = { tcp: 16_509, tls: 16_514 };
/**
 * After this many idle ms the kernel probes the other end. If the other end does not answer, the connection fails 10 s
 * later.
 */
export const TCP_KEEPALIVE_MS = 5_000;

/** The advice for errors of the system that have no advice of their own. Most of them mean that a limit is reached. */
export const LIMIT_ADVICE =
  "try again; if this process has reached a limit, raise it (ulimit -n, ulimit -u; for a service LimitNOFILE=, TasksMax=)";

/** The network address of a URI. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** The host as URIs write it: an IPv6 address is in brackets. */
  readonly bracketed: string;
  /** `host:port`, for messages. */
  readonly text: string;
}

/** The address of a TCP or TLS URI. Without a host it is this machine, as in libvirt. */
export function addressOf(uri: LibvirtUri): Address {
  const host = uri.host ?? "localhost";
  const port = uri.port ?? PORTS[uri.transport]!;
  const bracketed = isIPv6(host) || host.includes("%") ? `[${host}]` : host;
  return { host, port, bracketed, text: `${bracketed}:${port}` };
}

/**
 * Connects over TCP, unencrypted. Rejects with the signal's reason or the error of `unreachable`, such as
 * `connection-refused` when no process listens or the host is not known, and `connect-timeout` when packets are lost.
 */
export async function openTcp(uri: LibvirtUri, signal: AbortSignal): Promise<Socket> {
  const { host, port } = addressOf(uri);
  const socket = connect({ host, port, noDelay: true });
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  try {
    await reached(socket, "connect", signal);
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(uri, error);
  }
  return socket;
}

/**
 * Resolves when the socket emits the event. If the socket fails or the signal is aborted first, destroys the socket and
 * rejects.
 */
export async function reached(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  try {
    await once(socket, event, { signal });
  } catch (error) {
    // The socket may fail once more while it closes. Without a listener that error would be uncaught.
    socket.on("error", () => {});
    socket.destroy();
    signal.throwIfAborted();
    throw error;
  }
}

const UNREACHABLE: Readonly<Record<string, readonly [code: ErrorCode, what: string]>> = {
  ECONNREFUSED: ["connection-refused", "no process listens there"],
  ENOTFOUND: ["connection-refused", "no host has this name"],
  EAI_AGAIN: ["connection-refused", "the host's name could not be looked up"],
  EHOSTUNREACH: ["connection-refused", "there is no route to this host"],
  ENETUNREACH: ["connection-refused", "there is no route to this network"],
  EADDRNOTAVAIL: ["connection-refused", "there is no route"],
  EINVAL: ["invalid-uri", "it is not an address"],
  ETIMEDOUT: ["connect-timeout", "it does not answer; a firewall may drop the packets"],
};

/** The error for a TCP or TLS URI whose address cannot be reached, from the system's error. */
export function unreachable(uri: LibvirtUri, cause: unknown): VirstreamError {
  const { driver, transport, path } = uri;
  const { host, port, bracketed, text } = addressOf(uri);
  const { code: number = "", message } = cause as NodeJS.ErrnoException;
  const [code, what] = UNREACHABLE[number] ?? ["connection-lost", message];
  const unnamed = number === "ENOTFOUND" || number === "EAI_AGAIN";
  const advice =
    `on ${host}, libvirtd needs ${transport === "tls" ? "a certificate, " : ""}listen_${transport} = 1 (and ` +
    `${transport}_port, if not ${PORTS[transport]}) in libvirtd.conf and systemctl start libvirtd-${transport}.socket; is ` +
    `port ${port} right? Encrypted without certificates: ${driver}+ssh://${bracketed.replace("%", "%25")}${path}, which needs none of this`;
  const rest = unnamed ? "correct the host in the URI" : /^E[MN]FILE$/.test(number) ? LIMIT_ADVICE : advice;
  return new VirstreamError(code, `${text} cannot be reached: ${what}: ${rest}`, { cause });
}
