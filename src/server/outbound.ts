import type { WebSocket } from "ws";
import type { WireMessage } from "../wire/message-encoder.ts";

/** What a server has sent. */
export interface TrafficMetrics {
  messages: number;
  /** Of messages, without the heads that WebSocket gives them; of text, characters. */
  bytes: number;
}

/**
 * The sending side of one socket. `ws` queues without bound, and says so only by `bufferedAmount`; this is the bound:
 * above the mark the sweeps and watches of this socket stop producing, and when it has taken enough they are woken.
 */
export class Outbound {
  readonly #socket: WebSocket;
  readonly #mark: number;
  readonly #metrics: TrafficMetrics;
  readonly #waiting = new Set<() => void>();
  /** Bytes that may wait at most, before it is flooded. */
  #most: number;

  /** @param mark bytes that may wait in the socket */
  constructor(socket: WebSocket, mark: number, metrics: TrafficMetrics) {
    this.#socket = socket;
    this.#mark = mark;
    this.#metrics = metrics;
    this.#most = 2 * mark;
  }

  /** Whether sweeps and watches may send: there is room, and the socket is not on its way to its end. */
  get writable(): boolean {
    return this.#isOpen && this.#socket.bufferedAmount <= this.#mark;
  }

  /** Whether answers pile up that wait for no room, such as refusals: the client asks on and on, and does not read them. */
  get flooded(): boolean {
    return this.#socket.bufferedAmount > this.#most;
  }

  /** Sends, or drops what comes after the socket's end has begun: nobody would hear it. */
  send(messages: readonly WireMessage[]): void {
    if (!this.#isOpen) return;
    const { writable } = this;
    for (const message of messages) {
      this.#metrics.messages++;
      this.#metrics.bytes += message.length;
      this.#socket.send(message, this.#sent);
    }
    // What there was room for may be of any size: a large record is sent whole.
    if (writable) this.#most = this.#socket.bufferedAmount + this.#mark;
  }

  /** Calls back whenever the socket may have become writable, until the returned function is called. */
  onWritable(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  get #isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  readonly #sent = (): void => {
    if (this.#waiting.size === 0 || !this.writable) return;
    for (const wake of [...this.#waiting]) wake();
  };
}
