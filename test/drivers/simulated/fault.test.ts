import { describe, expect, it } from "vitest";
import { NO_FAULT } from "../../../src/drivers/simulated/fault.ts";
import { GROUPS } from "../../../src/model/group.ts";
import type { StatsQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import { Bench, ofGuest, SIX_GROUPS } from "./harness.ts";
import { turn } from "./manual-clock.ts";

const statuses = (records: readonly DomainStatsRecord[]) =>
  records.toSorted((a, b) => a.index - b.index).map(({ status }) => status);

describe("a frozen guest", () => {
  it("yields its record at the deadline, with what needs no monitor, and names what is missing", async () => {
    const bench = new Bench("domains=5&vcpus=2&disks=2&nics=2&freeze=3");
    const start = bench.clock.now();
    const chunks = await bench.chunks({ groups: SIX_GROUPS, deadlineMs: 700 });
    const last = chunks.at(-1)!;
    expect(last).toHaveLength(1);
    expect(last[0]).toMatchObject({
      status: "partial",
      reason: "timeout",
      missing: ["cpu-total", "balloon", "vcpu", "block"],
      tookMs: 700,
      sampledAt: start,
      index: 3,
      error: undefined,
    });
    expect(last[0]!.params.schema.keys.map((key) => key.split(".")[0])).toEqual([
      ...["state", "state"],
      ...Array.from({ length: 19 }, () => "net"),
    ]);
    expect(bench.clock.now() - start).toBe(700);
  });

  it("holds up no other: they have all answered before its deadline", async () => {
    const bench = new Bench("domains=1000&freeze=0-99,500");
    const start = bench.clock.now();
    const sweep = bench.begin({ groups: ["cpu-total"] });
    const names = new Set<string>();
    while (names.size < 899) for (const { domain } of (await sweep.next()).value ?? []) names.add(domain.name);
    expect(bench.clock.now()).toBe(start);
    bench.clock.advance(1_999);
    const rest = sweep.next();
    await turn();
    bench.clock.advance(1);
    const late = [...((await rest).value ?? []), ...((await sweep.next()).value ?? [])];
    expect(late).toHaveLength(101);
  });

  it("takes no slot from those that answer with a delay", async () => {
    const bench = new Bench("domains=12&latency=10&freeze=0-3&shutoff=0");
    const start = bench.clock.now();
    const records = await bench.records();
    expect(statuses(records)).toEqual([...Array(4).fill("partial"), ...Array(8).fill("ok")]);
    expect(records.slice(0, 8).every(({ sampledAt, tookMs }) => sampledAt + tookMs - start <= 20)).toBe(true);
  });

  it("answers when it is shut off, because nothing asks its monitor", async () => {
    const bench = new Bench("domains=2&freeze=0-1&shutoff=1");
    const records = await bench.records({ deadlineMs: 500 });
    const outcomes = records.map(({ domain, status }) => [domain.id === -1, status]);
    expect(outcomes.sort()).toEqual([
      [false, "partial"],
      [true, "ok"],
    ]);
  });

  it("is frozen although it is slow as well", async () => {
    const records = await new Bench("domains=1&freeze=0&slow=0:10").records();
    expect(records).toMatchObject([{ status: "partial", reason: "timeout" }]);
  });

  it("answers in full what needs no monitor", async () => {
    const bench = new Bench("domains=2&freeze=0");
    const records = await bench.records({ groups: ["state", "interface", "perf", "memory"] });
    expect(statuses(records)).toEqual(["ok", "ok"]);
    expect(bench.clock.timers).toBe(0);
  });

  it("misses every group that needs the monitor when all are asked for", async () => {
    const [record] = await new Bench("domains=1&freeze=0").records();
    expect(record!.missing).toEqual(GROUPS.filter((name) => !["state", "interface", "perf", "memory"].includes(name)));
  });

  it("is busy at once for a query that does not wait", async () => {
    const bench = new Bench("domains=2&freeze=0");
    const start = bench.clock.now();
    const records = await bench.records({ nowait: true });
    expect(ofGuest(records, 0)).toMatchObject({ status: "partial", reason: "busy", tookMs: 0 });
    expect(bench.clock.now()).toBe(start);
  });

  it("is queried once only: from the second sweep on its record comes at once, as on a libvirt host, until it thaws", async () => {
    const bench = new Bench("domains=2&freeze=0");
    const start = bench.clock.now();
    const reasons = async (query: StatsQuery = {}) => {
      const { status, reason, tookMs } = ofGuest(await bench.records(query), 0);
      return [status, reason, tookMs, bench.clock.now() - start];
    };
    expect(await reasons()).toEqual(["partial", "timeout", 2_000, 2_000]);
    expect(await reasons()).toEqual(["partial", "quarantined", 0, 2_000]);
    expect(await reasons({ deadlineMs: 60_000, nowait: true })).toEqual(["partial", "quarantined", 0, 2_000]);
    // What needs no monitor is queried all the same.
    expect(await reasons({ groups: ["state"] })).toEqual(["ok", undefined, 0, 2_000]);
    bench.host.change(0, { slowMs: 0 });
    expect(await reasons()).toEqual(["ok", undefined, 0, 2_000]);
    bench.host.change(0, { slowMs: Number.POSITIVE_INFINITY });
    expect(await reasons({ deadlineMs: 500 })).toEqual(["partial", "timeout", 500, 2_500]);
  });

  it("may be frozen and thawed in code", async () => {
    const bench = new Bench("domains=2&freeze=0");
    bench.host.change(0, { slowMs: 0 });
    bench.host.change(1, { slowMs: Number.POSITIVE_INFINITY });
    expect(statuses(await bench.records())).toEqual(["ok", "partial"]);
  });

  it("reaches its deadline although the clock was set back", async () => {
    const bench = new Bench("domains=1&freeze=0");
    const pull = bench.begin().next();
    await turn();
    bench.clock.set(bench.clock.now() - 3_600_000);
    bench.clock.fireEarly();
    expect((await pull).value).toMatchObject([{ status: "partial", tookMs: 2_000 }]);
  });
});

describe("a slow guest", () => {
  it("answers in full after its delay, and the others before", async () => {
    const bench = new Bench("domains=3&slow=1:300");
    const start = bench.clock.now();
    const chunks = await bench.chunks();
    expect(chunks.flat().map(({ index, status, tookMs }) => [index, status, tookMs])).toEqual([
      [0, "ok", 0],
      [2, "ok", 0],
      [1, "ok", 300],
    ]);
    expect(bench.clock.now() - start).toBe(300);
  });

  it("is late when its delay is beyond the deadline", async () => {
    const records = await new Bench("domains=2&slow=0:300").records({ deadlineMs: 299 });
    expect(ofGuest(records, 0)).toMatchObject({ status: "partial", reason: "timeout", tookMs: 299 });
    const inTime = await new Bench("domains=2&slow=0:300").records({ deadlineMs: 300 });
    expect(ofGuest(inTime, 0).status).toBe("ok");
  });

  it("is queried again when its late answer has come", async () => {
    const bench = new Bench("domains=1&slow=0:300");
    const reason = async () => (await bench.records({ deadlineMs: 200 }))[0]!.reason;
    expect([await reason(), await reason()]).toEqual(["timeout", "quarantined"]);
    bench.clock.advance(100);
    expect([await reason(), await reason()]).toEqual(["timeout", "quarantined"]);
  });

  it("comes in the order of the delays", async () => {
    const records = await new Bench("domains=5&slow=0:50,1:40,2:30,3:20,4:10").records();
    expect(records.map(({ index }) => index)).toEqual([4, 3, 2, 1, 0]);
  });
});

describe("a guest that vanishes", () => {
  it("is listed, gone by one record, and in no later sweep", async () => {
    const bench = new Bench("domains=3&vanish=1");
    const records = await bench.records();
    expect(bench.expected).toBe(3);
    expect(statuses(records)).toEqual(["ok", "gone", "ok"]);
    expect(ofGuest(records, 1)).toMatchObject({ reason: undefined, missing: [], error: undefined });
    expect(ofGuest(records, 1).params.size).toBe(0);
    const later = await bench.records();
    expect(bench.expected).toBe(2);
    expect(later.map(({ index, domain }) => [index, domain.name])).toEqual([
      [0, "guest-00000"],
      [1, "guest-00002"],
    ]);
  });

  it("is gone in every sweep that had listed it", async () => {
    const bench = new Bench("domains=3");
    const sweeps = [bench.begin(), bench.begin()];
    for (const sweep of sweeps) await sweep.next();
    bench.host.change(2, { vanishing: true });
    for (const sweep of sweeps)
      expect((await sweep.next()).value).toMatchObject([{ status: "ok" }, { status: "gone" }]);
  });

  it("is unknown when it is named afterwards, until it appears again", async () => {
    const bench = new Bench("domains=3&vanish=1");
    await bench.records();
    const query = { domains: ["guest-00001"] };
    expect(await bench.records(query)).toMatchObject([{ status: "gone", reason: "unknown" }]);
    bench.host.change(1, NO_FAULT);
    expect(await bench.records(query)).toMatchObject([{ status: "ok" }]);
    expect(await bench.records()).toHaveLength(3);
  });
});

describe("a guest that appears", () => {
  it("is not listed before its time since the host was opened, and is from then on", async () => {
    const bench = new Bench("domains=3&appear=1:5000");
    expect(await bench.records()).toHaveLength(2);
    bench.clock.advance(4_999);
    expect(await bench.records()).toHaveLength(2);
    expect(await bench.records({ domains: ["guest-00001"] })).toMatchObject([{ reason: "unknown" }]);
    bench.clock.advance(1);
    const records = await bench.records();
    expect(records.map(({ domain }) => domain.name)).toEqual(["guest-00000", "guest-00001", "guest-00002"]);
  });

  it("is not in a sweep that began before", async () => {
    const bench = new Bench("domains=3&appear=2:10&slow=1:50");
    expect(await bench.records()).toHaveLength(2);
    expect(await bench.records()).toHaveLength(3);
  });
});

describe("a guest that fails", () => {
  it("has one record with an error and no parameters, and the others are whole", async () => {
    const bench = new Bench("domains=3&error=2");
    const records = await bench.records({ groups: ["state", "block"] });
    expect(statuses(records)).toEqual(["ok", "ok", "failed"]);
    const failed = ofGuest(records, 2);
    expect(failed).toMatchObject({ reason: "error", missing: ["state", "block"], error: { code: "hypervisor-error" } });
    expect(failed.error!.libvirt).toEqual({ code: 1, domain: 12 });
    expect(failed.params.size).toBe(0);
  });

  it("answers again once it is healed", async () => {
    const bench = new Bench("domains=2&error=0");
    bench.host.change(0, { failing: false });
    bench.host.change(1, { failing: true });
    expect(statuses(await bench.records())).toEqual(["ok", "failed"]);
  });
});

describe("a guest with a huge record", () => {
  it("has it with the block group and not without", async () => {
    const bench = new Bench("domains=2&huge=1:20000");
    expect(ofGuest(await bench.records(), 1).params.size).toBe(20_000);
    expect(ofGuest(await bench.records({ groups: ["state"] }), 1).params.size).toBe(2);
  });
});
