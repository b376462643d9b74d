import type { Duplex } from "node:stream";

/**
 * Reads the first bytes of a stream, and leaves the others for its next reader, which may listen for data as if nothing
 * had been read.
 *
 * Rejects with the stream's error or with what `take` throws. An abort of the signal destroys the stream and rejects
 * with the signal's reason.
 *
 * @param take called with all bytes so far; returns how many of them to take, or undefined to wait for more
 * @returns true when bytes were taken, false when the stream ended first
 */
export function readPrefix(
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
    // These events are not emitted again for a new listener.
    if (stream.errored) return void reject(stream.errored);
    if (stream.destroyed || stream.readableEnded) return void resolve(false);
    signal.addEventListener("abort", onAbort, { once: true });
    stream.on("end", onEnd);
    stream.on("close", onEnd);
    stream.on("error", onError);
    stream.on("readable", onReadable);
  });
}
