import { connect, isIPv6, type Socket } from "node:net";
import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * libvirt over TCP: the messages and nothing else, unencrypted. Also what TLS shares with it: the address, and what to
 * say when nobody can be reached there.
 */

const PORT = 16_509;
/** How long a line is idle before the kernel asks whether the other end is still there. It gives up 10 s later. */
export const TCP_KEEPALIVE_MS = 5_000;

/** Where a URI leads over the network. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** `host:port`, for messages. */
  readonly text: string;
}

/** The address of a URI; libvirt's default for the host is this one. */
export function addressOf(uri: LibvirtUri, defaultPort: number): Address {
  const host = uri.host ?? "localhost";
  const port = uri.port ?? defaultPort;
  return { host, port, text: `${isIPv6(host) || host.includes("%") ? `[${host}]` : host}:${port}` };
}

/**
 * Connects over TCP. Rejects with `connection-refused` when nobody listens or the host is not known, `connect-timeout`
 * when packets vanish, or the signal's reason.
 */
export async function openTcp(uri: LibvirtUri, signal: AbortSignal): Promise<Socket> {
  const address = addressOf(uri, PORT);
  signal.throwIfAborted();
  const socket = connect({ host: address.host, port: address.port, noDelay: true });
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  try {
    await reached(socket, "connect", signal);
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable(address, error, listenAdvice(uri, address));
  }
  return socket;
}

function listenAdvice(uri: LibvirtUri, { port, host }: Address): string {
  return (
    `on ${host}, libvirtd.conf must say listen_tcp = 1 (and tcp_port, if not ${PORT}) and systemctl start ` +
    `libvirtd-tcp.socket; is port ${port} right? Safer: ${uri.driver}+ssh://${host}${uri.path}, which needs nothing of that`
  );
}

/** Resolves at a socket's event; rejects when it fails or closes first. An abort destroys it, and rejects with the reason. */
export function reached(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void) => {
      socket.off(event, onEvent);
      socket.off("error", onError);
      socket.off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      how();
    };
    const onEvent = () => settle(resolve);
    const onError = (error: Error) => settle(() => reject(error));
    const onClose = () => onError(Object.assign(new Error("it was closed"), { code: "ECONNRESET" }));
    const onAbort = () => {
      settle(() => reject(signal.reason));
      socket.on("error", () => {});
      socket.destroy();
    };
    socket.on(event, onEvent);
    socket.on("error", onError);
    socket.on("close", onClose);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

const UNREACHABLE: Readonly<Record<string, readonly [code: ErrorCode, what: string]>> = {
  ECONNREFUSED: ["connection-refused", "nobody listens there"],
  ENOTFOUND: ["connection-refused", "no host has this name"],
  EAI_AGAIN: ["connection-refused", "the host's name could not be looked up"],
  EHOSTUNREACH: ["connection-refused", "no way leads to this host"],
  ENETUNREACH: ["connection-refused", "no way leads to this network"],
  EADDRNOTAVAIL: ["connection-refused", "no way leads there"],
  EINVAL: ["invalid-uri", "this is no address"],
  ETIMEDOUT: ["connect-timeout", "it does not answer; a firewall may swallow what is sent there"],
};

/** The error for an address that cannot be reached, from the system's own. */
export function unreachable(address: Address, cause: unknown, advice: string): VirstreamError {
  const { code: number = "", message } = cause as NodeJS.ErrnoException;
  const [code, what] = UNREACHABLE[number] ?? ["connection-lost", message];
  const rest = number === "ENOTFOUND" || number === "EAI_AGAIN" ? "correct the host in the URI" : advice;
  return new VirstreamError(code, `${address.text} cannot be reached: ${what}: ${rest}`, { cause });
}
