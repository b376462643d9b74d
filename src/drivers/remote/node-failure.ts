import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import { SUBPROTOCOL, wrongSubprotocol } from "./failure.ts";
import type { SocketFailure } from "./socket.ts";

/** Node's codes for a server's certificate that is not accepted, and what to do. */
const CERTIFICATE_FAULTS: readonly (readonly [codes: RegExp, fault: string])[] = [
  [/^CERT_HAS_EXPIRED$/, "has expired: renew it on the server"],
  [/^CERT_NOT_YET_VALID$/, "is not valid yet: check both clocks"],
  [/^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/, "is for another name: use a host name that it has"],
  [
    /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|INVALID_)/,
    "is not of an authority that is trusted here: pass the authority's certificate with the option ca, or start Node with NODE_EXTRA_CA_CERTS=FILE",
  ],
];

const START = `start a server there with "virstream serve --listen unix:PATH"`;

/** Why a socket file cannot be opened, by Node's codes. */
const SOCKET_FILE_FAULTS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  ENOENT: ["socket-missing", `there is no such socket: ${START}`],
  ENOTDIR: ["socket-missing", `there is no such socket: ${START}`],
  ECONNREFUSED: ["connection-refused", `a server that has ended left this socket behind: ${START}`],
  EACCES: ["socket-denied", "this user has no permission for it: join the group of the socket"],
  EPERM: ["socket-denied", "this user has no permission for it: join the group of the socket"],
  ENOTSOCK: ["connection-refused", "that file is not a socket"],
};

/** The error of a socket that could not be opened; if the socket was `opened`, the error of a connection that broke. */
export function explain(url: string, failure: SocketFailure, opened: boolean): VirstreamError {
  return opened ? brokenError(url, failure) : openingError(url, failure);
}

/** The error of a socket that could not be opened, from the reason that Node gives. */
function openingError(url: string, { message = "", error: cause }: SocketFailure): VirstreamError {
  const failure = (code: ErrorCode, text: string) => new VirstreamError(code, text, { cause });
  const system = (cause as { code?: string } | undefined)?.code;
  if (url.startsWith("ws+unix:")) {
    const found = SOCKET_FILE_FAULTS[system ?? ""];
    if (found !== undefined) return failure(found[0], `${url}: ${found[1]}`);
  }
  if (system === "ECONNREFUSED") {
    const advice = `start a server there with "virstream serve --listen HOST:PORT"`;
    return failure("connection-refused", `nothing listens at ${url}${portHint(url)}: ${advice}`);
  }
  if (system === "ENOTFOUND" || system === "EAI_AGAIN") {
    return failure("connection-refused", `the name in ${url} leads to no host`);
  }
  // With TLS 1.3, the server refuses the client's certificate, or a client without one, only after the client has
  // finished the TLS handshake. Node then reports the server's alert.
  if (
    system !== undefined &&
    /^ERR_SSL_.*ALERT_(.*CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE|ACCESS_DENIED)/.test(system)
  ) {
    return failure("unauthenticated", `${url} does not accept this client: pass the options cert and key (${message})`);
  }
  if (system?.startsWith("ERR_OSSL_")) {
    return failure(
      "invalid-argument",
      `the options ca, cert and key for ${url} are not valid PEM that fits (${message})`,
    );
  }
  const certificate = CERTIFICATE_FAULTS.find(([codes]) => system !== undefined && codes.test(system));
  if (certificate !== undefined) {
    return failure("unauthenticated", `the certificate of ${url} ${certificate[1]} (${message})`);
  }
  if (system !== undefined && /^(EPROTO|ERR_SSL_(WRONG_VERSION|PACKET_LENGTH))/.test(system)) {
    const advice = "use ws:, or start the server with --tls-cert and --tls-key";
    return failure("connection-refused", `what listens at ${url} does not speak TLS: ${advice}`);
  }
  if (/subprotocol/i.test(message)) return wrongSubprotocol(url, cause);
  const status = /server response: (\d+)/i.exec(message)?.[1];
  if (status === "401")
    return failure("unauthenticated", `${url} needs a token: it goes into the option token of connect()`);
  if (status === "403") {
    const advice = "if it is a virstream server, name the client's origin in the option origins";
    return failure("denied", `${url} does not admit this client (HTTP status 403): ${advice}`);
  }
  if (status !== undefined && /^30\d$/.test(status)) {
    const advice = "give the address that it redirects to; behind a proxy, a path may need a slash at its end";
    return failure("connection-refused", `${url} redirects (HTTP status ${status}): ${advice}`);
  }
  if (status !== undefined) {
    const advice = `is it a virstream server that speaks ${SUBPROTOCOL}, or a proxy whose server is down?`;
    return failure("connection-refused", `${url} answers with HTTP status ${status}, not as a WebSocket: ${advice}`);
  }
  const hint = url.startsWith("ws:") && /hang up/.test(message) ? ". If the server has a certificate, use wss:" : "";
  return failure("connection-lost", `no connection to ${url}${message && `: ${message}`}${hint}`);
}

/**
 * The error of an open connection that broke: the server violated the WebSocket protocol or our limits, or the network
 * failed.
 */
function brokenError(url: string, event: SocketFailure): VirstreamError {
  const cause = event.error;
  const violation = (cause as { code?: string } | undefined)?.code?.startsWith("WS_ERR_");
  const code = violation ? "protocol-error" : "connection-lost";
  return new VirstreamError(code, `${url}: ${event.message ?? "it broke"}`, { cause });
}

/** A hint for a URL without a port: the default port of its scheme is seldom the server's port. */
function portHint(url: string): string {
  const { port, protocol } = new URL(url);
  return port === "" ? ` (port ${protocol === "wss:" ? 443 : 80}; servers listen on 16580 by default)` : "";
}
