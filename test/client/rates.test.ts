import { readFileSync } from "node:fs";
import fc from "fast-check";
import { firstValueFrom, from, lastValueFrom, Subject, throwError, toArray } from "rxjs";
import { describe, expect, it } from "vitest";
import { RateMeter, rates } from "../../src/client/rates.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { Domain, type DomainStatsRecord } from "../../src/model/record.ts";
import type { ParamTypeName } from "../../src/model/schema.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { Bench, ofGuest, SIX_GROUPS } from "../drivers/simulated/harness.ts";
import {
  allOf,
  disk,
  failure,
  figures,
  NOTHING,
  type RecordOptions,
  recordAt,
  START,
  STEADY,
  UUID,
  type Values,
} from "./rates/work.ts";

describe("the figures of docs/rates.md", () => {
  const text = readFileSync(new URL("../../docs/rates.md", import.meta.url), "utf8");
  const rows = text
    .slice(text.indexOf("## Worked example"))
    .split("\n")
    .map((line) => /^\| `(.+?)` \| (.*?) ?\| (.+) \|$/.exec(line))
    .filter((match) => match !== null)
    .map(([, name, middle, last]) => ({ name: name!, middle: middle!, last: last! }));
  const isKey = ({ name }: { name: string }) =>
    /^(cpu|vcpu|block|net|balloon)\.[a-z0-9]/.test(name) && !/[A-Z]/.test(name);
  const keys = rows.filter((row) => isKey(row) && row.name !== "cpu.percent");
  const worked = rows.filter((row) => !keys.includes(row));
  const values = (column: "middle" | "last"): Values =>
    Object.fromEntries(keys.map((row) => [row.name, /^\d+$/.test(row[column]) ? BigInt(row[column]) : row[column]]));
  const meter = new RateMeter();
  meter.take(recordAt(0, values("middle")));
  const taken = meter.take(recordAt(2_000, values("last")));

  it("are all there", () => {
    expect(keys).toHaveLength(34);
    expect(worked).toHaveLength(39);
  });

  it.each(worked.map(({ name, last }) => [name, last]))("%s is %s", (name, expected) => {
    const steps = name.split(/[.[\]]+/).filter((step) => step !== "");
    const value = steps.reduce<unknown>((at, step) => (at as Record<string, unknown>)[step], taken);
    expect(String(value)).toBe(expected);
  });
});

describe("a first record", () => {
  it("has no rates, but its devices and what needs no pair", () => {
    const record = recordAt(0, { ...allOf(5), "balloon.current": 2048, "balloon.rss": 1024 });
    const taken = new RateMeter().take(record);
    expect(taken.record).toBe(record);
    expect(taken.intervalMs).toBeUndefined();
    expect(figures(taken)).toEqual(NOTHING);
    expect(taken.disks).toMatchObject([{ index: 0, name: "vda", path: "/a", intervalMs: undefined }]);
    expect(taken.interfaces).toMatchObject([{ index: 0, name: "vnet0", intervalMs: undefined }]);
    expect(taken.vcpus).toMatchObject([{ number: 0, intervalMs: undefined }]);
    expect(taken.memory).toMatchObject({ assignedBytes: 2_097_152, rssBytes: 1_048_576, usedBytes: undefined });
  });

  it("of another domain or another host is not compared with this one's", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    const uuid = "99999999-2222-3333-4444-555555555555";
    expect(figures(meter.take(recordAt(1_000, allOf(1_000), { uuid })))).toEqual(NOTHING);
    expect(figures(meter.take(recordAt(1_000, allOf(1_000), { host: "other" })))).toEqual(NOTHING);
    expect(figures(meter.take(recordAt(1_000, allOf(1_000))))).toEqual(STEADY);
    expect(meter.size).toBe(3);
  });
});

describe("a pair of records", () => {
  it.each([
    ["across 2^53", 2n ** 53n - 1n, 2n ** 53n + 2_001n, 2_002],
    ["beyond 2^53, where floats would all be even", 2n ** 60n + 1n, 2n ** 60n + 2n, 1],
    ["at the end of 64 bits", 2n ** 64n - 4n, 2n ** 64n - 1n, 3],
    ["where nothing happened", 2n ** 60n, 2n ** 60n, 0],
  ])("is subtracted exactly %s", (_, before, after, difference) => {
    const meter = new RateMeter();
    const values = (bytes: bigint) => ({ "net.0.name": "vnet0", "net.0.rx.bytes": bytes });
    meter.take(recordAt(0, values(before)));
    expect(meter.take(recordAt(1_000, values(after))).interfaces[0]!.receivedBytesPerSecond).toBe(difference);
    // And the next one, from where this one was.
    expect(meter.take(recordAt(2_000, values(after))).interfaces[0]!.receivedBytesPerSecond).toBe(0);
  });

  it("gives rates again after a counter beyond 2^53 began at zero", () => {
    const meter = new RateMeter();
    const take = (ms: number, bytes: bigint) =>
      meter.take(recordAt(ms, { "net.0.name": "vnet0", "net.0.rx.bytes": bytes })).interfaces[0]!
        .receivedBytesPerSecond;
    const taken = [2n ** 60n, 2n ** 60n + 5n, 10n, 30n, 2n ** 53n + 31n].map((bytes, i) => take(i * 1_000, bytes));
    expect(taken).toEqual([undefined, 5, undefined, 20, 2 ** 53]);
  });

  it("tells by the time between the samples, whatever that is", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    expect(meter.take(recordAt(250, allOf(250)))).toMatchObject({ intervalMs: 250, cpu: { percent: 100 } });
    // 3,600,000 ms later, with 900,000 ms of work.
    expect(meter.take(recordAt(3_600_250, allOf(900_250)))).toMatchObject({
      intervalMs: 3_600_000,
      cpu: { percent: 25 },
    });
  });

  it.each([0, -1, -5_000])("that is %i ms apart has no rates, and the next pair has", (ms) => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    const taken = meter.take(recordAt(ms, allOf(10)));
    expect(figures(taken)).toEqual(NOTHING);
    expect(taken.intervalMs).toBeUndefined();
    expect(figures(meter.take(recordAt(ms + 1_000, allOf(1_010))))).toEqual(STEADY);
  });

  it("lacks the figures whose parameters either record lacks, and no others", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, { ...disk(0, "vda", "/a", 0), "cpu.time": 0, "cpu.user": 0 }));
    const later = { ...disk(0, "vda", "/a", 100), "cpu.time": 10_000_000, "cpu.system": 5, "block.0.wr.bytes": 5 };
    delete (later as Values)["block.0.rd.times"];
    const { cpu, disks } = meter.take(recordAt(1_000, later));
    expect(cpu).toMatchObject({
      percent: 1,
      userPercent: undefined,
      systemPercent: undefined,
      percentOfVcpus: undefined,
    });
    expect(disks[0]).toMatchObject({
      readsPerSecond: 100,
      readLatencyMs: undefined,
      writeBytesPerSecond: undefined,
      writesPerSecond: undefined,
    });
  });

  it("takes a counter that has become another type as missing", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, { "cpu.time": 2n ** 60n }));
    const params = TypedParams.from([["cpu.time", "double", 1.5]]);
    expect(meter.take(recordAt(1_000, {}, { params })).cpu.percent).toBeUndefined();
  });
});

describe("a reset", () => {
  it("of one disk leaves that disk without rates for one pair, and nothing else", () => {
    const meter = new RateMeter();
    const values = (cpu: number, a: number, b: number) => ({
      "cpu.time": cpu,
      ...disk(0, "vda", "/a", a),
      ...disk(1, "vdb", "/b", b),
    });
    meter.take(recordAt(0, values(0, 500, 500)));
    const { cpu, disks } = meter.take(recordAt(1_000, values(0, 20, 600)));
    expect(cpu.percent).toBe(0);
    expect(disks.map(({ intervalMs, readsPerSecond }) => [intervalMs, readsPerSecond])).toEqual([
      [undefined, undefined],
      [1_000, 100],
    ]);
    expect(meter.take(recordAt(2_000, values(0, 30, 600))).disks[0]!.readsPerSecond).toBe(10);
  });

  it("of one of its counters makes all of a disk doubtful", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, disk(0, "vda", "/a", 500)));
    const later = { ...disk(0, "vda", "/a", 600), "block.0.rd.times": 1 };
    expect(meter.take(recordAt(1_000, later)).disks[0]!.readBytesPerSecond).toBeUndefined();
  });

  it("of the processor time makes all of the domain doubtful, although its id is the same", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(500)));
    expect(figures(meter.take(recordAt(1_000, { ...allOf(600), "cpu.time": 1 })))).toEqual(NOTHING);
    expect(meter.take(recordAt(2_000, { ...allOf(1_600), "cpu.time": 10_000_001 })).cpu.percent).toBe(1);
  });

  it("shows by the id of a domain that was restarted, although its counters have overtaken the old ones", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(10)));
    expect(figures(meter.take(recordAt(1_000, allOf(900), { id: 8 })))).toEqual(NOTHING);
    expect(figures(meter.take(recordAt(2_000, allOf(1_900), { id: 8 })))).toEqual(STEADY);
  });

  it("is not missed when the record between has failed", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(10)));
    meter.take(recordAt(1_000, {}, { ...failure, id: 8 }));
    expect(figures(meter.take(recordAt(2_000, allOf(900), { id: 8 })))).toEqual(NOTHING);
  });
});

describe("what a RateMeter remembers", () => {
  it("no domain that is gone, by its record or by word", () => {
    const meter = new RateMeter();
    meter.take(recordAt(0, allOf(0)));
    expect(figures(meter.take(recordAt(1_000, {}, { status: "gone" })))).toEqual(NOTHING);
    expect(meter.size).toBe(0);
    expect(figures(meter.take(recordAt(2_000, allOf(2_000))))).toEqual(NOTHING);
    meter.forget({ uuid: UUID, host: "host", name: "renamed", id: -1 });
    expect(meter.size).toBe(0);
    meter.forget({ uuid: UUID, host: "host", name: "renamed", id: -1 });
  });

  it("no domain of a host that had a gap", () => {
    const meter = new RateMeter();
    const take = (ms: number, host: string) => figures(meter.take(recordAt(ms, allOf(ms), { host })));
    for (const host of ["a", "b"]) take(0, host);
    meter.gap("a");
    expect([take(1_000, "a"), take(1_000, "b")]).toEqual([NOTHING, STEADY]);
    meter.gap();
    expect([take(2_000, "a"), take(2_000, "b")]).toEqual([NOTHING, NOTHING]);
    meter.gap("b,a");
    expect([take(3_000, "a"), take(3_000, "b")]).toEqual([NOTHING, NOTHING]);
  });

  it("no domain without a record for more than a day, also without an event that it is gone", () => {
    const meter = new RateMeter();
    for (let i = 0; i < 500; i++) meter.take(recordAt(0, allOf(0), { uuid: `${i}`.padStart(36, "0") }));
    expect(meter.size).toBe(500);
    for (let i = 0; i < 3_000; i++) meter.take(recordAt(90_000_001 + i, allOf(i)));
    expect(meter.size).toBe(1);
  });

  it("the domains that it heard of within the day", () => {
    const meter = new RateMeter();
    for (let i = 0; i < 500; i++) meter.take(recordAt(0, allOf(0), { uuid: `${i}`.padStart(36, "0") }));
    for (let i = 0; i < 3_000; i++) meter.take(recordAt(80_000_000 + i, allOf(i)));
    expect(meter.size).toBe(501);
  });
});

describe("whatever two records say", () => {
  const KEYS = [
    "state.state",
    "cpu.time",
    "cpu.user",
    "vcpu.current",
    "vcpu.0.time",
    "vcpu.0.delay",
    "vcpu.5.time",
    "net.0.name",
    "net.0.rx.bytes",
    "net.1.name",
    "net.1.rx.bytes",
    "block.0.name",
    "block.0.path",
    "block.0.rd.reqs",
    "block.0.rd.times",
    "block.1.name",
    "block.1.rd.reqs",
    "balloon.current",
    "balloon.available",
    "balloon.usable",
    "balloon.last-update",
    "balloon.swap_in",
    "balloon.minor_fault",
  ];
  type Typed = [ParamTypeName, ParamValue];
  const value = fc.oneof(
    { weight: 6, arbitrary: fc.bigInt({ min: 0n, max: 20n }).map((it): Typed => ["ullong", it]) },
    { weight: 2, arbitrary: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((it): Typed => ["ullong", it]) },
    { weight: 1, arbitrary: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((it): Typed => ["llong", it]) },
    { weight: 1, arbitrary: fc.double().map((it): Typed => ["double", it]) },
    { weight: 1, arbitrary: fc.boolean().map((it): Typed => ["boolean", it]) },
    { weight: 1, arbitrary: fc.constantFrom("vda", "vdb", "").map((it): Typed => ["string", it]) },
    { weight: 1, arbitrary: fc.constant(undefined) },
  );
  const params = fc.tuple(...KEYS.map(() => value)).map((values) =>
    TypedParams.from(
      KEYS.flatMap((key, i): [string, ParamTypeName, ParamValue][] => {
        const [type, it] = values[i] ?? [];
        if (type === undefined || it === undefined) return [];
        if (key.endsWith("name")) return [[key, "string", type === "ullong" ? key : "vda"]];
        return key.endsWith("path") ? [[key, "string", it === 0n ? "/a" : "/b"]] : [[key, type, it]];
      }),
    ),
  );
  const record = fc.record({
    params,
    sampledAt: fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: 0, max: 5_000 }) },
      { weight: 1, arbitrary: fc.double() },
    ),
    status: fc.constantFrom("ok", "ok", "ok", "ok", "partial", "failed"),
    id: fc.constantFrom(1, 1, 1, 1, 1, 1, 2, -1),
  });

  it("no figure is negative, NaN or infinite", () => {
    let told = 0;
    fc.assert(
      fc.property(fc.array(record, { minLength: 2, maxLength: 5 }), (list) => {
        const meter = new RateMeter();
        for (const init of list) {
          const taken = meter.take(recordAt(0, {}, init as RecordOptions));
          const { intervalMs, cpu, vcpus, disks, interfaces, memory } = taken;
          for (const part of [{ intervalMs }, cpu, ...vcpus, ...disks, ...interfaces, memory]) {
            for (const [name, figure] of Object.entries(part)) {
              if (figure === undefined || name === "name" || name === "path") continue;
              if (typeof figure !== "number" || !(figure >= 0 && figure < Number.POSITIVE_INFINITY)) {
                throw new Error(`${name} is ${figure}`);
              }
              if (/PerSecond|Percent|LatencyMs/.test(name)) told++;
            }
          }
        }
      }),
      { numRuns: 2_000 },
    );
    expect(told).toBeGreaterThan(500);
  });
});

describe("rates()", () => {
  const record = (ms: number, host = "host"): WatchEvent => ({
    type: "record",
    record: recordAt(ms, allOf(ms), { host }),
  });
  const percents = (events: readonly (WatchEvent | DomainStatsRecord)[]) =>
    lastValueFrom(from(events).pipe(rates(), toArray())).then((all) => all.map(({ cpu }) => cpu.percent));
  const summary = { domains: 1, ok: 1, partial: 0, failed: 0, gone: 0, startedAt: START, tookMs: 1 };

  it("gives one result per record, and none for the other events", async () => {
    const sync: WatchEvent = { type: "sync", tick: 1, host: "host", summary, overrun: 0 };
    const status: WatchEvent = { type: "status", state: "connected", host: undefined, error: undefined };
    expect(await percents([status, record(0), sync, record(1_000), sync, record(2_000)])).toEqual([
      undefined,
      100,
      100,
    ]);
  });

  it("takes plain records too", async () => {
    expect(await percents([recordAt(0, allOf(0)), recordAt(1_000, allOf(500))])).toEqual([undefined, 50]);
  });

  it.each([
    ["host", [undefined, undefined]],
    ["other", [undefined, 100]],
    [undefined, [undefined, undefined]],
  ])("compares nothing over a gap of %s", async (host, expected) => {
    const gap: WatchEvent = { type: "gap", reason: "slow-consumer", skipped: 3, host };
    expect(await percents([record(0), gap, record(1_000)])).toEqual(expected);
  });

  it("compares nothing with a domain that was gone meanwhile", async () => {
    const gone: WatchEvent = { type: "gone", domain: new Domain(UUID, "guest", -1, "host") };
    expect(await percents([record(0), gone, record(1_000)])).toEqual([undefined, undefined]);
  });

  it("gives each result before the next record, and lets go of the source", () => {
    const source = new Subject<WatchEvent>();
    const seen: (number | undefined)[] = [];
    const subscription = source.pipe(rates()).subscribe(({ cpu }) => seen.push(cpu.percent));
    source.next(record(0));
    expect(seen).toEqual([undefined]);
    source.next(record(1_000));
    expect(seen).toEqual([undefined, 100]);
    subscription.unsubscribe();
    expect(source.observed).toBe(false);
  });

  it("begins without earlier records for each subscriber", () => {
    const source = new Subject<WatchEvent>();
    const results = source.pipe(rates());
    const first: (number | undefined)[] = [];
    const second: (number | undefined)[] = [];
    results.subscribe(({ cpu }) => first.push(cpu.percent));
    source.next(record(0));
    results.subscribe(({ cpu }) => second.push(cpu.percent));
    source.next(record(1_000));
    expect([first, second]).toEqual([[undefined, 100], [undefined]]);
    source.complete();
  });

  it("fails as its source fails", async () => {
    const error = new VirstreamError("connection-lost", "no way");
    await expect(firstValueFrom(throwError(() => error).pipe(rates()))).rejects.toBe(error);
  });
});

describe("on a simulated host", () => {
  it("the rates of every domain are those of its counters", async () => {
    const bench = new Bench("domains=40&vcpus=1-4&disks=0-3&nics=0-3");
    const meter = new RateMeter();
    const before = await bench.records({ groups: SIX_GROUPS });
    for (const record of before) meter.take(record);
    bench.clock.advance(20_000);
    const after = await bench.records({ groups: SIX_GROUPS });
    let devices = 0;
    for (const record of after) {
      const earlier = before.find(({ domain }) => domain.uuid === record.domain.uuid)!;
      const step = (key: string) =>
        Number((record.params.getUnknown(key) as bigint) - (earlier.params.getUnknown(key) as bigint));
      const { intervalMs, cpu, vcpus, disks, interfaces, memory } = meter.take(record);
      expect(intervalMs).toBe(record.sampledAt - earlier.sampledAt);
      const seconds = intervalMs! / 1_000;
      expect(cpu.percent).toBeCloseTo(step("cpu.time") / 1e7 / seconds, 6);
      expect(cpu.percentOfVcpus).toBeCloseTo(cpu.percent! / vcpus.length, 6);
      for (const { number, percent, stealPercent } of vcpus) {
        expect(percent).toBeCloseTo(step(`vcpu.${number}.time`) / 1e7 / seconds, 6);
        expect(stealPercent).toBeCloseTo(step(`vcpu.${number}.delay`) / 1e7 / seconds, 6);
      }
      for (const { index, readsPerSecond, writeBytesPerSecond } of disks) {
        expect(readsPerSecond).toBeCloseTo(step(`block.${index}.rd.reqs`) / seconds, 6);
        expect(writeBytesPerSecond).toBeCloseTo(step(`block.${index}.wr.bytes`) / seconds, 6);
      }
      for (const { index, receivedBytesPerSecond } of interfaces) {
        expect(receivedBytesPerSecond).toBeCloseTo(step(`net.${index}.rx.bytes`) / seconds, 6);
      }
      expect(memory.intervalMs).toBe(20_000);
      expect(memory.minorFaultsPerSecond).toBeCloseTo(step("balloon.minor_fault") / 20, 6);
      expect(memory.usedPercent).toBeGreaterThan(0);
      expect([disks.length, interfaces.length]).toEqual([
        record.params.number("block.count"),
        record.params.number("net.count"),
      ]);
      devices += disks.length + interfaces.length;
    }
    expect(devices).toBeGreaterThan(40);
  });

  it("a domain whose counters begin at zero again has no rates once, and the others have theirs", async () => {
    const bench = new Bench("domains=3");
    const meter = new RateMeter();
    const round = async () => {
      bench.clock.advance(5_000);
      const records = await bench.records({ groups: SIX_GROUPS });
      return [0, 1, 2].map((guest) => meter.take(ofGuest(records, guest)).cpu.percent !== undefined);
    };
    expect(await round()).toEqual([false, false, false]);
    expect(await round()).toEqual([true, true, true]);
    // Its counters restart at multiples of this time, of which now is the first.
    bench.host.change(1, { resetMs: bench.clock.now() });
    expect(await round()).toEqual([true, false, true]);
    expect(await round()).toEqual([true, true, true]);
  });

  it("domains that are shut off have their disks and no rates", () => {
    const { simulation } = new SimulatedDriver("test:///default?domains=1&shutoff=1");
    const meter = new RateMeter();
    for (const ms of [0, 1_000]) {
      const params = simulation.sample(0, 0x3f, START + ms);
      const taken = meter.take(recordAt(ms, {}, { params, id: -1 }));
      expect(taken.cpu.percent).toBeUndefined();
      expect(taken.disks.length).toBeGreaterThan(0);
      expect(taken.memory.assignedBytes).toBeGreaterThan(0);
    }
  });
});
