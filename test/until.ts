import { setImmediate as turn } from "node:timers/promises";

/** Resolves when a condition holds. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}
