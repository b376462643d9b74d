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
  if (/subprotocol|server response: 400/i.test(message)) {
    return wrongSubprotocol(url, cause);
  }
  const status = /server response: (\d+)/i.exec(message)?.[1];
  if (status === "401") return failure("unauthenticated", `${url} needs a token`);
  if (status === "403") return failure("denied", `${url} does not admit this origin`);
  if (status !== undefined) {
    return failure("connection-refused", `${url} answers with HTTP status ${status}, not as a WebSocket`);
  }
  return failure("connection-lost", `no connection to ${url}${message && `: ${message}`}`);
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
