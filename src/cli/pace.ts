import type { Connection } from "../client/connection.ts";
import { invalid } from "../model/error.ts";
import { durationText } from "./arguments.ts";

/**
 * The interval of a watch, in ms: the one that the user named, or else the default, or the shortest that the servers accept
 * if that is longer.
 *
 * @param option with which the user names it
 * @throws VirstreamError `invalid-argument` if the user named a shorter one than that
 */
export function paceOf(
  { driver }: Pick<Connection, "driver">,
  intervalMs: number,
  isDefault: boolean,
  option = "--interval",
): number {
  const { minIntervalMs = 0 } = driver;
  if (isDefault) return Math.max(intervalMs, minIntervalMs);
  if (intervalMs >= minIntervalMs) return intervalMs;
  throw invalid(`${option} ${durationText(intervalMs)}: the server's shortest is ${durationText(minIntervalMs)}`);
}
