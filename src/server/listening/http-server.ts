import { createServer as createHttpServer, type Server as HttpServer, type RequestListener } from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContextOptions, type TLSSocket } from "node:tls";
import { invalid, quote } from "../../model/error.ts";
import { checkOptions, type Members } from "../../model/options.ts";
import type { Peer } from "../bounds/client-address.ts";
import type { WaitingSockets } from "../bounds/waiting-sockets.ts";

/** The time between two of Node's checks for connections whose request is late, in ms. */
const REQUEST_CHECK_MS = 1_000;

/** The certificate of a server, and the authorities for its clients' certificates. All in PEM. */
export interface TlsOptions {
  /** The server's certificate, followed by the intermediate certificates. */
  readonly cert: string | Uint8Array;
  /** The private key of `cert`. */
  readonly key: string | Uint8Array;
  /**
   * The authorities that sign the clients' certificates. The server refuses a client without such a certificate.
   * Default: none.
   */
  readonly clientCa?: string | Uint8Array;
}

/** What error messages call the members of TlsOptions. */
type TlsNames = Readonly<Record<keyof TlsOptions, string>>;
const TLS_NAMES: TlsNames = {
  cert: "the certificate of tls",
  key: "the key of tls",
  clientCa: "clientCa of tls",
};
const NO_PEM = "it has nothing in PEM";

const TLS_MEMBERS = { cert: undefined, key: undefined, clientCa: undefined } satisfies Members;

/** An HTTP or HTTPS server that does not listen yet. */
export type ListeningServer = HttpServer | HttpsServer;

/**
 * Makes an HTTP server, or with `tls` an HTTPS server. It does not listen yet.
 *
 * @param timeoutMs how long a client may take for its TLS handshake, and then for each request, in ms
 * @throws VirstreamError `invalid-argument` for a certificate or key that is not valid
 */
export function createListeningServer(
  tls: TlsOptions | undefined,
  timeoutMs: number,
  onRequest: RequestListener,
): ListeningServer {
  const timeouts = {
    headersTimeout: timeoutMs,
    requestTimeout: timeoutMs,
    keepAliveTimeout: timeoutMs,
    connectionsCheckingInterval: REQUEST_CHECK_MS,
  };
  if (tls === undefined) return createHttpServer(timeouts, onRequest);
  const context = secureContextOf(tls);
  return createHttpsServer({ ...timeouts, ...context, handshakeTimeout: timeoutMs }, onRequest);
}

/** Why the server ends a TLS handshake, by the code of Node's error. */
const HANDSHAKE_FAULTS: Readonly<Record<string, string>> = {
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "it shows no certificate, and this server asks each client for one",
  ERR_SSL_HTTP_REQUEST: "it speaks HTTP without TLS at a port with TLS: use https: or wss:",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS",
  ERR_TLS_HANDSHAKE_TIMEOUT: "no TLS handshake in time",
};

/**
 * Adds each new socket to the waiting sockets. With TLS, the TLS socket replaces the TCP socket when the handshake is
 * done.
 *
 * @param onRefused called with the reason when the server refuses a client during its TLS handshake
 */
export function followSockets(
  server: ListeningServer,
  waiting: WaitingSockets,
  onRefused: (peer: Peer, why: string) => void,
): void {
  /**
   * The TCP sockets whose TLS handshakes are under way, by their addresses. A closed socket stays here for a moment.
   */
  const handshakes = new Map<string, Socket>();
  const keyOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  server.on("connection", (socket: Socket) => {
    waiting.add(socket, { socket });
    if (!("setSecureContext" in server)) return;
    const key = keyOf(socket);
    handshakes.set(key, socket);
    // Node reports some failed handshakes only after the socket is closed, so the socket stays in the map until then.
    socket.once("close", () => setImmediate(() => handshakes.get(key) === socket && handshakes.delete(key)));
  });
  server.on("secureConnection", (socket: Socket) => {
    const carrier = handshakes.get(keyOf(socket));
    if (carrier !== undefined) waiting.delete(carrier);
    handshakes.delete(keyOf(socket));
    waiting.add(socket, { socket });
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, { remoteAddress, authorizationError }: TLSSocket) => {
    const why = handshakeFault(error, authorizationError);
    if (why === undefined) return;
    // A TLS socket that is already closed has lost its address. If only one TCP socket was closed during its handshake,
    // the address is that socket's.
    const [carrier, other] =
      remoteAddress === undefined ? [...handshakes.values()].filter(({ destroyed }) => destroyed) : [];
    const known = remoteAddress ?? (other === undefined ? carrier?.remoteAddress : undefined);
    onRefused({ socket: { remoteAddress: known ?? "an unknown address" } }, why);
  });
}

/** Why the server refuses a client during its handshake; undefined if the client itself has ended the handshake. */
function handshakeFault(
  { code = "", reason }: NodeJS.ErrnoException & { readonly reason?: string },
  authorizationError: Error | string | null | undefined,
): string | undefined {
  // `authorizationError` is an error code, although its type says otherwise.
  if (authorizationError)
    return `its certificate is not of an authority that this server trusts (${authorizationError})`;
  if (HANDSHAKE_FAULTS[code] !== undefined) return HANDSHAKE_FAULTS[code];
  return code.startsWith("ERR_SSL_") && !code.includes("ALERT") ? `the TLS handshake failed: ${reason}` : undefined;
}

/**
 * Replaces the certificates of an HTTPS server. Open connections keep the old ones.
 *
 * @throws VirstreamError `invalid-argument`; the server then keeps the certificates that it has
 */
export function renewCertificates(server: ListeningServer, tls: TlsOptions): void {
  if (!("setSecureContext" in server)) throw invalid("the server was started without the option tls");
  server.setSecureContext(secureContextOf(tls));
}

/**
 * @param names what error messages call each member of `tls`
 * @throws VirstreamError `invalid-argument` for a certificate or key that is not valid
 */
export function checkTls(tls: TlsOptions, names: TlsNames = TLS_NAMES): void {
  secureContextOf(tls, names);
}

function secureContextOf(
  tls: TlsOptions,
  names: TlsNames = TLS_NAMES,
): SecureContextOptions & { requestCert: boolean; rejectUnauthorized: boolean } {
  checkOptions("tls", tls, TLS_MEMBERS);
  const { cert, key, clientCa } = tls;
  for (const [member, value] of Object.entries({ cert, key })) {
    if (typeof value !== "string" && !(value instanceof Uint8Array)) {
      throw invalid(`tls.${member} must be a string or bytes, in PEM, not ${quote(typeof value)}`);
    }
  }
  const asks = clientCa !== undefined;
  const options = {
    cert: Buffer.from(cert),
    key: Buffer.from(key),
    ...(asks && { ca: Buffer.from(clientCa) }),
    minVersion: "TLSv1.2" as const,
    requestCert: asks,
    rejectUnauthorized: asks,
  };
  const whole = faultOf(options, `${names.cert} or ${names.key}`);
  // `whole` does not say whether the certificate or the key is not valid.
  const single = whole && (faultOf({ cert: options.cert }, names.cert) ?? faultOf({ key: options.key }, names.key));
  // Node accepts a `clientCa` that is not in PEM, and then trusts no authority. So this function checks it.
  const hasAuthority = !asks || String(options.ca).includes("-----BEGIN ");
  const fault = single ?? (hasAuthority ? whole : `${names.clientCa} is not valid: ${NO_PEM}`);
  if (fault !== undefined) throw invalid(fault);
  return options;
}

function faultOf(options: SecureContextOptions, name: string): string | undefined {
  try {
    createSecureContext(options);
    return undefined;
  } catch (cause) {
    // OpenSSL's texts contain no secrets, so the error may show them.
    const message = cause instanceof Error ? cause.message : String(cause);
    const why = /no start line|DECODER routines::unsupported/.test(message) ? NO_PEM : message;
    return `${name} is not valid: ${why.includes("key values mismatch") ? "the key is that of another certificate" : why}`;
  }
}
