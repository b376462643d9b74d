import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/**
 * The incomplete HTTP responses of each connection. While a connection has an incomplete response, the server opens no
 * WebSocket on it, because the bytes of the response would mix with the frames of the WebSocket.
 */
export class OpenAnswers {
  readonly #answers = new WeakMap<Duplex, ServerResponse[]>();

  add(socket: Duplex, response: ServerResponse): void {
    this.#answers.set(socket, [...this.#of(socket), response]);
  }

  has(socket: Duplex): boolean {
    return this.#of(socket).length > 0;
  }

  #of(socket: Duplex): ServerResponse[] {
    return (this.#answers.get(socket) ?? []).filter(({ writableEnded }) => !writableEnded);
  }
}
