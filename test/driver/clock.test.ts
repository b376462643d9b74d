import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import { sleep, withTimeout } from "../../src/driver/clock.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";

/** A clock that stands still, a caller's signal, and what is left behind on either. */
function setUp() {
  const clock = new ManualClock(0);
  const abort = new AbortController();
  const left = () => [clock.timers, getEventListeners(abort.signal, "abort").length];
  return { clock, abort, left, options: { clock, signal: abort.signal } };
}

const NEVER = () => new Promise<never>(() => {});
const late = () => {
  throw new Error("late");
};

/** What a promise has come to by now. */
async function stateOf(promise: Promise<unknown>): Promise<unknown> {
  const settled = promise.then(
    (value) => value,
    (error: Error) => error.message,
  );
  return Promise.race([settled, turn().then(() => "pending")]);
}

describe("A wait", () => {
  it("ends after its time, and not before", async () => {
    const { clock, options, left } = setUp();
    const wait = sleep(100, options);
    clock.advance(99);
    expect(await stateOf(wait)).toBe("pending");
    clock.advance(1);
    expect(await stateOf(wait)).toBe(undefined);
    expect(left()).toEqual([0, 0]);
  });

  it("rejects with the signal's reason, also when that was aborted before", async () => {
    const { abort, options, left } = setUp();
    const wait = sleep(100, options);
    abort.abort(new Error("enough"));
    expect(await stateOf(wait)).toBe("enough");
    expect(await stateOf(sleep(100, options))).toBe("enough");
    expect(left()).toEqual([0, 0]);
  });
});

describe("Work with a timeout", () => {
  it("may fail unheard when the caller had given up before", async () => {
    const { abort, options } = setUp();
    abort.abort(new Error("enough"));
    // A rejection without a handler would fail the test run.
    await expect(withTimeout(Promise.reject(new Error("broken")), 100, late, options)).rejects.toThrow("enough");
    await turn();
  });

  it("has its own outcome when it ends in time", async () => {
    const { options, left } = setUp();
    expect(await withTimeout(Promise.resolve(7), 100, late, options)).toBe(7);
    await expect(withTimeout(Promise.reject(new Error("broken")), 100, late, options)).rejects.toThrow("broken");
    await expect(withTimeout(() => Promise.reject(new Error("broken")), 100, late, options)).rejects.toThrow("broken");
    await expect(
      withTimeout(
        () => {
          throw new Error("at once");
        },
        100,
        late,
        options,
      ),
    ).rejects.toThrow("at once");
    expect(left()).toEqual([0, 0]);
  });

  it("comes to what its caller says when it is late: a value or an error", async () => {
    const { clock, options, left } = setUp();
    const value = withTimeout<number>(NEVER(), 100, () => 3, options);
    const error = withTimeout(NEVER, 100, late, options);
    clock.advance(100);
    expect(await Promise.all([stateOf(value), stateOf(error)])).toEqual([3, "late"]);
    expect(left()).toEqual([0, 0]);
  });

  it("learns by its signal that it is late, or that its caller does not wait, and why", async () => {
    const { clock, abort, options, left } = setUp();
    const signals: AbortSignal[] = [];
    const work = (signal: AbortSignal) => {
      signals.push(signal);
      return NEVER();
    };
    const timedOut = withTimeout(work, 100, late, options);
    clock.advance(100);
    expect(await stateOf(timedOut)).toBe("late");
    const aborted = withTimeout(work, 100, late, options);
    abort.abort(new Error("enough"));
    expect(await stateOf(aborted)).toBe("enough");
    expect(signals.map(({ reason }) => reason.message)).toEqual(["late", "enough"]);
    expect(left()).toEqual([0, 0]);
  });

  it("is not aborted by its own end", async () => {
    const { clock, options } = setUp();
    let given: AbortSignal | undefined;
    await withTimeout(
      async (signal) => {
        given = signal;
      },
      100,
      late,
      options,
    );
    clock.advance(1_000);
    expect(given?.aborted).toBe(false);
  });

  it("is not started for a caller whose signal was aborted before", async () => {
    const { abort, options, left } = setUp();
    abort.abort(new Error("enough"));
    let started = false;
    const work = async () => {
      started = true;
    };
    await expect(withTimeout(work, 100, late, options)).rejects.toThrow("enough");
    expect([started, ...left()]).toEqual([false, 0, 0]);
  });

  it("causes no unhandled rejection when it fails after its caller stopped to wait", async () => {
    const { clock, abort, options } = setUp();
    let reject: (error: Error) => void = () => {};
    const promise = new Promise<number>((_, onReject) => {
      reject = onReject;
    });
    const timedOut = withTimeout(promise, 100, () => 0, options);
    clock.advance(100);
    expect(await timedOut).toBe(0);
    abort.abort(new Error("enough"));
    await expect(withTimeout(promise, 100, () => 0, options)).rejects.toThrow("enough");
    reject(new Error("too late"));
    await turn();
  });
});
