import { WebSocket } from "ws";
import { LIMITS } from "../../wire/protocol.ts";
import type { OpenSocket, Socket } from "./socket.ts";

/**
 * Opens WebSockets in Node: without compression, which costs far more than it saves, and with the protocol's limits. Each
 * message has an event-loop turn of its own, as in browsers: otherwise ws gives out all messages of one read at once, and a
 * watch's consumers, which run between messages, would fall behind in a burst after a resume.
 */
export const openNodeSocket: OpenSocket = (url, subprotocol) => {
  const socket = new WebSocket(url, subprotocol, {
    perMessageDeflate: false,
    allowSynchronousEvents: false,
    maxPayload: LIMITS.message,
    handshakeTimeout: 10_000,
  });
  socket.binaryType = "nodebuffer";
  return socket as unknown as Socket;
};
