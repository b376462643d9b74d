import type { WebSocket } from "ws";
import type { VirstreamError } from "../model/error.ts";
import type { SweepSummary } from "../model/record.ts";
import { SentSchemas } from "../wire/columns/schema-slots.ts";
import { type ServerMessage, summaryToWire } from "../wire/messages.ts";
import type { EncodedRows, Profile, WireMessage } from "../wire/profile.ts";
import type { ServerLimits } from "./limits.ts";

/** The high-water mark of each client's socket, in bytes, when this many clients are connected. */
export function markOf(limits: Pick<ServerLimits, "bufferedBytes" | "bufferedBytesInAll">, clients: number): number {
  return Math.min(limits.bufferedBytes, limits.bufferedBytesInAll / Math.max(1, clients));
}

/** How much a server has sent. */
export interface TrafficMetrics {
  messages: number;
  /**
   * The size of the messages without WebSocket's frame headers: bytes of binary messages, and characters of text
   * messages.
   */
  bytes: number;
}

/**
 * The sending side of one client's socket, with a high-water mark. The queue of `ws` has no limit, and shows its size
 * only as `bufferedAmount`. Above the mark, the sweeps and watches of this socket stop producing; below it, they
 * continue.
 */
export class Outbound {
  readonly #socket: WebSocket;
  readonly #mark: () => number;
  readonly #metrics: TrafficMetrics;
  readonly #onFailure: (error: VirstreamError) => void;
  readonly #waiting = new Set<() => void>();
  readonly #sentSchemas = new SentSchemas();
  /** The encoding of the client's messages; set before the first message is sent. */
  profile!: Profile;
  /** The hard limit of the queue, in bytes: see `flooded`. */
  #most: number;

  /**
   * @param mark the high-water mark, in bytes; it may change
   * @param onFailure called with each error that ends a sweep or a watch
   */
  constructor(
    socket: WebSocket,
    mark: () => number,
    metrics: TrafficMetrics,
    onFailure: (error: VirstreamError) => void = () => {},
  ) {
    this.#socket = socket;
    this.#mark = mark;
    this.#metrics = metrics;
    this.#onFailure = onFailure;
    this.#most = 2 * mark();
  }

  /** True if sweeps and watches may send: the queue is below the mark, and the socket is not closing. */
  get writable(): boolean {
    return this.#isOpen && this.#socket.bufferedAmount <= this.#mark();
  }

  /**
   * True if the queue exceeds the hard limit. Only small replies, which need no credit, can cause this, when the client
   * does not read them.
   */
  get flooded(): boolean {
    return this.#socket.bufferedAmount > this.#most;
  }

  /** Sends a message that has no rows. */
  say(message: ServerMessage): void {
    this.#send([this.profile.message(message)]);
  }

  /** Sends the end of a sweep or a watch. */
  end(id: number, error: VirstreamError | undefined, summary?: SweepSummary): void {
    if (error !== undefined) this.#onFailure(error);
    this.say({
      type: "end",
      id,
      ...(summary && { summary: summaryToWire(summary) }),
      ...(error && { error: error.toJSON() }),
    });
  }

  /**
   * Sends messages with rows, and before them the schemas that the client does not have.
   *
   * @param sent called with each message when the operating system has taken its bytes
   */
  sendRows(
    { messages, schemas }: Pick<EncodedRows, "messages" | "schemas">,
    sent?: (message: WireMessage) => void,
  ): void {
    if (schemas.length > 0) {
      for (const { slot, schema } of this.#sentSchemas.missing(schemas)) {
        this.say({ type: "schema", slot, keys: schema?.keys ?? [], types: [...(schema?.types ?? [])] });
      }
    }
    this.#send(messages, sent);
  }

  /** Calls `wake` whenever the socket may have become writable, until the returned function is called. */
  onWritable(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  /** Sends messages; drops them if the socket is closing, because the client would not get them. */
  #send(messages: readonly WireMessage[], sent?: (message: WireMessage) => void): void {
    if (!this.#isOpen) return;
    const { writable } = this;
    for (const message of messages) {
      this.#metrics.messages++;
      this.#metrics.bytes += message.length;
      this.#socket.send(message, (error) => {
        if (!error) sent?.(message);
        this.#sent();
      });
    }
    // A message that is sent while the socket is writable may have any size, because a large record is not divided. So
    // the hard limit rises with the size of the message.
    if (writable) this.#most = this.#socket.bufferedAmount + this.#mark();
  }

  get #isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  readonly #sent = (): void => {
    if (this.#waiting.size === 0 || !this.writable) return;
    for (const wake of [...this.#waiting]) wake();
  };
}
