import type { Duplex } from "node:stream";
import { checkParameters } from "./parameters.ts";
import { openSsh } from "./ssh.ts";
import { openTcp } from "./tcp.ts";
import { openTls } from "./tls.ts";
import { connectSocket } from "./unix.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * Opens a byte stream to the daemon that a URI means: the seam at which transports are added. The stream carries
 * messages only; a transport does its own handshake (TLS with libvirt's leading byte, ssh with its helper) before it
 * resolves. Rejects with a VirstreamError, or with the signal's reason; then nothing is left behind.
 */
export type OpenTransport = (uri: LibvirtUri, signal: AbortSignal) => Promise<Duplex>;

/** The transports there are: unix sockets, TCP, TLS and ssh. */
export const openTransport: OpenTransport = async (uri, signal) => {
  signal.throwIfAborted();
  checkParameters(uri);
  switch (uri.transport) {
    case "unix":
      return connectSocket(uri, signal);
    case "tcp":
      return openTcp(uri, signal);
    case "tls":
      return openTls(uri, signal);
    default:
      return openSsh(uri, signal);
  }
};
