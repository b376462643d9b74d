import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** The responses of each connection that are not complete. A WebSocket that opens beside one would have its bytes among its frames. */
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
