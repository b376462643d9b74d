import type { SocketOptions } from "../../driver/driver.ts";
import { invalid, VirstreamError } from "../../model/error.ts";

/** The reason why a socket could not be opened, or broke. In browsers, `message` and `error` are missing. */
export interface SocketFailure {
  readonly message?: string;
  readonly error?: unknown;
}

/**
 * The part of the standard WebSocket interface that the driver uses. Browsers have it built in, and Node uses `ws`. The
 * code that registers the driver selects one of the two.
 */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: ((event: SocketFailure) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /**
   * Makes the error of a socket that could not be opened, or that broke. Only in Node, because browsers conceal the
   * reason.
   */
  explain?(url: string, failure: SocketFailure, opened: boolean): VirstreamError;
  /** Only in Node: ends the connection without waiting for the other side. */
  terminate?(): void;
}

/** The options of a socket; a member that is undefined was not given. */
export type GivenOptions = { readonly [Member in keyof SocketOptions]: SocketOptions[Member] | undefined };

/** Opens a WebSocket, offering one subprotocol. Binary messages must come as ArrayBuffer or Uint8Array. */
export type OpenSocket = (url: string, subprotocol: string, options: GivenOptions) => Socket;

/** Opens WebSockets where they are built in: in browsers, workers, and Node from 22 on. */
export const openBrowserSocket: OpenSocket = (url, subprotocol, options) => {
  const [option] = Object.entries(options).find(([, value]) => value !== undefined) ?? [];
  if (option !== undefined) throw invalid(`the option ${option} is for Node only`);
  if (typeof WebSocket === "undefined") {
    throw new VirstreamError("unsupported", 'this runtime has no WebSocket: import "virstream", or use Node 22');
  }
  const socket = new WebSocket(url, subprotocol);
  socket.binaryType = "arraybuffer";
  return socket as unknown as Socket;
};
