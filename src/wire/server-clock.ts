import type { TimeBase } from "./columns/block-encoder.ts";
import { malformed } from "./errors.ts";
import { listOf, type RawMessage, type Welcome } from "./messages.ts";

/**
 * Puts a server's steady times onto this process's steady clock. The distance between the two is measured once for each start
 * of the server, when it welcomes the client: so it does not change with the latency of messages or over reconnections, and
 * the intervals between samples are those that their source measured.
 */
export class ServerClock {
  readonly #now: () => number;
  #epoch: string | undefined;
  #shift = 0;

  /** @param now a steady clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** A server has welcomed the client. */
  welcomed({ epoch, steadyMs }: Welcome): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#shift = Math.round(this.#now() - steadyMs);
  }

  /** What the times of a message's rows count from. @throws VirstreamError `protocol-error` */
  baseOf(message: RawMessage): TimeBase {
    const [wall, steady] = listOf(message, "at");
    if (!Number.isSafeInteger(wall) || !Number.isSafeInteger(steady)) {
      throw malformed("a message's times are no whole numbers");
    }
    return { wall: wall as number, steady: (steady as number) + this.#shift };
  }
}
