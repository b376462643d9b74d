import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../wire/protocol.ts";

/**
 * The profile of the protocol that this client speaks. The other profile uses JSON, for clients that are only a few
 * lines of code.
 */
export const SUBPROTOCOL = SUBPROTOCOLS[0];

/** For each close code of the server: the error code, what happened, and what to do. */
const CLOSED: Record<number, readonly [code: ErrorCode, meaning: string, advice?: string]> = {
  [CLOSE_CODES.normal]: ["connection-lost", "it ended the connection"],
  [CLOSE_CODES["going-away"]]: ["server-shutdown", "it ended the connection"],
  1006: ["connection-lost", "the connection broke"],
  [CLOSE_CODES["too-big"]]: ["message-too-big", "our message was too big for it", ": name fewer domains at once"],
  [CLOSE_CODES["bad-message"]]: ["protocol-error", "it did not understand us"],
  [CLOSE_CODES.unauthenticated]: [
    "unauthenticated",
    "it refused us",
    ": a valid one goes into the option token of connect()",
  ],
  [CLOSE_CODES["wrong-subprotocol"]]: ["wrong-subprotocol", "it does not speak our protocol"],
  [CLOSE_CODES["hello-timeout"]]: ["connection-lost", "our hello came late"],
  [CLOSE_CODES["duplicate-id"]]: ["protocol-error", "an id was in use"],
  [CLOSE_CODES["logged-out"]]: ["connection-lost", "it logged us out"],
  [CLOSE_CODES["server-error"]]: ["internal", "it failed"],
  [CLOSE_CODES.overloaded]: ["limit-exceeded", "it has too many clients"],
};

/** What may help when a WebSocket did not open, for the error's message. Browsers do not tell a page the cause. */
const BROWSER_CAUSES =
  'browsers do not say why. Start a server there ("virstream serve --listen HOST:PORT"), admit this page by its option origins, ' +
  "and allow it in the page's Content-Security-Policy (connect-src). With wss:, open it with https: to see its certificate";

/** The error of a socket that could not be opened, for an unknown reason. */
export function unexplainedError(url: string): VirstreamError {
  return new VirstreamError("connection-lost", `no connection to ${url}: ${BROWSER_CAUSES}`);
}

/** The error for a server that does not accept our subprotocol. */
export function wrongSubprotocol(url: string, cause?: unknown): VirstreamError {
  const message = `${url} does not speak ${SUBPROTOCOL}: is it a virstream server?`;
  return new VirstreamError("wrong-subprotocol", message, { cause });
}

/** The error for a server that sends nothing any more. */
export function silenceError(url: string, silentMs: number): VirstreamError {
  return new VirstreamError("connection-lost", `${url} has been silent for ${Math.round(silentMs / 1000)} s`);
}

/** The error for a close code. An unknown code means `connection-lost`. */
export function closeError(url: string, code: number, reason: string): VirstreamError {
  const [error, meaning, advice = ""] = CLOSED[code] ?? ["connection-lost", `it closed with code ${code}`];
  // If the server's reason has its own advice after a colon, the advice from CLOSED is left out.
  return new VirstreamError(
    error,
    `${url}: ${meaning}${reason && ` (${reason})`}${reason.includes(": ") ? "" : advice}`,
  );
}
