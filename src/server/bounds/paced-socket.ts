import { WebSocket } from "ws";

/** While this many bytes wait to be sent, pings are not answered: what waits already shows that this end is there. */
const UNSENT_MAX = 65_536;

/** Events that wait behind messages which came before them. */
const ORDERED: readonly unknown[] = ["message", "ping", "error", "close"];

/**
 * A client's WebSocket, which emits each message and each ping in a turn of the event loop of its own: a burst of one client delays
 * the others by one message at a time. While some wait, it does not read: all that wait came in one read. It answers pings, so
 * open it with `autoPong: false`.
 *
 * The option `allowSynchronousEvents: false` of ws promises the turns, too, and no server must use it. Where bytes wait behind
 * messages, and the first of them are an invalid frame, ws 8.23 goes on to read the others, and throws where no code can catch it.
 */
export class PacedSocket extends WebSocket {
  readonly #waiting: (readonly [event: string | symbol, args: readonly unknown[]])[] = [];
  #isHeld = false;

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const isFirst = this.#waiting.length === 0;
    const isData = event === "message" || event === "ping";
    if (!isData && (isFirst || !ORDERED.includes(event))) return super.emit(event, ...args);
    this.#waiting.push([event, args]);
    if (isFirst) {
      super.pause();
      setImmediate(this.#next);
    }
    return true;
  }

  override pause(): void {
    this.#isHeld = true;
    super.pause();
  }

  override resume(): void {
    this.#isHeld = false;
    if (this.#waiting.length === 0) super.resume();
  }

  readonly #next = (): void => {
    const [event, args] = this.#waiting[0]!;
    try {
      if (event === "ping" && this.readyState === this.OPEN && this.bufferedAmount < UNSENT_MAX) {
        this.pong(args[0] as Buffer);
      }
      super.emit(event, ...args);
    } finally {
      this.#waiting.shift();
      if (this.#waiting.length > 0) setImmediate(this.#next);
      else if (!this.#isHeld) super.resume();
    }
  };
}
