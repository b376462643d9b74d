/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import type { Diagnosis } from "../../src/overview/diagnosis.ts";
import { LatestDiagnosis } from "../../src/overview/latest-diagnosis.ts";
import { PATIENCE } from "../until.ts";

/** Examinations that end when a test says so, on a clock that a test moves. */
function examined() {
  const clock = { now: 0 };
  const runs: { key: string; signal: AbortSignal; end: (summary: string) => Promise<void> }[] = [];
  const diagnosis = new LatestDiagnosis(
    (key: string, signal) =>
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
  const of = (key: string): string | undefined => diagnosis.of(key, key)?.summary;
  return { clock, runs, diagnosis, changes, of };
}

describe("The diagnosis on the page of a guest, in top and in a browser,", () => {
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

  it("is cancelled when the page is left, and begins again with the next visit", async () => {
    const { runs, diagnosis, changes, of } = examined();
    of("a");
    diagnosis.forget();
    expect(runs[0]!.signal.aborted).toBe(true);
    await expect.poll(() => changes.length, PATIENCE).toBe(1);
    of("a");
    expect(runs).toHaveLength(2);
  });

  it("ends when the guest is well, or the user leaves its page: another one says what is wrong later", async () => {
    const { runs, diagnosis, of } = examined();
    of("a");
    await runs[0]!.end("first");
    expect(of("a")).toBe("first");
    diagnosis.forget();
    expect(of("a")).toBeUndefined();
    expect(runs).toHaveLength(2);
  });

  it("examines one guest at a time: another one waits until the cancelled examination has ended", async () => {
    const { runs, changes, of } = examined();
    of("a");
    of("b");
    expect(runs.map(({ key, signal }) => [key, signal.aborted])).toEqual([["a", true]]);
    await expect.poll(() => changes.length, PATIENCE).toBe(1);
    of("b");
    expect(runs.map(({ key }) => key)).toEqual(["a", "b"]);
  });
});
