/**
 * The part of the standard WebSocket interface that the driver uses. Browsers have it built in, and Node uses `ws`;
 * the code that registers the driver selects one.
 */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: { message?: string; error?: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Only in Node: ends the connection without waiting for the other side. */
  terminate?(): void;
}

/** Opens a WebSocket, offering one subprotocol. Binary messages must come as ArrayBuffer or Uint8Array. */
export type OpenSocket = (url: string, subprotocol: string) => Socket;

/** Opens WebSockets where they are built in: in browsers, workers, and Node from 22 on. */
export const openBrowserSocket: OpenSocket = (url, subprotocol) => {
  const socket = new WebSocket(url, subprotocol);
  socket.binaryType = "arraybuffer";
  return socket as unknown as Socket;
};
