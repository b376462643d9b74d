import { describe, expect, it } from "vitest";
import { RateMeter } from "../../../src/client/rates.ts";
import { allOf, disk, failure, figures, NOTHING, recordAt, START, STEADY } from "./work.ts";

describe("devices that come and go", () => {
  it("a disk is found again when the one before it was unplugged, and when one is plugged before it", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, { ...disk(0, "vda", "/a", 900), ...disk(1, "vdb", "/b", 100), ...disk(2, "vdc", "/c", 0) }));
    const less = meter.take(recordAt(1_000, { ...disk(0, "vdb", "/b", 150), ...disk(1, "vdc", "/c", 30) }));
    expect(less.disks.map((it) => [it.index, it.name, it.readsPerSecond])).toEqual([
      [0, "vdb", 50],
      [1, "vdc", 30],
    ]);
    const more = meter.take(
      recordAt(2_000, { ...disk(0, "vda", "/new", 999), ...disk(1, "vdb", "/b", 160), ...disk(2, "vdc", "/c", 31) }),
    );
    expect(more.disks.map((it) => it.readsPerSecond)).toEqual([undefined, 10, 1]);
  });

  it("another disk under an old name has no rates, even if it has done more than the old one", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, disk(0, "vdb", "/old", 10)));
    expect(meter.take(recordAt(1_000, disk(0, "vdb", "/new", 90))).disks[0]!.readsPerSecond).toBeUndefined();
    expect(meter.take(recordAt(2_000, disk(0, "vdb", "/new", 95))).disks[0]!.readsPerSecond).toBe(5);
  });

  it("an interface is found again by its name", () => {
    const meter = new RateMeter();
    const net = (number: number, name: string, bytes: number) => ({
      [`net.${number}.name`]: name,
      [`net.${number}.rx.bytes`]: bytes,
    });
    meter.take(recordAt(0, { ...net(0, "vnet3", 5_000), ...net(2, "vnet4", 100) }));
    const { interfaces } = meter.take(recordAt(1_000, { ...net(0, "vnet4", 130), ...net(1, "vnet9", 9_000) }));
    expect(interfaces.map((it) => [it.index, it.name, it.receivedBytesPerSecond])).toEqual([
      [0, "vnet4", 30],
      [1, "vnet9", undefined],
    ]);
  });

  it("a vCPU is found again by its number, among holes", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, { "vcpu.0.time": 0, "vcpu.1.time": 900_000_000, "vcpu.3.time": 100_000_000 }));
    const { vcpus } = meter.take(recordAt(1_000, { "vcpu.0.time": 0, "vcpu.2.time": 5, "vcpu.3.time": 600_000_000 }));
    expect(vcpus.map(({ number, percent }) => [number, percent])).toEqual([
      [0, 0],
      [2, undefined],
      [3, 50],
    ]);
  });

  it("vCPUs that are unplugged one after the other leave the rates of the others alone", () => {
    const meter = new RateMeter();
    const take = (ms: number, numbers: readonly number[]) =>
      meter
        .take(recordAt(ms, Object.fromEntries(numbers.map((n) => [`vcpu.${n}.time`, n * 1e12 + ms * n * 100_000]))))
        .vcpus.map(({ percent }) => percent);
    expect(take(0, [1, 2, 3, 4])).toEqual([undefined, undefined, undefined, undefined]);
    expect(take(1_000, [2, 3, 4])).toEqual([20, 30, 40]);
    expect(take(2_000, [3, 4])).toEqual([30, 40]);
    expect(take(3_000, [2, 3, 4])).toEqual([undefined, 30, 40]);
    expect(take(4_000, [3, 4])).toEqual([30, 40]);
  });

  it("a disk with its backing chain is one disk", () => {
    const meter = new RateMeter();
    const values = (work: number) => ({
      ...disk(0, "vda", "/top", work),
      "block.1.name": "vda",
      "block.1.path": "/base",
      "block.1.capacity": 5,
      ...disk(2, "vdb", "/b", work),
      "block.3.name": "sda",
    });
    meter.take(recordAt(0, values(0)));
    const { disks } = meter.take(recordAt(1_000, values(40)));
    expect(disks.map(({ index, name, readsPerSecond }) => [index, name, readsPerSecond])).toEqual([
      [0, "vda", 40],
      [2, "vdb", 40],
      [3, "sda", undefined],
    ]);
  });
});

describe("a wall clock that is set between two records", () => {
  it.each([
    ["an hour forward", 3_600_000],
    ["an hour back", -3_600_000],
    ["two seconds back", -2_000],
    ["two days forward", 172_800_000],
  ])("%s changes no rate", (_, step) => {
    const meter = new RateMeter();
    const taken = [0, 0, step, step].map((stepped, i) => {
      const options = { sampledAt: START + i * 1_000 + stepped, steadyAt: 5_000 + i * 1_000 };
      return meter.take(recordAt(0, allOf(i * 1_000), options));
    });
    expect(taken.map(figures)).toEqual([NOTHING, STEADY, STEADY, STEADY]);
    expect(taken.map(({ intervalMs }) => intervalMs)).toEqual([undefined, 1_000, 1_000, 1_000]);
  });

  it("does not make a domain forgotten, nor its records too old to compare after one that failed", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0), { steadyAt: 0 }));
    meter.take(recordAt(172_800_000, {}, { ...failure, steadyAt: 1_000 }));
    expect(figures(meter.take(recordAt(172_801_000, allOf(2_000), { steadyAt: 2_000 })))).toEqual(STEADY);
  });
});

describe("records that are not whole", () => {
  it("a failed one has no rates, and the next is compared with the one before it", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    const failed = meter.take(recordAt(1_000, {}, failure));
    expect(failed).toMatchObject({ intervalMs: undefined, vcpus: [], disks: [], interfaces: [] });
    expect(Object.values({ ...failed.cpu, ...failed.memory }).every((value) => value === undefined)).toBe(true);
    const next = meter.take(recordAt(2_000, allOf(2_000)));
    expect(figures(next)).toEqual(STEADY);
    expect(next.intervalMs).toBe(2_000);
  });

  it("a partial one has the rates of its groups, and each group is compared with its own last one", () => {
    const meter = new RateMeter();
    const interfaces = (work: number) => ({ "net.0.name": "vnet0", "net.0.rx.bytes": work, "block.0.name": "vda" });
    meter.take(recordAt(0, allOf(0)));
    const partial = meter.take(recordAt(1_000, interfaces(1_000), { status: "partial", missing: ["block"] }));
    expect(figures(partial)).toEqual([undefined, undefined, undefined, 1_000]);
    expect(partial.intervalMs).toBe(1_000);
    const whole = meter.take(recordAt(2_000, allOf(2_000)));
    expect(figures(whole)).toEqual(STEADY);
    expect([whole.intervalMs, whole.interfaces[0]!.intervalMs]).toEqual([1_000, 1_000]);
    expect([whole.cpu.intervalMs, whole.disks[0]!.intervalMs]).toEqual([2_000, 2_000]);
  });

  it.each([
    [600_000, STEADY],
    [600_001, NOTHING],
  ])("over a failed one, a record is compared with one of %i ms ago or not at all", (ms, expected) => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    meter.take(recordAt(ms - 1, {}, failure));
    expect(figures(meter.take(recordAt(ms, allOf(ms))))).toEqual(expected);
  });

  it("a domain that is shut off has no rates, and starts without earlier figures", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(10)));
    expect(figures(meter.take(recordAt(1_000, allOf(20), { id: -1 })))).toEqual(NOTHING);
    expect(meter.size).toBe(0);
    expect(figures(meter.take(recordAt(2_000, { ...allOf(30), "state.state": 5 })))).toEqual(NOTHING);
    expect(figures(meter.take(recordAt(3_000, allOf(1_030))))).toEqual(NOTHING);
  });
});
