/** What knows of time. Tests hand in their own, so that nothing has to sleep. */
export interface Clock {
  /** The time in ms. A test's clock may begin anywhere. */
  now(): number;
  /** Calls back once after so many ms; gives what `clearTimeout` takes. */
  setTimeout(callback: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** The machine's own time, in ms since 1970. */
export const SYSTEM_CLOCK: Clock = {
  now: () => Date.now(),
  setTimeout: (callback, ms) => setTimeout(callback, ms),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

/** A time that does not jump when somebody sets the machine's clock; it counts from no moment in particular. */
export const STEADY_CLOCK: Clock = { ...SYSTEM_CLOCK, now: () => performance.now() };

/**
 * Gives the event loop one turn: timers, sockets and painting get their chance. Browsers have no setImmediate and delay
 * nested timeouts by 4 ms, a message to oneself is the quick way there.
 */
export function eventLoopTurn(): Promise<void> {
  if (typeof setImmediate === "function") return new Promise((resolve) => setImmediate(resolve));
  if (typeof MessageChannel === "function") {
    return new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(undefined);
    });
  }
  return new Promise((resolve) => setTimeout(resolve, 0));
}
