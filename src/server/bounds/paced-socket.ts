import { WebSocket } from "ws";
import type { Rate } from "./rate.ts";

/**
 * While at least this many bytes wait to be sent, the server does not answer pings: the waiting bytes already show the
 * client that the server is alive.
 */
const UNSENT_MAX = 65_536;

/** Events that wait until the messages before them are emitted. */
const ORDERED: readonly unknown[] = ["message", "ping", "error", "close"];

/**
 * A client's WebSocket that emits each message and each ping in its own turn of the event loop. So a burst of messages
 * from one client delays other clients by only one message at a time, and only by as many messages as the `rate` of
 * this socket admits. While messages wait, the socket does not read from the connection, so at most the messages of one
 * read wait. The socket answers pings itself, so open it with `autoPong: false`.
 *
 * ws has an option for separate turns, too: `allowSynchronousEvents: false`. Do not use it: with this option, ws 8.23
 * continues to read after an invalid frame that waits behind other messages, and throws an error that no code can
 * catch.
 */
export class PacedSocket extends WebSocket {
  readonly #waiting: (readonly [event: string | symbol, args: readonly unknown[]])[] = [];
  #isHeld = false;
  /** The rate of messages and pings; undefined: no limit. */
  rate: Rate | undefined;
  #timer: NodeJS.Timeout | undefined;

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    const isFirst = this.#waiting.length === 0;
    const isData = event === "message" || event === "ping";
    if (!isData && (isFirst || !ORDERED.includes(event))) return super.emit(event, ...args);
    this.#waiting.push([event, args]);
    if (isFirst) {
      super.pause();
      this.#schedule();
    } else if (event === "close" && this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#schedule();
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

  #schedule(): void {
    this.#timer = undefined;
    const event = this.#waiting[0]![0];
    const isPaced = this.readyState !== this.CLOSED && (event === "message" || event === "ping");
    const wait = isPaced ? (this.rate?.take() ?? 0) : 0;
    if (wait === 0) setImmediate(this.#next);
    else this.#timer = setTimeout(() => this.#schedule(), Math.ceil(wait));
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
      if (this.#waiting.length > 0) this.#schedule();
      else if (!this.#isHeld) super.resume();
    }
  };
}
