import { isIP } from "node:net";
import { createSecureContext, type SecureContext, type TLSSocket, connect as tlsConnect } from "node:tls";
import { VirstreamError } from "../../../model/error.ts";
import { type Credentials, doubtsAbout, type PkiPlace, readCredentials } from "./certificates.ts";
import { awaitGreeting } from "./greeting.ts";
import { flag } from "./parameters.ts";
import { type Address, addressOf, reached, TCP_KEEPALIVE_MS, unreachable } from "./tcp.ts";
import type { LibvirtUri } from "./uri.ts";

const PORT = 16_514;

/** What libvirtd says when it has looked at the client's certificate and is content: the first byte inside TLS. */
const WELCOME = 1;

/**
 * Connects over TLS, and waits for libvirtd's word on this side's certificate.
 *
 * With TLS 1.3 the client's half of the handshake is over before the server has looked at the client's certificate; and
 * libvirtd looks at it after the handshake with any version. So the refusal of a certificate is that the stream ends where
 * the welcome should stand. A line that breaks there, with a reset, is another thing, and may be tried again.
 *
 * Rejects with `unauthenticated` when either end's certificate will not do, `connection-refused` or `connect-timeout` when
 * nobody can be reached, `protocol-error` when what answers is no libvirtd, `connection-lost`, or the signal's reason.
 */
export async function openTls(uri: LibvirtUri, signal: AbortSignal, place?: PkiPlace): Promise<TLSSocket> {
  const address = addressOf(uri, PORT);
  const credentials = await readCredentials(uri, place);
  const secureContext = createContext(credentials);
  signal.throwIfAborted();
  const socket = tlsConnect({
    host: address.host,
    port: address.port,
    // A server's name, not an address, may be asked for: RFC 6066.
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    secureContext,
    rejectUnauthorized: !flag(uri, "no_verify"),
  });
  socket.setNoDelay(true);
  socket.setKeepAlive(true, TCP_KEEPALIVE_MS);
  // Whoever waits listens for itself; this one stops an error between two waits from ending the process.
  socket.on("error", () => {});
  let connected = false;
  socket.once("connect", () => {
    connected = true;
  });
  try {
    await reached(socket, "secureConnect", signal);
  } catch (error) {
    signal.throwIfAborted();
    throw connected
      ? handshakeError(uri, address, credentials, error)
      : unreachable(address, error, listenAdvice(uri, address));
  }
  await awaitWelcome(socket, uri, address, credentials, signal);
  writeSingly(socket);
  return socket;
}

/**
 * Lets every write be a TLS record of its own. Of a record that has several messages libvirtd (9.0) reads the first; the
 * others lie decrypted in its library, where no poll sees them, until something else arrives: at its own keepalive, every
 * 5 s. Writes that were gathered, by cork or while another was under way, would be one record.
 */
function writeSingly(socket: TLSSocket): void {
  Object.assign(socket, { cork: () => {}, uncork: () => {}, _writev: undefined });
}

function createContext({ ca, crl, client }: Credentials): SecureContext {
  try {
    return createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(crl === undefined ? {} : { crl }),
      ...(client === undefined ? {} : { cert: client.certificate, key: client.key }),
      // As in libvirt: what stands in the CA's file is trusted, be it a root or not.
      allowPartialTrustChain: true,
      minVersion: "TLSv1.2",
    });
  } catch (cause) {
    const why = (cause as Error).message;
    const files = client === undefined ? "the CA's file" : `${client.certificatePath} and ${client.keyPath}`;
    throw new VirstreamError(
      "unauthenticated",
      `the certificates cannot be used (${why}): see whether ${files} are in PEM format and whether key and certificate belong together`,
      { cause },
    );
  }
}

async function awaitWelcome(
  socket: TLSSocket,
  uri: LibvirtUri,
  address: Address,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<void> {
  try {
    const greeted = await awaitGreeting(
      socket,
      (bytes) => {
        if (bytes[0] === WELCOME) return 1;
        throw new VirstreamError(
          "protocol-error",
          `${address.text} speaks TLS, but is no libvirt daemon: its first byte is ${bytes[0]}. Correct the address in ${uri.uri}`,
        );
      },
      signal,
    );
    if (!greeted) throw refused(address, credentials);
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    if (error instanceof VirstreamError) throw error;
    throw isRefusal(error) ? refused(address, credentials, error) : broken(address, error);
  }
}

/** What OpenSSL's verification says of a server's certificate, and what to do about it. */
const SERVER_FAULTS: Readonly<Record<string, (host: string) => string>> = {
  CERT_HAS_EXPIRED: () => "has expired: renew it on the server, and restart libvirtd there",
  CERT_NOT_YET_VALID: () => "is not valid yet: see whether both clocks are right",
  CERT_REVOKED: () => "was revoked by its CA",
  CRL_HAS_EXPIRED: () => "cannot be checked: the list of revoked certificates (cacrl.pem) has expired; get a newer one",
  UNABLE_TO_GET_CRL: () => "cannot be checked: cacrl.pem is not of the CA that issued it",
  ERR_TLS_CERT_ALTNAME_INVALID: (host) =>
    `is not for ${host}: use a name in the URI that it has, or have it issued with ${host} among its alternative names`,
};

const UNKNOWN_ISSUER = new Set([
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "CERT_REJECTED",
  "INVALID_CA",
  "INVALID_PURPOSE",
]);

function handshakeError(uri: LibvirtUri, address: Address, credentials: Credentials, cause: unknown): VirstreamError {
  const { code = "", message: whole, reason } = cause as NodeJS.ErrnoException & { reason?: string };
  // OpenSSL's messages have its source lines in them; the reason is what they say.
  const message = reason ?? whole.trim();
  const fault =
    SERVER_FAULTS[code]?.(address.host) ??
    (UNKNOWN_ISSUER.has(code)
      ? `was not issued by a CA of cacert.pem, or not for a server (${message}): get the server's cacert.pem`
      : undefined);
  if (fault !== undefined) {
    return new VirstreamError(
      "unauthenticated",
      `the certificate of ${address.text} ${fault}. To go on without knowing who answers: no_verify=1`,
      { cause },
    );
  }
  if (isRefusal(cause)) return refused(address, credentials, cause);
  if (code.startsWith("ERR_SSL_")) {
    return new VirstreamError(
      "protocol-error",
      `${address.text} does not speak TLS 1.2 or 1.3 (${message}): see whether it is libvirtd's tls_port; ` +
        `an unencrypted port is reached by ${uri.driver}+tcp:`,
      { cause },
    );
  }
  return broken(address, cause);
}

/** Whether the other end said by TLS that it is not content with the certificate: a later libvirtd may, or a proxy. */
function isRefusal(error: unknown): boolean {
  const { code = "" } = error as NodeJS.ErrnoException;
  return /^ERR_SSL_.*ALERT_(.*CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)/.test(code);
}

function refused(address: Address, credentials: Credentials, cause?: unknown): VirstreamError {
  return new VirstreamError(
    "unauthenticated",
    `libvirtd at ${address.text} refused this side's certificate. ${doubtsAbout(credentials)}.`,
    cause === undefined ? {} : { cause },
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

function listenAdvice(uri: LibvirtUri, { port, host }: Address): string {
  return (
    `on ${host}, libvirtd needs a certificate, listen_tls = 1 (and tls_port, if not ${PORT}) in libvirtd.conf and systemctl ` +
    `start libvirtd-tls.socket; is port ${port} right? With no certificates: ${uri.driver}+ssh://${host}${uri.path}`
  );
}
