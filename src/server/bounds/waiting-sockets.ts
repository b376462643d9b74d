import type { Duplex } from "node:stream";

/**
 * The sockets whose clients have not been greeted: they have sent no request yet, no hello, or they were refused. Anybody who
 * reaches the port can open them, so they do not count as clients. When there are too many, a new one replaces the oldest: a
 * client with a right token is greeted sooner than that.
 */
export class WaitingSockets {
  readonly #most: number;
  /** The oldest first. */
  readonly #sockets = new Set<Duplex>();

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#sockets.size;
  }

  /** A socket that is among them already keeps its place. */
  add(socket: Duplex): void {
    if (this.#sockets.has(socket)) return;
    for (const oldest of this.#sockets) {
      if (this.#sockets.size < this.#most) break;
      this.delete(oldest);
      oldest.destroy();
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.delete(socket));
  }

  /** It belongs to a client now, or is closed. */
  delete(socket: Duplex): void {
    this.#sockets.delete(socket);
  }

  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}
