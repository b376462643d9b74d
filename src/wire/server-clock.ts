import type { TimeBase } from "./columns/block-encoder.ts";
import { malformed } from "./errors.ts";
import { listOf, type RawMessage, type Welcome } from "./messages.ts";

/**
 * Converts a server's steady times to this process's steady clock. It measures the difference of the two clocks once
 * for each start of the server, at the first welcome. So later changes of the latency, and reconnections, do not change
 * the difference, and the intervals between samples are exactly those that the server measured.
 */
export class ServerClock {
  readonly #now: () => number;
  #epoch: string | undefined;
  #shift = 0;

  /** @param now a steady clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Called with each welcome. Measures the difference of the clocks if the epoch is new. */
  welcomed({ epoch, steadyMs }: Welcome): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#shift = Math.round(this.#now() - steadyMs);
  }

  /** The time base of a message's rows, from its `at`. @throws VirstreamError `protocol-error` */
  baseOf(message: RawMessage): TimeBase {
    const [wall, steady] = listOf(message, "at");
    if (!Number.isSafeInteger(wall) || !Number.isSafeInteger(steady)) {
      throw malformed("a message has no valid times");
    }
    return { wall: wall as number, steady: (steady as number) + this.#shift };
  }
}
