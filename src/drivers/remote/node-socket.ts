import { WebSocket } from "ws";
import { LIMITS } from "../../wire/protocol.ts";
import type { OpenSocket, Socket } from "./socket.ts";

/** Opens WebSockets in Node: without compression, which costs far more than it saves, and with the protocol's limits. */
export const openNodeSocket: OpenSocket = (url, subprotocol) => {
  const socket = new WebSocket(url, subprotocol, {
    perMessageDeflate: false,
    maxPayload: LIMITS.message,
    handshakeTimeout: 10_000,
  });
  socket.binaryType = "nodebuffer";
  return socket as unknown as Socket;
};
