import type { WebSocket } from "ws";
import type { WireMessage } from "../wire/message-encoder.ts";

/**
 * The sending side of one socket. `ws` queues without bound, and says so only by `bufferedAmount`; this is the bound:
 * above the mark the sweeps of this socket stop producing, and when the socket has taken enough they are woken.
 */
export class Outbound {
  readonly #socket: WebSocket;
  readonly #mark: number;
  readonly #waiting = new Set<() => void>();

  /** @param mark bytes that may wait in the socket */
  constructor(socket: WebSocket, mark: number) {
    this.#socket = socket;
    this.#mark = mark;
  }

  /** Whether sweeps may send. */
  get writable(): boolean {
    return this.#socket.bufferedAmount <= this.#mark;
  }

  send(messages: readonly WireMessage[]): void {
    for (const message of messages) this.#socket.send(message, this.#sent);
  }

  /** Calls back whenever the socket may have become writable, until the returned function is called. */
  onWritable(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  readonly #sent = (): void => {
    if (this.#waiting.size === 0 || !this.writable) return;
    for (const wake of [...this.#waiting]) wake();
  };
}
