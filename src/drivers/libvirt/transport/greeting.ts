import type { Duplex } from "node:stream";

/**
 * Waits for the first bytes of a stream and takes them off. What comes after them stays in the stream for its next
 * reader, which may listen for data as if nothing had been read.
 *
 * @param take is given all that has come, and says how many bytes of it to take; undefined for "not enough yet"
 * @returns true when they were taken, false when the stream ended first
 *
 * Rejects with the stream's error or what `take` throws. An abort of the signal destroys the stream and rejects with the
 * signal's reason.
 */
export function awaitGreeting(
  stream: Duplex,
  take: (bytes: Buffer) => number | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const settle = (how: () => void) => {
      stream.off("readable", onReadable);
      stream.off("end", onEnd);
      stream.off("close", onEnd);
      stream.off("error", onError);
      signal.removeEventListener("abort", onAbort);
      how();
    };
    let held: Buffer = Buffer.alloc(0);
    const onReadable = () => {
      const chunk = stream.read() as Buffer | null;
      if (chunk === null) return;
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      let taken: number | undefined;
      try {
        taken = take(held);
      } catch (error) {
        settle(() => reject(error));
        return;
      }
      if (taken === undefined) return;
      if (taken < held.length) stream.unshift(held.subarray(taken));
      settle(() => resolve(true));
    };
    const onEnd = () => settle(() => resolve(false));
    const onError = (error: Error) => settle(() => reject(error));
    const onAbort = () => {
      settle(() => reject(signal.reason));
      stream.on("error", () => {});
      stream.destroy();
    };
    if (signal.aborted) {
      onAbort();
      return;
    }
    // What happened before anybody listened is not told again.
    if (stream.errored) return void reject(stream.errored);
    if (stream.destroyed || stream.readableEnded) return void resolve(false);
    signal.addEventListener("abort", onAbort, { once: true });
    stream.on("end", onEnd);
    stream.on("close", onEnd);
    stream.on("error", onError);
    stream.on("readable", onReadable);
  });
}
