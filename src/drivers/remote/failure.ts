import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../wire/protocol.ts";

/** The profile that this client speaks; the other one, in JSON, is for clients of a few lines. */
export const SUBPROTOCOL = SUBPROTOCOLS[0];

/** The error code and message for each close code of the server. */
const CLOSED: Record<number, readonly [code: ErrorCode, meaning: string]> = {
  [CLOSE_CODES.normal]: ["connection-lost", "it ended the connection"],
  [CLOSE_CODES["going-away"]]: ["server-shutdown", "it ended the connection"],
  1006: ["connection-lost", "the connection broke"],
  [CLOSE_CODES["too-big"]]: ["message-too-big", "our message was too big for it; name fewer domains at once"],
  [CLOSE_CODES["bad-message"]]: ["protocol-error", "it did not understand us; are both of a version that fits?"],
  [CLOSE_CODES.unauthenticated]: [
    "unauthenticated",
    "it needs its token: give it with --token-file FILE, $VIRSTREAM_TOKEN, or the option token",
  ],
  [CLOSE_CODES["wrong-subprotocol"]]: ["wrong-subprotocol", "it does not speak our protocol"],
  [CLOSE_CODES["hello-timeout"]]: ["connection-lost", "our hello did not reach it in time"],
  [CLOSE_CODES["duplicate-id"]]: ["protocol-error", "two of our sweeps had one id"],
  [CLOSE_CODES["server-error"]]: ["internal", "it failed"],
  [CLOSE_CODES.overloaded]: ["limit-exceeded", "it has too many clients"],
};

/** Node's codes for a certificate of the server that is not accepted, and what to do. */
const CERTIFICATE_FAULTS: readonly (readonly [codes: RegExp, fault: string])[] = [
  [/^CERT_HAS_EXPIRED$/, "has expired: renew it on the server"],
  [/^CERT_NOT_YET_VALID$/, "is not valid yet: check both clocks"],
  [/^(ERR_TLS_CERT_ALTNAME_INVALID|HOSTNAME_MISMATCH)$/, "is for another name: use a host name that it has"],
  [
    /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|INVALID_)/,
    "is not of an authority that is trusted here: pass the authority's certificate with the option ca, or start Node with NODE_EXTRA_CA_CERTS=FILE",
  ],
];

/** Browsers tell a page nothing about a WebSocket that did not open. */
const BROWSER_CAUSES =
  'browsers do not say why. Perhaps nothing listens there (start a server with "virstream serve --listen HOST:PORT"), ' +
  "the server does not admit this page (start it with --origin and the page's origin), " +
  "or the page's Content-Security-Policy forbids it (add the address to connect-src). " +
  "With wss:, open the address with https: to see whether the browser trusts its certificate";

/** The error of a socket that could not be opened. Node gives the reason; browsers do not. */
export function openingError(
  url: string,
  { message = "", error: cause }: { message?: string; error?: unknown },
): VirstreamError {
  const failure = (code: ErrorCode, text: string) => new VirstreamError(code, text, { cause });
  const system = (cause as { code?: string } | undefined)?.code;
  if (system === "ECONNREFUSED") {
    const advice = `start a server there with "virstream serve --listen HOST:PORT"`;
    return failure("connection-refused", `nothing listens at ${url}${portHint(url)}: ${advice}`);
  }
  if (system === "ENOTFOUND" || system === "EAI_AGAIN") {
    return failure("connection-refused", `the name in ${url} leads to no host`);
  }
  const certificate = CERTIFICATE_FAULTS.find(([codes]) => system !== undefined && codes.test(system));
  if (certificate !== undefined) {
    return failure("unauthenticated", `the certificate of ${url} ${certificate[1]} (${message})`);
  }
  if (/subprotocol/i.test(message)) return wrongSubprotocol(url, cause);
  const status = /server response: (\d+)/i.exec(message)?.[1];
  if (status === "401") return failure("unauthenticated", `${url} needs a token`);
  if (status === "403") {
    const advice = "if it is a virstream server, start it with --origin and the client's origin";
    return failure("denied", `${url} does not admit this client (HTTP status 403): ${advice}`);
  }
  if (status !== undefined) {
    const advice = `is it a virstream server that speaks ${SUBPROTOCOL}, or a proxy whose server is down?`;
    return failure("connection-refused", `${url} answers with HTTP status ${status}, not as a WebSocket: ${advice}`);
  }
  return failure("connection-lost", `no connection to ${url}: ${message || BROWSER_CAUSES}`);
}

/** The error for a server that does not accept our subprotocol. */
export function wrongSubprotocol(url: string, cause?: unknown): VirstreamError {
  const message = `${url} does not speak ${SUBPROTOCOL}: is it a virstream server?`;
  return new VirstreamError("wrong-subprotocol", message, { cause });
}

/** The error of an open connection that broke: a violation of the WebSocket protocol or of our limits, or the network. */
export function brokenError(url: string, event: { message?: string; error?: unknown }): VirstreamError {
  const cause = event.error;
  const violation = (cause as { code?: string } | undefined)?.code?.startsWith("WS_ERR_");
  const code = violation ? "protocol-error" : "connection-lost";
  return new VirstreamError(code, `${url}: ${event.message ?? "it broke"}`, { cause });
}

/** The error for a close code. An unknown code means `connection-lost`. */
export function closeError(url: string, code: number, reason: string): VirstreamError {
  const [error, meaning] = CLOSED[code] ?? ["connection-lost", `it closed with code ${code}`];
  return new VirstreamError(error, `${url}: ${meaning}${reason && ` (${reason})`}`);
}

/** A hint for URLs without a port: their default port is seldom the server's port. */
function portHint(url: string): string {
  const { port, protocol } = new URL(url);
  return port === "" ? ` (port ${protocol === "wss:" ? 443 : 80}; servers listen on 16580 by default)` : "";
}
