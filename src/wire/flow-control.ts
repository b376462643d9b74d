import { VirstreamError } from "../model/error.ts";
import { malformed } from "./errors.ts";
import { LIMITS } from "./protocol.ts";

/**
 * The sender's side of flow control. The receiver grants credit in bytes, and the sender spends it on messages with
 * rows. It may overdraw the credit by one message, so no message is too big to send. Credit counts bytes and not
 * messages, because messages differ in size by a factor of twenty. Credit is needed because a browser has no other
 * back-pressure: it queues every message that arrives, even if its application does not read.
 */
export class CreditAccount {
  #balance: number;

  /** @param initial bytes that the receiver granted with its request; undefined: no limit */
  constructor(initial: number | undefined) {
    this.#balance = initial === undefined ? Number.POSITIVE_INFINITY : 0;
    if (initial !== undefined) this.grant(initial);
  }

  /** True if a message may be sent. */
  get open(): boolean {
    return this.#balance > 0;
  }

  spend(bytes: number): void {
    this.#balance -= bytes;
  }

  /**
   * @throws VirstreamError `protocol-error` if `bytes` is not a positive whole number, or the balance exceeds the limit
   */
  grant(bytes: number): void {
    if (this.#balance === Number.POSITIVE_INFINITY) return;
    if (!Number.isInteger(bytes) || bytes < 1 || this.#balance + bytes > LIMITS.credit) {
      throw new VirstreamError("protocol-error", `credit of ${bytes} bytes on top of ${this.#balance} is not allowed`);
    }
    this.#balance += bytes;
  }
}

/**
 * The receiver's side of flow control: counts the bytes that the receiver's application consumed, decides when to
 * return credit, and refuses messages for which the sender had no credit.
 */
export class CreditMeter {
  readonly #window: number;
  /**
   * The granted credit minus the bytes that have come. The sender's own balance is at most this value, because bytes
   * and credit may be on their way.
   */
  #balance: number;
  #consumed = 0;

  /** @param window bytes of credit granted with the request */
  constructor(window: number) {
    this.#window = window;
    this.#balance = window;
  }

  /** True if the sender may send, as far as the receiver knows. */
  get open(): boolean {
    return this.#balance > 0;
  }

  /** A message with rows has come. @throws VirstreamError `protocol-error` if the sender had no credit */
  receive(bytes: number): void {
    if (!this.open) throw malformed("it has no credit");
    this.#balance -= bytes;
  }

  /** Returns how many bytes of credit to return now: 0 until half a window is consumed, then all consumed bytes. */
  consume(bytes: number): number {
    this.#consumed += bytes;
    if (this.#consumed * 2 < this.#window) return 0;
    const grant = this.#consumed;
    this.#consumed = 0;
    this.#balance += grant;
    return grant;
  }
}

/**
 * Decides when to send. The first message leaves at once. After that, a message leaves when it has 64 KiB, or when 5 ms
 * have passed since the message before. Sending a message costs about as much as encoding ten records, so records in
 * quick succession share a message. But the first record of a sweep, and a single record, must not wait.
 */
export class Coalescer {
  /** A message of this size, in bytes, leaves without waiting. */
  static readonly FULL = 65_536;
  /** The minimum time between two messages that are not full, in ms. */
  static readonly INTERVAL_MS = 5;

  readonly #now: () => number;
  #flushedAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** How long a message of this many bytes still has to wait, in ms; 0 or less: send it now. */
  wait(bytes: number): number {
    if (bytes >= Coalescer.FULL) return 0;
    return this.#flushedAt + Coalescer.INTERVAL_MS - this.#now();
  }

  /** Notes that a message was sent: the interval starts again. */
  flushed(): void {
    this.#flushedAt = this.#now();
  }
}

const encoder = new TextEncoder();

/** The size of a message in bytes; of text, in UTF-8. */
export function sizeOf(message: Uint8Array | string): number {
  return typeof message === "string" ? utf8Length(message) : message.length;
}

/**
 * The size of a text in UTF-8, in bytes. This function does not use Node's Buffer, because in a web page Buffer may be
 * an incomplete imitation.
 */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}
