import { setTimeout as sleep } from "node:timers/promises";

const EVENTS = ["uncaughtException", "unhandledRejection"] as const;

/** Does some work, and gives what was thrown meanwhile that no code caught. The test runner does not see it. */
export async function uncaughtDuring(work: () => Promise<unknown>): Promise<unknown[]> {
  const errors: unknown[] = [];
  const collect = (error: unknown): void => void errors.push(error);
  const runner = EVENTS.map((event) => process.rawListeners(event));
  for (const event of EVENTS) {
    process.removeAllListeners(event);
    process.on(event, collect);
  }
  try {
    await work();
    // A rejection counts as unhandled at the end of a turn, and a listener's error is thrown in one of its own.
    await sleep(20);
  } finally {
    for (const [i, event] of EVENTS.entries()) {
      process.off(event, collect);
      for (const listener of runner[i]!) process.on(event, listener as () => void);
    }
  }
  return errors;
}
