import { withTimeout } from "../driver/clock.ts";
import { VirstreamError } from "../model/error.ts";

/** How long the doctor waits for one answer, in ms, unless a wait has a limit of its own. */
export const ANSWER_MS = 2_000;

/** Limits how long the doctor waits: for each answer, and in total. libvirt's calls have no timeout of their own. */
export class TimeLimit {
  readonly signal: AbortSignal;
  readonly #until: number;

  /**
   * @param totalMs the limit for everything together, from now
   * @param signal ends every wait early, with the signal's reason
   */
  constructor(totalMs: number, signal: AbortSignal) {
    this.#until = performance.now() + totalMs;
    this.signal = signal;
  }

  /** The given time in ms, or the remaining time if that is less. */
  atMost(ms: number): number {
    return Math.max(0, Math.min(ms, this.#until - performance.now()));
  }

  /**
   * Waits for an answer as withTimeout does. Rejects with the error of `answer`, with `deadline-exceeded`, or with the
   * signal's reason.
   */
  wait<T>(answer: Promise<T> | ((signal: AbortSignal) => Promise<T>), ms = ANSWER_MS): Promise<T> {
    const limit = this.atMost(ms);
    const late = (): never => {
      throw new VirstreamError("deadline-exceeded", `no answer within ${Math.round(limit)} ms`);
    };
    return withTimeout(answer, limit, late, { signal: this.signal });
  }
}

/** True if `wait` rejected with this error because the time was up. */
export function isSilence(error: unknown): boolean {
  return error instanceof VirstreamError && error.code === "deadline-exceeded";
}
