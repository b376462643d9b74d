import { describe, expect, it } from "vitest";
import { RateMeter } from "../../../src/client/rates.ts";
import { failure, recordAt, START } from "./work.ts";

describe("the guest's memory", () => {
  const guest = (update: number, pages: number) => ({
    "balloon.current": 1_000,
    "balloon.available": 900,
    "balloon.usable": 300,
    "balloon.last-update": START / 1_000 + update,
    "balloon.swap_in": pages,
    "balloon.major_fault": pages,
  });

  it("gives rates between two reports of the guest, which hold until the next", () => {
    const meter = new RateMeter();
    // It swaps 5 KiB a second and reports every 4 s; it is sampled every 2 s.
    const taken = [0, 0, 4, 4, 8].map((update, i) => meter.take(recordAt(i * 2_000, guest(update, update * 5))).memory);
    expect(taken.map((memory) => memory.swapInBytesPerSecond)).toEqual([undefined, undefined, 5_120, 5_120, 5_120]);
    expect(taken.map((memory) => memory.intervalMs)).toEqual([undefined, undefined, 4_000, 4_000, 4_000]);
    expect(taken.map((memory) => memory.guestAgeMs)).toEqual([0, 2_000, 0, 2_000, 0]);
    expect(taken[4]).toMatchObject({ majorFaultsPerSecond: 5, minorFaultsPerSecond: undefined, usedBytes: 614_400 });
  });

  it("keeps its age, and no rates, when the guest has not reported for more than ten minutes", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, guest(0, 0)));
    expect(meter.take(recordAt(10_000, guest(10, 50))).memory.majorFaultsPerSecond).toBe(5);
    expect(meter.take(recordAt(610_000, guest(10, 50))).memory.majorFaultsPerSecond).toBe(5);
    const { memory } = meter.take(recordAt(611_000, guest(10, 50)));
    expect(memory).toMatchObject({ majorFaultsPerSecond: undefined, intervalMs: undefined, guestAgeMs: 601_000 });
  });

  it("gives rates between records an hour apart, when none came between", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, guest(0, 0)));
    const { memory } = meter.take(recordAt(3_600_000, guest(3_600, 7_200)));
    expect(memory).toMatchObject({ majorFaultsPerSecond: 2, intervalMs: 3_600_000 });
    meter.take(recordAt(3_601_000, {}, failure));
    expect(meter.take(recordAt(7_200_000, guest(7_200, 9_000))).memory.majorFaultsPerSecond).toBeUndefined();
  });

  it.each([
    ["its counters went down", guest(10, 1)],
    ["its time went back", guest(-10, 70)],
  ])("gives no rates when %s", (_, later) => {
    const meter = new RateMeter();
    meter.take(recordAt(0, guest(0, 50)));
    const { memory } = meter.take(recordAt(10_000, later));
    expect(memory).toMatchObject({
      swapInBytesPerSecond: undefined,
      intervalMs: undefined,
      usedPercent: (600 / 900) * 100,
    });
  });

  it("is known by the records where the hypervisor does not say when the guest reported", () => {
    const meter = new RateMeter();
    const undated = (pages: number) => {
      const { "balloon.last-update": _, ...values } = guest(0, pages);
      return values;
    };
    meter.take(recordAt(0, undated(0)));
    const { memory } = meter.take(recordAt(2_000, undated(10)));
    expect(memory).toMatchObject({
      majorFaultsPerSecond: 5,
      intervalMs: 2_000,
      guestAgeMs: undefined,
      totalBytes: 921_600,
    });
    expect(meter.take(recordAt(2_000, undated(10))).memory.intervalMs).toBeUndefined();
  });

  it.each([
    ["forward", 3_600_000],
    ["back", -3_600_000],
  ])("gives no rates between two reports when the host's clock was set %s between them, and then again", (_, step) => {
    const meter = new RateMeter();
    const taken = [0, 0, step, step].map((stepped, i) => {
      const seconds = i * 10;
      const options = { sampledAt: START + seconds * 1_000 + stepped, steadyAt: seconds * 1_000 };
      return meter.take(recordAt(0, guest(seconds + stepped / 1_000, seconds), options)).memory;
    });
    expect(taken.map((memory) => memory.majorFaultsPerSecond)).toEqual([undefined, 1, undefined, 1]);
    expect(taken.map((memory) => memory.intervalMs)).toEqual([undefined, 10_000, undefined, 10_000]);
    expect(taken.map((memory) => memory.guestAgeMs)).toEqual([0, 0, 0, 0]);
  });

  it("gives no rates between a report that the host dates and one that it does not", () => {
    const meter = new RateMeter();
    const { "balloon.last-update": _, ...undated } = guest(0, 100);
    meter.take(recordAt(0, guest(0, 50), { steadyAt: 1_000 }));
    expect(meter.take(recordAt(2_000, undated, { steadyAt: 3_000 })).memory.intervalMs).toBeUndefined();
    expect(meter.take(recordAt(4_000, guest(4, 150), { steadyAt: 5_000 })).memory.intervalMs).toBeUndefined();
  });

  it("is unknown when the guest never reported", () => {
    const { memory } = new RateMeter().take(recordAt(0, { ...guest(0, 0), "balloon.last-update": 0 }));
    const known = Object.entries(memory).filter(([, value]) => value !== undefined);
    expect(known).toEqual([["assignedBytes", 1_024_000]]);
  });

  it.each([
    ["more is usable than there is", { "balloon.available": 900, "balloon.usable": 901 }],
    ["nothing says what is usable", { "balloon.available": 900, "balloon.unused": 100 }],
    ["it has none", { "balloon.available": 0, "balloon.usable": 0 }],
  ])("is not used to an unknown extent when %s", (_, values) => {
    const { memory } = new RateMeter().take(recordAt(0, { "balloon.last-update": 1_790_000_000, ...values }));
    expect(memory).toMatchObject({ usedBytes: undefined, usedPercent: undefined });
  });

  it("is not older than nothing when the host's clock is ahead", () => {
    expect(new RateMeter().take(recordAt(0, guest(30, 0))).memory.guestAgeMs).toBe(0);
  });
});
