import type { OpenSocket, Socket } from "./socket.ts";

/** Opens WebSockets where they are built in: in browsers, workers, and Node from 22 on. */
export const openBrowserSocket: OpenSocket = (url, subprotocol) => {
  const socket = new WebSocket(url, subprotocol);
  socket.binaryType = "arraybuffer";
  return socket as unknown as Socket;
};
