import { VirstreamError } from "../model/error.ts";

/**
 * How long the doctor waits: for each answer, and in all. libvirt's calls have no timeout, and a daemon or a guest that
 * does not answer is just what is looked for.
 */
export class TimeLimit {
  readonly signal: AbortSignal;
  readonly #until: number;

  /**
   * @param totalMs what all waiting together may take
   * @param signal ends it early, with the signal's reason
   */
  constructor(totalMs: number, signal: AbortSignal) {
    this.#until = performance.now() + totalMs;
    this.signal = signal;
  }

  /** So many ms, or what is left if that is less. */
  atMost(ms: number): number {
    return Math.max(0, Math.min(ms, this.#until - performance.now()));
  }

  /** Waits for an answer. Rejects as the answer does, with `deadline-exceeded`, or with the signal's reason. */
  async wait<T>(answer: Promise<T>, ms: number): Promise<T> {
    // Nobody may be there any more when it rejects after all.
    answer.catch(() => {});
    this.signal.throwIfAborted();
    let end = () => {};
    const over = new Promise<never>((_, reject) => {
      const limit = this.atMost(ms);
      const late = () => reject(new VirstreamError("deadline-exceeded", `no answer within ${Math.round(limit)} ms`));
      const timer = setTimeout(late, limit);
      const onAbort = () => reject(this.signal.reason);
      this.signal.addEventListener("abort", onAbort, { once: true });
      end = () => {
        clearTimeout(timer);
        this.signal.removeEventListener("abort", onAbort);
      };
    });
    try {
      return await Promise.race([answer, over]);
    } finally {
      end();
    }
  }
}

/** Whether this is what `wait` rejects with when the time is over. */
export function isSilence(error: unknown): boolean {
  return error instanceof VirstreamError && error.code === "deadline-exceeded";
}
