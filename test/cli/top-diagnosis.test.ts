/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { GuestDiagnosis } from "../../src/cli/top/guest-diagnosis.ts";
import type { Diagnosis } from "../../src/overview/diagnosis.ts";
import type { GuestLine } from "../../src/overview/line.ts";

/** Examinations that end when a test says so, on a clock that a test moves. */
function examined() {
  const clock = { now: 0 };
  const runs: { key: string; signal: AbortSignal; end: (summary: string) => Promise<void> }[] = [];
  const diagnosis = new GuestDiagnosis(
    ({ key }, signal) =>
      new Promise((resolve, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        const end = async (summary: string): Promise<void> => {
          resolve({ summary } as Diagnosis);
          await Promise.resolve();
          await Promise.resolve();
        };
        runs.push({ key, signal, end });
      }),
    () => changes.push(clock.now),
    () => clock.now,
  );
  const changes: number[] = [];
  const of = (key: string): string | undefined => diagnosis.of({ key } as GuestLine)?.summary;
  return { clock, runs, diagnosis, changes, of };
}

describe("The diagnosis on the page of a guest in top", () => {
  it("is made in the background, shown when it is there, and made again after ten seconds", async () => {
    const { clock, runs, changes, of } = examined();
    expect(of("a")).toBeUndefined();
    expect(of("a")).toBeUndefined();
    await runs[0]!.end("first");
    expect(changes).toHaveLength(1);
    clock.now = 9_999;
    expect(of("a")).toBe("first");
    expect(runs).toHaveLength(1);
    clock.now = 10_000;
    // Until the next one is there, the last one stays.
    expect(of("a")).toBe("first");
    expect(runs).toHaveLength(2);
    await runs[1]!.end("second");
    expect(of("a")).toBe("second");
  });

  it("is cancelled when the page is left, and begins again with the next visit", () => {
    const { runs, diagnosis, of } = examined();
    of("a");
    diagnosis.leave();
    expect(runs[0]!.signal.aborted).toBe(true);
  });

  it("examines one guest at a time: another one waits until the cancelled examination has ended", async () => {
    const { runs, changes, of } = examined();
    of("a");
    of("b");
    expect(runs.map(({ key, signal }) => [key, signal.aborted])).toEqual([["a", true]]);
    await expect.poll(() => changes.length).toBe(1);
    of("b");
    expect(runs.map(({ key }) => key)).toEqual(["a", "b"]);
  });
});
