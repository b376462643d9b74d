/** The time, and timers. Tests pass in a clock of their own, so that they do not have to sleep. */
export interface Clock {
  /** The current time in ms, counted from a moment that depends on the clock. */
  now(): number;
  /** Calls back once after this many ms. Returns a handle for `clearTimeout`. */
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The machine's own time, in ms since 1970. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** A clock that does not jump when the machine's time is set. It counts from an arbitrary moment. */
export const STEADY_CLOCK: Clock = { ...SYSTEM_CLOCK, now: () => performance.now() };

/** A timer that fires more than this many ms late shows that the whole process was paused. */
export const PAUSE_MS = 1_000;

/** True if a timer that fires this many ms late shows that the whole process was paused. */
export function isLate(ms: number): boolean {
  return ms > PAUSE_MS;
}

/** The options of a wait. */
export interface WaitOptions {
  /** If this signal is aborted, the wait ends early: its promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  /** The clock that measures the wait. Default STEADY_CLOCK. */
  readonly clock?: Clock;
}

/** Resolves after this many ms. Rejects with the signal's reason as soon as the signal is aborted. */
export function sleep(ms: number, options?: WaitOptions): Promise<void> {
  return withTimeout<void>(new Promise(() => {}), ms, () => {}, options);
}

/**
 * Waits for work, but no longer than this many ms (Infinity: without a limit). After that time, it returns the value
 * that `late` returns, or throws the error that `late` throws. When the wait ends, its timer and its listener on the
 * caller's signal are always removed. A later result of the work is ignored.
 *
 * Work that is a function gets a signal. If the wait ends before the work, this signal is aborted. Its reason is the
 * reason of the caller's signal, or the error that `late` throws, if it throws one. If the caller's signal is aborted
 * already, the work is not started.
 */
export function withTimeout<T>(
  work: PromiseLike<T> | ((signal: AbortSignal) => PromiseLike<T>),
  ms: number,
  late: () => T,
  { signal, clock = STEADY_CLOCK }: WaitOptions = {},
): Promise<T> {
  const abort = new AbortController();
  let timer: unknown;
  let unlisten = (): void => {};
  const outcome = new Promise<T>((resolve, reject) => {
    const giveUp = (): void => {
      abort.abort(signal?.reason);
      reject(signal?.reason);
    };
    if (signal?.aborted) {
      // The promise may reject later; without a handler, this would be an unhandled rejection.
      if (typeof work !== "function") work.then(undefined, () => {});
      giveUp();
      return;
    }
    unlisten = onAbort(signal, giveUp);
    const onTimeout = (): void => {
      try {
        resolve(late());
        abort.abort();
      } catch (error) {
        reject(error);
        abort.abort(error);
      }
    };
    if (ms !== Number.POSITIVE_INFINITY) timer = clock.setTimeout(onTimeout, ms);
    (typeof work === "function" ? work(abort.signal) : work).then(resolve, reject);
  });
  return outcome.finally(() => {
    if (timer !== undefined) clock.clearTimeout(timer);
    unlisten();
  });
}

/**
 * All callbacks of one signal. This object is the only listener that onAbort adds to the signal, and it calls all
 * callbacks.
 */
class Callbacks extends Set<() => void> {
  handleEvent(): void {
    for (const callback of this) callback();
  }
}

const all = new WeakMap<AbortSignal, Callbacks>();

/**
 * Calls back when a signal is aborted. A signal has one listener for all its callbacks. A program may use one signal
 * for all its streams, and Node warns of a leak when a signal has more than ten listeners.
 *
 * @returns a function that removes the callback; after the last callback, the listener is removed from the signal, too
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): () => void {
  if (signal === undefined) return () => {};
  let callbacks = all.get(signal);
  if (callbacks === undefined) {
    callbacks = new Callbacks();
    all.set(signal, callbacks);
  }
  if (callbacks.size === 0) signal.addEventListener("abort", callbacks);
  callbacks.add(callback);
  return () => {
    if (callbacks.delete(callback) && callbacks.size === 0) signal.removeEventListener("abort", callbacks);
  };
}
