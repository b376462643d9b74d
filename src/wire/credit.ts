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
