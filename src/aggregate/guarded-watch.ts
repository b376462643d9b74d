import type { Clock } from "../driver/clock.ts";
import type { VirstreamError } from "../model/error.ts";
import type { WatchEvent } from "../model/watch.ts";

/** What a guarded watch depends on. */
export interface GuardedWatchOptions {
  /** For how long a watch of a host that is well may be silent, in ms. */
  readonly silenceMs: number;
  readonly clock: Clock;
  /** Finds out how the host is: resolves with why it is absent, or undefined. */
  readonly ask: () => Promise<VirstreamError | undefined>;
}

/**
 * The watch of a host whose driver watches by itself, which tells when the host is silent. A connection to a machine that
 * hangs stays open for long, and a watch has no deadline; but each sweep that ends is an event. When none comes, the host
 * is asked for a sign of life, and if it gives none, it is `reconnecting` until the watch speaks again.
 */
export async function* guardedWatch(
  events: AsyncIterableIterator<readonly WatchEvent[]>,
  { silenceMs, clock, ask }: GuardedWatchOptions,
): AsyncGenerator<readonly WatchEvent[], void, void> {
  let silent = false;
  try {
    for (;;) {
      const next = events.next();
      // Whoever leaves at the yield below does not hear how this pull ends.
      next.catch(() => {});
      while (!silent && !(await settledWithin(next, silenceMs, clock))) {
        const error = await ask();
        if (error === undefined) continue;
        silent = true;
        yield [{ type: "status", state: "reconnecting", host: undefined, error }];
      }
      const { done, value } = await next;
      if (done) return;
      if (silent && value.some(isSignOfLife)) {
        silent = false;
        yield [{ type: "status", state: "connected", host: undefined, error: undefined }];
      }
      yield value;
    }
  } finally {
    await events.return?.();
  }
}

/** Whether an event shows that its host can be reached; that it cannot is an event as well. */
export function isSignOfLife(event: WatchEvent): boolean {
  return event.type !== "status" || event.state === "connected";
}

/** Resolves with true as soon as the promise is settled, whichever way; with false when it is not after so many ms. */
function settledWithin(promise: Promise<unknown>, ms: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.setTimeout(() => resolve(false), ms);
    const settled = (): void => {
      clock.clearTimeout(timer);
      resolve(true);
    };
    promise.then(settled, settled);
  });
}
