import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { WebSocket, WebSocketServer } from "ws";

/** The high-water mark of a peer's socket in bytes, as in virstream's server. */
export const HIGH_WATER = 1_048_576;

/**
 * Serves a peer of the benchmarks over the WebSocket library that virstream uses, without compression. Returns the
 * port.
 */
export async function listenPlain(onConnection: (socket: WebSocket) => void): Promise<number> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: false });
  server.on("connection", onConnection);
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Connects to a peer that listenPlain() serves. */
export async function connectPlain(port: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { perMessageDeflate: false });
  await once(socket, "open");
  return socket;
}
