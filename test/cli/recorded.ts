import { existsSync, statSync } from "node:fs";
import { expect, vi } from "vitest";
import { PATIENCE } from "../until.ts";
import { type Outcome, outcomeOf, start } from "./run.ts";

/** Records until the file has grown by this number of bytes, and then ends the recorder by a signal. */
export async function recorded(
  args: readonly string[],
  file: string,
  bytes: number,
  signal: NodeJS.Signals,
): Promise<Outcome> {
  const before = existsSync(file) ? statSync(file).size : 0;
  const child = start(["record", "--interval", "250ms", "--deadline", "50ms", ...args, file]);
  const outcome = outcomeOf(child);
  await vi.waitFor(() => expect(statSync(file).size).toBeGreaterThan(before + bytes), PATIENCE);
  child.kill(signal);
  return outcome;
}
