import { type ClientOptions, WebSocket } from "ws";
import { VirstreamError } from "../../model/error.ts";
import { checkOptions, FLAG, type Kind, type Members, OBJECT } from "../../model/options.ts";
import { LIMITS } from "../../wire/protocol.ts";
import { explain } from "./node-failure.ts";
import type { OpenSocket, Socket } from "./socket.ts";

const PEM: Kind = [
  "a string or bytes, in PEM",
  (value) => typeof value === "string" || value instanceof Uint8Array,
  true,
];
const SOCKET_MEMBERS = {
  // Errors do not quote the headers, because they may contain secrets.
  headers: [OBJECT[0], OBJECT[1], true],
  ca: PEM,
  cert: PEM,
  key: PEM,
  rejectUnauthorized: FLAG,
  agent: OBJECT,
} satisfies Members;

/**
 * Opens WebSockets in Node, with the protocol's limits and without compression, which costs far more than it saves.
 * Each message has its own turn of the event loop, as in browsers. Otherwise ws would emit all messages of one read in
 * a row. A watch's consumers run only between turns, so they would fall behind in the burst of messages after a watch
 * resumes.
 */
export const openNodeSocket: OpenSocket = (url, subprotocol, options) => {
  checkOptions("connect's options object", options, SOCKET_MEMBERS);
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  let socket: WebSocket;
  try {
    socket = new WebSocket(url, subprotocol, {
      ...(Object.fromEntries(given) as ClientOptions),
      perMessageDeflate: false,
      allowSynchronousEvents: false,
      maxPayload: LIMITS.message,
    });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new VirstreamError("invalid-argument", `an option for the socket to ${url} is not valid: ${why}`, { cause });
  }
  socket.binaryType = "nodebuffer";
  return Object.assign(socket as unknown as Socket, { explain });
};
