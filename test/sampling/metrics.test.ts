import { describe, expect, it } from "vitest";
import { SweepTally } from "../../src/driver/tally.ts";
import { checkCadence } from "../../src/model/watch.ts";
import { Feed } from "../../src/sampling/feed.ts";
import { SweepMetrics } from "../../src/sampling/metrics.ts";
import { pushAll } from "./collecting-sink.ts";
import { sample } from "./sample.ts";

const RECORDS = [
  sample(),
  sample({ status: "partial", reason: "timeout" }),
  sample({ status: "failed", reason: "error" }),
  sample({ status: "partial", reason: "quarantined" }),
  sample({ status: "gone", reason: "unknown" }),
];
const COUNTED = { records: { ok: 1, partial: 2, failed: 1, gone: 1 }, recordsQuarantined: 1 };

describe("the figures of sweeps", () => {
  it("are all zero at the beginning", () => {
    expect(new SweepMetrics(() => 0).snapshot()).toEqual({
      sweeps: 0,
      sweepsFailed: 0,
      sweepsStopped: 0,
      sweepsInFlight: 0,
      sweepSeconds: 0,
      lastSweepSeconds: 0,
      sweepsOverrun: 0,
      records: { ok: 0, partial: 0, failed: 0, gone: 0 },
      recordsQuarantined: 0,
    });
  });

  it("count sweeps by their end, and the time of those that were whole", () => {
    let now = 1_000;
    const metrics = new SweepMetrics(() => now);
    const [first, second, failed, stopped] = Array.from({ length: 5 }, () => metrics.began());
    expect(metrics.snapshot().sweepsInFlight).toBe(5);
    now = 1_250;
    first!("whole");
    now = 3_000;
    second!("whole");
    failed!("failed");
    stopped!("stopped");
    metrics.overrun(3);
    expect(metrics.snapshot()).toMatchObject({
      sweeps: 2,
      sweepsFailed: 1,
      sweepsStopped: 1,
      sweepsInFlight: 1,
      sweepSeconds: 2.25,
      lastSweepSeconds: 2,
      sweepsOverrun: 3,
    });
  });

  it("count records by status, and those in which an earlier call was unanswered", () => {
    const metrics = new SweepMetrics(() => 0);
    metrics.records(RECORDS);
    expect(metrics.snapshot()).toMatchObject(COUNTED);
  });

  it("count the same of what a driver pushes", () => {
    const metrics = new SweepMetrics(() => 0);
    const summary = new SweepTally(0).summary(500);
    const feed = new Feed({
      cadence: checkCadence(),
      now: () => 0,
      metrics,
      over: () => {},
    });
    pushAll(feed, [
      ...RECORDS.map((record) => ({ type: "record" as const, record })),
      { type: "gone", domain: RECORDS[0]!.domain },
      { type: "sync", tick: 1, host: "hv1", summary, overrun: 2 },
    ]);
    const swept = { sweeps: 1, sweepSeconds: 0.5, lastSweepSeconds: 0.5, sweepsOverrun: 2 };
    expect(metrics.snapshot()).toMatchObject({ ...COUNTED, ...swept });
  });

  it("are a copy, that does not change afterwards", () => {
    const metrics = new SweepMetrics(() => 0);
    const { records } = metrics.snapshot();
    metrics.records(RECORDS);
    expect(records.ok).toBe(0);
  });
});
