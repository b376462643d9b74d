import type { Connection } from "../client/connection.ts";
import { invalid } from "../model/error.ts";
import { durationText } from "./arguments.ts";

/**
 * The interval of a watch, in ms: the interval that the user named. If the user named none, it is the longer of two
 * intervals: the default, and the shortest interval that the servers accept.
 *
 * @param option the option with which the user names the interval
 * @throws VirstreamError `invalid-argument` if the user named a shorter interval than the servers accept
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
