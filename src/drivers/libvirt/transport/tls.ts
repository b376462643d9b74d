import { isIP } from "node:net";
import { createSecureContext, type SecureContext, type TLSSocket, connect as tlsConnect } from "node:tls";
import { VirstreamError } from "../../../model/error.ts";
import { type Credentials, doubtsAbout, type Paths, readCredentials } from "./certificates.ts";
import { flag } from "./parameters.ts";
import { readPrefix } from "./read-prefix.ts";
import { type Address, addressOf, reached, TCP_KEEPALIVE_MS, unreachable } from "./tcp.ts";
import type { LibvirtUri } from "./uri.ts";

/** The first byte inside TLS: libvirtd sends it when it has accepted the client's certificate. */
const WELCOME = 1;

/**
 * Connects over TLS, and waits until libvirtd has accepted the client's certificate.
 *
 * With TLS 1.3, the client's handshake is complete before the server has seen the client's certificate. With any
 * version, libvirtd checks the certificate only after the handshake. libvirtd refuses a certificate by ending the
 * stream where the welcome byte should come. A connection reset at that point is not a refusal, so the caller may
 * connect again.
 *
 * Rejects with `unauthenticated` when either side's certificate is not accepted, `connection-refused` or
 * `connect-timeout` when the server cannot be reached, `protocol-error` when the server is not libvirtd,
 * `connection-lost`, or the signal's reason.
 */
export async function openTls(uri: LibvirtUri, signal: AbortSignal, places?: Paths[]): Promise<TLSSocket> {
  const address = addressOf(uri);
  const credentials = await readCredentials(uri, places);
  const secureContext = createContext(credentials);
  const socket = tlsConnect({
    host: address.host,
    port: address.port,
    // The TLS extension server_name may contain a host name only, and no address (RFC 6066).
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    secureContext,
    rejectUnauthorized: !flag(uri, "no_verify"),
  });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  // Without a listener, an error between two reads would be uncaught. Each read has a listener of its own.
  socket.on("error", () => {});
  let stage: "connect" | "secureConnect" | "welcome" = "connect";
  const takeWelcome = ([first]: Buffer): number => {
    if (first === WELCOME) return 1;
    const what = `${address.text} speaks TLS, but is not a libvirt daemon: its first byte is ${first}`;
    throw new VirstreamError("protocol-error", `${what}. Correct the address in ${uri.uri}`);
  };
  try {
    await reached(socket, stage, signal);
    stage = "secureConnect";
    await reached(socket, stage, signal);
    stage = "welcome";
    if (!(await readPrefix(socket, takeWelcome, signal))) throw refused(address, credentials);
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    if (error instanceof VirstreamError) throw error;
    if (stage === "connect") throw unreachable(uri, error);
    if (isRefusal(error)) throw refused(address, credentials, error);
    throw stage === "welcome" ? broken(address, error) : handshakeError(uri, address, error);
  }
  writeSingly(socket);
  return socket;
}

/**
 * Makes every write a TLS record of its own. From a record with several messages libvirtd (9.0) reads only the first.
 * The other messages stay decrypted in its TLS library, where poll does not see them, until more data arrives, for
 * instance at the next keepalive after 5 s. Node would join several writes into one record when they are corked or
 * queued.
 */
function writeSingly(socket: TLSSocket): void {
  Object.assign(socket, { cork: () => {}, uncork: () => {}, _writev: undefined });
}

function createContext({ ca, crl, client }: Credentials): SecureContext {
  try {
    return createSecureContext({
      ca,
      crl,
      cert: client?.certificate,
      key: client?.key,
      // As in libvirt, every certificate in the CA's file is trusted, even if it is not a root.
      allowPartialTrustChain: true,
      minVersion: "TLSv1.2",
    });
  } catch (cause) {
    const why = (cause as Error).message;
    const files = client === undefined ? "the CA's file" : `${client.paths.certificate} and ${client.paths.key}`;
    throw new VirstreamError(
      "unauthenticated",
      `the certificates cannot be used (${why}): check that ${files} are in PEM format and that key and certificate belong together`,
      { cause },
    );
  }
}

/** OpenSSL's errors about a server's certificate, and what to do. */
const SERVER_FAULTS: Readonly<Record<string, (host: string) => string>> = {
  CERT_HAS_EXPIRED: () => "has expired: renew it on the server, and restart libvirtd there",
  CERT_NOT_YET_VALID: () => "is not valid yet: check both clocks",
  CERT_REVOKED: () => "was revoked by its CA",
  CRL_HAS_EXPIRED: () => "cannot be checked: the list of revoked certificates (cacrl.pem) has expired; get a newer one",
  UNABLE_TO_GET_CRL: () => "cannot be checked: cacrl.pem is not of the CA that issued it",
  ERR_TLS_CERT_ALTNAME_INVALID: (host) =>
    `is not for ${host}: use a name in the URI that it has, or have it issued with ${host} among its alternative names`,
};

/** OpenSSL's other errors about a server's certificate: its chain does not end at a trusted CA. */
const UNTRUSTED = /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|INVALID_)/;

function handshakeError(uri: LibvirtUri, address: Address, cause: unknown): VirstreamError {
  const { code = "", message: whole, reason } = cause as NodeJS.ErrnoException & { reason?: string };
  // OpenSSL's messages contain locations in OpenSSL's source code. `reason` is the plain text.
  const message = reason ?? whole.trim();
  const fault =
    SERVER_FAULTS[code]?.(address.host) ??
    (UNTRUSTED.test(code)
      ? `was not issued by a CA of cacert.pem, or not for a server (${message}): get the server's cacert.pem`
      : undefined);
  if (fault !== undefined) {
    return new VirstreamError(
      "unauthenticated",
      `the certificate of ${address.text} ${fault}. To go on without knowing who answers: no_verify=1`,
      { cause },
    );
  }
  if (code.startsWith("ERR_SSL_")) {
    return new VirstreamError(
      "protocol-error",
      `${address.text} does not speak TLS 1.2 or 1.3 (${message}): check that it is libvirtd's tls_port; ` +
        `an unencrypted port is reached by ${uri.driver}+tcp:`,
      { cause },
    );
  }
  return broken(address, cause);
}

/** True if the other side refused the certificate by a TLS alert, as a proxy or a later version of libvirtd may do. */
function isRefusal(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return /^ERR_SSL_.*ALERT_(.*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/.test(code);
}

function refused(address: Address, credentials: Credentials, cause?: unknown): VirstreamError {
  return new VirstreamError(
    "unauthenticated",
    `libvirtd at ${address.text} refused the client's certificate. ${doubtsAbout(credentials)}.`,
    { cause },
  );
}

function broken(address: Address, cause: unknown): VirstreamError {
  return new VirstreamError(
    "connection-lost",
    `the connection to ${address.text} broke while it was being opened (${(cause as Error).message}): try again; if it ` +
      "always does, see libvirtd's log, and whether this is libvirtd's tls_port",
    { cause },
  );
}
