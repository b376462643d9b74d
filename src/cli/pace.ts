import { VirstreamError } from "../model/error.ts";
import type { Absent } from "../model/record.ts";

/**
 * The shortest interval of the server that refused a watch, in ms; undefined for any other error. The message is the only
 * place that has it for every kind of source.
 */
export function leastInterval(error: unknown): number | undefined {
  if (!(error instanceof VirstreamError) || error.code !== "invalid-argument") return undefined;
  const ms = /\bset the option intervalMs to (\d+) ms or more/.exec(error.message)?.[1];
  return ms === undefined ? undefined : Number(ms);
}

/** Throws the error of a host that is absent only because its server refused the interval. */
export function refuseAbsence(absent: readonly Absent[], intervalMs: number): void {
  for (const { error } of absent) if ((leastInterval(error) ?? 0) > intervalMs) throw error;
}

/**
 * Runs a watch. If the user named no interval and the server refuses the default as too short, runs it again with the
 * shortest interval that the server accepts. A server refuses a watch before its first event.
 */
export async function atServersPace<Result>(
  { intervalMs, isDefault }: { readonly intervalMs: number; readonly isDefault: boolean },
  run: (intervalMs: number) => Promise<Result>,
): Promise<Result> {
  for (let pace = intervalMs; ; ) {
    try {
      return await run(pace);
    } catch (error) {
      const least = isDefault ? leastInterval(error) : undefined;
      if (least === undefined || least <= pace) throw error;
      pace = least;
    }
  }
}
