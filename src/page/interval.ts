import type { Connection } from "../client/connection.ts";

/** The time between two sweeps, in ms, unless the server accepts only a longer one. */
export const INTERVAL_MS = 1_000;

/**
 * The time between two sweeps in watches of a server, in ms: INTERVAL_MS, or the server's shortest if that is longer.
 */
export function intervalOf({ driver }: Connection): number {
  return Math.max(INTERVAL_MS, driver.minIntervalMs ?? 0);
}
