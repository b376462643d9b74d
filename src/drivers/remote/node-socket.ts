import { WebSocket } from "ws";
import { LIMITS } from "../../wire/protocol.ts";
import { explain } from "./node-failure.ts";
import type { OpenSocket, Socket } from "./socket.ts";

/**
 * Opens WebSockets in Node: without compression, which costs far more than it saves, and with the protocol's limits. Each
 * message has its own turn of the event loop, as in browsers. Otherwise ws would emit all messages of one read in a row. A
 * watch's consumers run between messages, so they would fall behind in a burst after a resume.
 */
export const openNodeSocket: OpenSocket = (url, subprotocol, ca) => {
  const socket = new WebSocket(url, subprotocol, {
    perMessageDeflate: false,
    allowSynchronousEvents: false,
    maxPayload: LIMITS.message,
    ...(ca !== undefined && { ca }),
  });
  socket.binaryType = "nodebuffer";
  return Object.assign(socket as unknown as Socket, { explain });
};
