import type { Duplex } from "node:stream";
import { VirstreamError } from "../../../model/error.ts";
import { connectSocket } from "./unix.ts";
import type { LibvirtUri } from "./uri.ts";

/**
 * Opens a byte stream to the daemon that a URI means: the seam at which transports are added. The stream carries
 * messages only; a transport does its own handshake (TLS with libvirt's leading byte, ssh with its helper) before it
 * resolves. Rejects with a VirstreamError, or with the signal's reason.
 */
export type OpenTransport = (uri: LibvirtUri, signal: AbortSignal) => Promise<Duplex>;

/** The transports there are: unix sockets. */
export const openTransport: OpenTransport = (uri, signal) => {
  if (uri.transport === "unix") return connectSocket(uri, signal);
  const where = uri.host ?? "the remote host";
  return Promise.reject(
    new VirstreamError(
      "unsupported",
      `${uri.uri}: the transport ${uri.transport} is not supported yet. Run virstream on ${where} with ` +
        `${uri.driver}://${uri.path}, and connect to it by ws:`,
    ),
  );
};
