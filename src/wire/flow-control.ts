import { VirstreamError } from "../model/error.ts";
import { LIMITS } from "./protocol.ts";

/**
 * Flow control, end to end and in bytes, because frames differ in size by a factor of twenty and because a browser
 * cannot push back in any other way: it queues what arrives, whatever its application does. The receiver gives credit,
 * the sender spends it on messages with rows, and may overdraw it by one message, so that no message is too big to send.
 */
export class CreditAccount {
  #balance: number;

  /** @param initial bytes that the receiver gave with its request; undefined: it wants no such control */
  constructor(initial: number | undefined) {
    this.#balance = initial === undefined ? Number.POSITIVE_INFINITY : 0;
    if (initial !== undefined) this.grant(initial);
  }

  /** Whether a message may be sent. */
  get open(): boolean {
    return this.#balance > 0;
  }

  get balance(): number {
    return this.#balance;
  }

  spend(bytes: number): void {
    this.#balance -= bytes;
  }

  /** @throws VirstreamError `protocol-error` for what is no credit, or more than may ever be outstanding */
  grant(bytes: number): void {
    if (this.#balance === Number.POSITIVE_INFINITY) return;
    if (!Number.isInteger(bytes) || bytes < 1 || this.#balance + bytes > LIMITS.credit) {
      throw new VirstreamError("protocol-error", `credit of ${bytes} bytes on top of ${this.#balance} is not allowed`);
    }
    this.#balance += bytes;
  }
}

/** The receiver's side: counts what its application consumed, and says when to give credit back. */
export class CreditMeter {
  readonly window: number;
  #consumed = 0;

  /** @param window bytes of credit given at the beginning */
  constructor(window: number) {
    this.window = window;
  }

  /** Tells how much credit to give back now: nothing until half a window is consumed, then all of it. */
  consume(bytes: number): number {
    this.#consumed += bytes;
    if (this.#consumed * 2 < this.window) return 0;
    const grant = this.#consumed;
    this.#consumed = 0;
    return grant;
  }
}

/**
 * When to send. A message costs about as much as encoding ten records, so records that come fast share one; but the
 * first record of a sweep, and any that comes alone, must not wait. So: the first leaves at once; after that a message
 * leaves when it has 64 KiB, or as soon as 5 ms have passed since the one before it.
 */
export class Coalescer {
  /** A message of this size leaves without waiting, in bytes. */
  static readonly FULL = 65_536;
  /** The least time between two messages that are not full, in ms. */
  static readonly INTERVAL_MS = 5;

  readonly #now: () => number;
  #flushedAt = Number.NEGATIVE_INFINITY;

  /** @param now a clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** How long a message of so many bytes has yet to wait, in ms; 0 or less: send it now. */
  wait(bytes: number): number {
    if (bytes >= Coalescer.FULL) return 0;
    return this.#flushedAt + Coalescer.INTERVAL_MS - this.#now();
  }

  /** Tells it that a message was sent. */
  flushed(): void {
    this.#flushedAt = this.#now();
  }
}

const encoder = new TextEncoder();

/** How many bytes a message has: its own, or those of its text in UTF-8. */
export function sizeOf(message: Uint8Array | string): number {
  return typeof message === "string" ? utf8Length(message) : message.length;
}

/** How many bytes a text takes in UTF-8. Node counts without encoding; browsers cannot. */
export function utf8Length(text: string): number {
  const buffer = (globalThis as { Buffer?: { byteLength(text: string): number } }).Buffer;
  return buffer === undefined ? encoder.encode(text).length : buffer.byteLength(text);
}
