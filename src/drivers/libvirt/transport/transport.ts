import type { Duplex } from "node:stream";
import { checkParameters } from "./parameters.ts";
import { openSsh } from "./ssh.ts";
import { openTcp } from "./tcp.ts";
import { openTls } from "./tls.ts";
import { connectSocket } from "./unix.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * Opens a byte stream to the daemon of a URI. New transports are added here. The stream carries messages only: a
 * transport completes its own handshake (TLS with libvirt's welcome byte, ssh with its helper) before it resolves.
 * Rejects with a VirstreamError, or with the signal's reason, and releases everything before it does.
 */
export type OpenTransport = (uri: LibvirtUri, signal: AbortSignal) => Promise<Duplex>;

/** Opens unix sockets, TCP, TLS and ssh. */
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
