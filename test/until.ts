import { setImmediate as turn } from "node:timers/promises";

/** Resolves when a condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

/**
 * How long a test waits for what must happen at last: a guard against waiting for ever, and no promise of how fast it is. On a
 * loaded machine everything takes long.
 */
export const PATIENCE = { timeout: 100_000, interval: 20 };
