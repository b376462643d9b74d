import type { Duplex } from "node:stream";

/**
 * Reads the first bytes of a stream, and leaves the other bytes for the stream's next reader. That reader may listen
 * for data as if nothing had been read.
 *
 * Rejects with the stream's error, or with an error that `take` throws. An abort of the signal destroys the stream and
 * rejects with the signal's reason.
 *
 * @param take called with all bytes so far; returns how many of them to take, or undefined to wait for more
 * @returns true when bytes were taken, false when the stream ended first
 */
export async function readPrefix(
  stream: Duplex,
  take: (bytes: Buffer) => number | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const onAbort = (): void => void stream.destroy();
  signal.addEventListener("abort", onAbort);
  try {
    if (signal.aborted) onAbort();
    let held = Buffer.alloc(0);
    // By default, leaving the loop would destroy the stream, which the next reader needs.
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      held = Buffer.concat([held, chunk]);
      const taken = take(held);
      if (taken === undefined) continue;
      if (taken < held.length) stream.unshift(held.subarray(taken));
      return true;
    }
    signal.throwIfAborted();
    return false;
  } catch (error) {
    signal.throwIfAborted();
    // The stream was destroyed without an error. For the caller, this is the end of the stream.
    if ((error as NodeJS.ErrnoException).code === "ERR_STREAM_PREMATURE_CLOSE") return false;
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
