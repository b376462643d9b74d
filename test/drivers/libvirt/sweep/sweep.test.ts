import { describe, expect, it, vi } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { Sweep } from "../../../../src/drivers/libvirt/sweep/sweep.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { checkQuery } from "../../../../src/model/query.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { FREE, libvirtError, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

describe("A sweep", () => {
  it("yields one record for every domain, with its place in the listing, and says how many to expect", async () => {
    const daemon = new SimulatedDaemon(100);
    const run = new Run(daemon);
    await advance(2_000);
    expect(run.expected).toBe(100);
    expect(run.count("ok")).toBe(100);
    expect(run.records.map(({ record }) => record.index).sort((a, b) => a - b)).toEqual(
      daemon.domains.map((_, i) => i),
    );
    for (const { record } of run.records) {
      expect(record.domain).toMatchObject({
        name: `vm${record.index}`,
        uuid: uuidOf(record.index),
        id: record.index + 1,
        host: "node1",
      });
      expect(record.tookMs).toBeCloseTo(8, 0);
    }
    expect(run.endedAt).toBeLessThan(250);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
    expect(daemon.crowds).toBe(1);
  });

  it("dates its records when it asks, on a clock that does not jump when the machine's clock is set", async () => {
    const daemon = new SimulatedDaemon(2, (i) => ({ monitorMs: i === 0 ? 8 : 100 }));
    const run = new Run(daemon);
    await advance(50);
    vi.setSystemTime(Date.now() + 3_600_000);
    await advance(100);
    const [first, second] = run.records.map(({ record }) => record);
    expect(second!.sampledAt - first!.sampledAt).toBe(8);
    expect(second!.steadyAt - first!.steadyAt).toBe(8);
  });

  it("of no domains ends at once", async () => {
    const run = new Run(new SimulatedDaemon(0));
    await advance(1);
    expect([run.expected, run.endedAt]).toEqual([0, 1]);
  });

  it("lets one domain go ahead, and the others follow at its answer", async () => {
    const daemon = new SimulatedDaemon(40);
    const run = new Run(daemon);
    await advance(5);
    expect(daemon.admission.inFlight("monitor")).toBe(1);
    await advance(7);
    expect(daemon.admission.inFlight("monitor")).toBe(4);
    await advance(1_000);
    expect(run.count("ok")).toBe(40);
  });

  it("lets the others follow soon when the one that went ahead is frozen", async () => {
    const daemon = new SimulatedDaemon(40, (i) => (i < 2 ? { monitorMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(24);
    expect(daemon.admission.inFlight("monitor")).toBe(4);
    await advance(1_000);
    expect(run.count("ok")).toBe(38);
    await advance(1_100);
    expect(run.count("partial", "timeout")).toBe(2);
    daemon.thaw();
    await advance(0);
  });

  it("lists with the filters and asks the listed domains without them: who was chosen gets a record", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ active: false }));
    const run = new Run(daemon, { filter: ["active"], nowait: true, groups: ["vcpu"] });
    await advance(20);
    const asked = daemon.calls.filter(({ name }) => name !== PROCEDURES.controlInfo.name).map(({ args }) => args);
    expect(asked).toEqual([1, { uuids: [uuidOf(0)], groups: 8, flags: 0x20000000 }]);
    expect(run.summary).toEqual(["vm0:ok"]);
  });

  it("says that a listed domain is gone when the daemon does not know it any more, and denied when it hides it", async () => {
    const run = new Run(new SimulatedDaemon(3, (i) => (i === 1 ? { gone: true } : i === 2 ? { hidden: true } : {})));
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:gone", "vm2:failed/denied"]);
  });

  it("keeps to the uuid that it asked for when the daemon answers with another domain", async () => {
    const daemon = new SimulatedDaemon(2, (i) => (i === 1 ? { hidden: true } : {}));
    const call = daemon.call.bind(daemon);
    daemon.call = async (procedure, args, connection) => {
      const answer = await call(procedure, args, connection);
      const isLookup = procedure.name === PROCEDURES.lookupByUuid.name;
      return isLookup ? { ...answer, uuid: uuidOf(0) } : answer;
    };
    const run = new Run(daemon);
    await advance(50);
    expect(run.records.map(({ record }) => record.domain.uuid).sort()).toEqual([uuidOf(0), uuidOf(1)]);
  });

  it("goes on when the daemon refuses one domain", async () => {
    const errors = [
      libvirtError(38, "hypervisor-error"),
      libvirtError(88, "denied"),
      libvirtError(8, "invalid-argument"),
    ];
    const daemon = new SimulatedDaemon(5, (i) => (i > 1 ? { error: errors[i - 2]! } : {}));
    const run = new Run(daemon, { groups: ["state", "block"] });
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:ok", "vm2:failed/error", "vm3:failed/denied", "vm4:failed/error"]);
    const failed = run.records.find(({ record }) => record.index === 2)!.record;
    expect(failed.error).toBe(errors[0]);
    expect(failed.missing).toEqual(["state", "block"]);
  });

  it.each([
    [3, "unsupported"],
    [74, "unsupported"],
    [8, "invalid-argument"],
  ] as const)("fails as a whole when the daemon refuses the request (libvirt %i)", async (code, ours) => {
    const error = libvirtError(code, ours);
    const daemon = new SimulatedDaemon(100, () => ({ error }));
    const run = new Run(daemon, { enforce: true });
    await advance(50);
    expect(run.error).toBe(error);
    expect(run.records).toEqual([]);
    expect(daemon.statsCalls).toHaveLength(1);
  });

  it("whose daemon does not list in time fails with deadline-exceeded", async () => {
    const daemon = new SimulatedDaemon(3);
    daemon.listMs = NEVER;
    const run = new Run(daemon);
    const second = new Run(daemon);
    await advance(2_000);
    expect(run.error).toMatchObject({ code: "deadline-exceeded", message: expect.stringContaining("did not list") });
    expect(second.error).toMatchObject({ code: "deadline-exceeded" });
    expect(daemon.calls).toHaveLength(1);
    daemon.thaw();
    await advance(0);
  });
});

describe("A sweep of named domains", () => {
  it("gives the domains up at its deadline, however long it took to look up their names", async () => {
    const daemon = new SimulatedDaemon(2, () => ({ monitorMs: NEVER, freeMs: 400 }));
    const run = new Run(daemon, { domains: ["vm0", "vm1"], deadlineMs: 1_000 });
    await advance(1_450);
    expect(run.summary).toEqual(["vm0:partial/timeout", "vm1:partial/timeout"]);
    daemon.thaw();
    await advance(0);
  });

  it("answers each once, at the place where it was named, also when it is named twice over", async () => {
    const run = new Run(new SimulatedDaemon(5), { domains: ["vm3", uuidOf(1), uuidOf(3), "vm1"] });
    await advance(50);
    expect(run.records.map(({ record }) => record.domain.name).sort()).toEqual(["vm1", "vm3"]);
    expect(run.expected).toBe(2);
    expect(run.endedAt).toBeLessThan(20);
  });

  it("announces the number of its records only when it is certain, where the query has a domain's uuid and its name in the form of a uuid", async () => {
    const daemon = new SimulatedDaemon(3);
    daemon.domains[1]!.name = uuidOf(9);
    const run = new Run(daemon, { domains: [uuidOf(1), uuidOf(9), "vm2"] });
    await advance(50);
    expect(run.summary).toEqual([`${uuidOf(9)}:ok`, "vm2:ok"]);
    expect(run.expected).toBe(2);
  });

  it("says of an unknown name and an unknown uuid that they are unknown", async () => {
    const run = new Run(new SimulatedDaemon(1), { domains: ["nobody", "vm0", uuidOf(9)] });
    await advance(50);
    expect(run.summary).toEqual(["nobody:gone/unknown", "vm0:ok", ":gone/unknown"]);
    expect(run.records.find(({ record }) => record.index === 2)!.record.domain.uuid).toBe(uuidOf(9));
    for (const { record } of run.records) {
      // Its number does not say that it runs.
      if (record.status === "gone") expect([record.error!.code, record.domain.id]).toEqual(["unknown-domain", -1]);
    }
  });

  it("yields nothing for those that do not pass the filters", async () => {
    const daemon = new SimulatedDaemon(3, (i) => ({ active: i === 0 }));
    const run = new Run(daemon, { domains: ["vm0", "vm1", uuidOf(2), "nobody"], filter: ["active"] });
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "nobody:gone/unknown"]);
    expect(run.expected).toBe(2);
    expect(run.endedAt).toBeDefined();
  });

  it("gives up a name that is not looked up in time", async () => {
    const daemon = new SimulatedDaemon(2, (i) => (i === 0 ? { freeMs: NEVER } : {}));
    const run = new Run(daemon, { domains: ["vm0", "vm1"] });
    await advance(2_000);
    expect(run.summary).toEqual(["vm0:failed/timeout", "vm1:ok"]);
    expect(run.expected).toBe(2);
    daemon.thaw();
    await advance(0);
  });
});

describe("A late domain", () => {
  it("has its record at the deadline, from what needs no monitor, and says what is missing", async () => {
    const daemon = new SimulatedDaemon(40, (i) => (i === 7 ? { monitorMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(1_000);
    expect(run.count("ok")).toBe(39);
    await advance(1_010);
    const { record, at } = run.records.at(-1)!;
    expect(record).toMatchObject({ index: 7, status: "partial", reason: "timeout" });
    expect(record.missing).toEqual(["cpu-total", "balloon", "vcpu", "block", "iothread", "dirtyrate", "vm"]);
    expect(record.params.get("state.state")).toBe(1);
    expect(at).toBeGreaterThanOrEqual(2_000);
    expect(at).toBeLessThan(2_010);
    expect(daemon.calls.at(-1)!.args).toEqual({ uuids: [uuidOf(7)], groups: FREE, flags: 0 });
    daemon.thaw();
    await advance(0);
    expect(daemon.admission.inFlight("monitor")).toBe(0);
  });

  it("is asked only for groups that were asked for, and for none if those all need the monitor", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ monitorMs: NEVER }));
    const mixed = new Run(daemon, { groups: ["state", "block"], enforce: true, filter: ["running"] });
    await advance(2_010);
    expect(mixed.records[0]!.record).toMatchObject({ status: "partial", missing: ["block"] });
    expect(daemon.calls.at(-1)!.args).toEqual({ uuids: [uuidOf(0)], groups: 1, flags: 0 });
    daemon.thaw();
    await advance(0);
    const count = daemon.calls.length;
    const none = new Run(daemon, { groups: ["block"] });
    await advance(2_010);
    expect(none.records[0]!.record).toMatchObject({ status: "failed", reason: "timeout", missing: ["block"] });
    expect(none.records[0]!.record.error!.code).toBe("deadline-exceeded");
    expect(daemon.calls.length).toBe(count + 2);
    daemon.thaw();
    await advance(0);
  });

  it("fails half a second later when libvirt does not even say what needs no monitor", async () => {
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? { monitorMs: NEVER, freeMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(2_600);
    expect(run.summary).toEqual(["vm0:ok", "vm1:failed/timeout", "vm2:ok"]);
    const { record, at } = run.records.at(-1)!;
    expect(record.error).toMatchObject({
      code: "deadline-exceeded",
      message: expect.stringContaining("nor did libvirt"),
    });
    expect(Math.round(at)).toBeGreaterThanOrEqual(2_500);
    expect(at).toBeLessThan(2_520);
    const next = new Run(daemon);
    await advance(50);
    expect(next.summary).toEqual(["vm0:ok", "vm1:failed/quarantined", "vm2:ok"]);
    daemon.thaw();
    await advance(0);
  });

  it("is quarantined at once in the next sweeps, its monitor asked no second time, until it answers", async () => {
    const daemon = new SimulatedDaemon(10, (i) => (i === 3 ? { monitorMs: NEVER } : {}));
    new Run(daemon);
    await advance(2_100);
    for (let i = 0; i < 3; i++) {
      const run = new Run(daemon);
      await advance(100);
      expect(run.count("partial", "quarantined")).toBe(1);
      expect(run.count("ok")).toBe(9);
      expect(run.endedAt).toBeLessThan(60);
    }
    expect(daemon.monitorCalls(3)).toBe(1);
    daemon.thaw();
    daemon.domains[3]!.behaviour.monitorMs = 8;
    const run = new Run(daemon);
    await advance(100);
    expect(run.count("ok")).toBe(10);
  });

  it("does not hold up the others: with every slot stuck for ever, all have their records at the deadline", async () => {
    const daemon = new SimulatedDaemon(200, (i) => (i < 4 ? { monitorMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(3_000);
    expect(run.count("partial", "timeout")).toBe(4);
    expect(run.count("partial", "busy")).toBe(196);
    expect(run.endedAt).toBeGreaterThanOrEqual(2_000);
    expect(run.endedAt).toBeLessThan(2_250);
    const next = new Run(daemon);
    await advance(1_000);
    expect(next.count("partial", "quarantined")).toBe(4);
    expect(next.count("partial", "busy")).toBe(196);
    expect(next.endedAt).toBeLessThan(250);
    daemon.thaw();
    await advance(0);
  });

  it("does not make a large healthy host late: as long as it moves on, every domain is read completely", async () => {
    const daemon = new SimulatedDaemon(3_000, (i) => (i === 5 ? { monitorMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(20_000);
    expect(run.count("ok")).toBe(2_999);
    expect(run.count("partial", "timeout")).toBe(1);
  });

  it("costs bounded time also where every guest is slow, and moves", async () => {
    const daemon = new SimulatedDaemon(400, () => ({ monitorMs: 990 }));
    const run = new Run(daemon);
    await advance(60_000);
    expect(run.records).toHaveLength(400);
    expect(run.count("ok")).toBeGreaterThan(40);
    expect(run.endedAt).toBeLessThan(2_000 + 400 * 25 + 1_000 + 500);
  });

  it("of a sweep that was given up is not asked again, and its slot comes back with its answer", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ monitorMs: NEVER }));
    const first = new Run(daemon);
    await advance(10);
    first.abort.abort();
    await advance(0);
    expect(first.endedAt).toBeDefined();
    const second = new Run(daemon);
    await advance(2_100);
    expect(second.count("partial", "quarantined")).toBe(1);
    expect(daemon.monitorCalls(0)).toBe(1);
    daemon.thaw();
    await advance(0);
    expect(daemon.admission.inFlight("monitor")).toBe(0);
  });
});

describe("A sweep that needs no monitor", () => {
  it("goes by while every slot is stuck", async () => {
    const daemon = new SimulatedDaemon(100, () => ({ monitorMs: NEVER }));
    const stuck = new Run(daemon);
    await advance(50);
    const run = new Run(daemon, { groups: ["state", "interface"] });
    await advance(150);
    expect(run.count("ok")).toBe(100);
    stuck.abort.abort();
    daemon.thaw();
    await advance(0);
  });

  it("uses free slots beside the lane, and no connection more", async () => {
    const daemon = new SimulatedDaemon(100);
    const run = new Run(daemon, { groups: ["state"] });
    await advance(100);
    expect(run.count("ok")).toBe(100);
    expect(daemon.most[0]).toBeGreaterThan(2);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
    expect(daemon.crowds).toBe(0);
  });

  it("fails a domain that does not answer, and does not ask it again", async () => {
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? { freeMs: NEVER } : {}));
    const run = new Run(daemon, { groups: ["state"] });
    await advance(2_010);
    expect(run.summary).toEqual(["vm0:ok", "vm1:failed/timeout", "vm2:ok"]);
    const next = new Run(daemon, { groups: ["state"] });
    await advance(10);
    expect(next.summary).toEqual(["vm0:ok", "vm1:failed/quarantined", "vm2:ok"]);
    daemon.thaw();
    await advance(0);
  });
});

describe("The consumer of a sweep", () => {
  it("holds it back when it is slow: at most 64 records wait, no domain becomes late by that, and all come", async () => {
    const daemon = new SimulatedDaemon(300);
    let letGo!: () => void;
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const run = new Run(daemon, {}, () => gate);
    await advance(60_000);
    const asked = daemon.statsCalls.length;
    expect(asked).toBeGreaterThan(60);
    expect(asked).toBeLessThan(80);
    expect(run.sweep.queue.length).toBeLessThanOrEqual(64 + 4);
    letGo();
    await advance(2_000);
    expect(run.count("ok")).toBe(300);
  });

  it("ends it at once when it aborts, and nothing is asked any more", async () => {
    const daemon = new SimulatedDaemon(300);
    const run = new Run(daemon);
    await advance(50);
    const calls = daemon.calls.length;
    run.abort.abort();
    await advance(0);
    expect(run.endedAt).toBe(50);
    expect(run.error).toBeUndefined();
    await advance(1_000);
    expect(daemon.calls.length).toBe(calls);
    expect(daemon.admission.inFlight("monitor")).toBe(0);
  });

  it("may have gone before it begins", async () => {
    const daemon = new SimulatedDaemon(3);
    const sweep = new Sweep(daemon, checkQuery(), { signal: AbortSignal.abort(), expect: () => {} }, daemon);
    sweep.start();
    await expect(sweep.queue.next()).resolves.toMatchObject({ done: true });
    expect(daemon.calls).toEqual([]);
  });

  it("ends it when it leaves the loop", async () => {
    const daemon = new SimulatedDaemon(300);
    const sweep = new Sweep(daemon, checkQuery(), { signal: new AbortController().signal, expect: () => {} }, daemon);
    const left = vi.fn();
    sweep.onDone = left;
    sweep.start();
    const loop = (async () => {
      for await (const _ of sweep.queue) break;
    })();
    await advance(50);
    await loop;
    expect(left).toHaveBeenCalledOnce();
    await advance(50);
    expect(daemon.statsCalls.length).toBeLessThan(10);
  });

  it("shares the daemon with the consumers of other sweeps", async () => {
    const daemon = new SimulatedDaemon(100);
    const runs = [new Run(daemon), new Run(daemon), new Run(daemon)];
    await advance(300);
    const counts = runs.map((run) => run.count("ok"));
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(4);
    await advance(5_000);
    expect(runs.map((run) => run.count("ok"))).toEqual([100, 100, 100]);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
  });
});

describe("A sweep whose connection is lost", () => {
  it("has a failed record for every domain that has none yet, and then fails", async () => {
    const daemon = new SimulatedDaemon(100);
    const run = new Run(daemon);
    await advance(50);
    const ok = run.count("ok");
    expect(ok).toBeGreaterThan(5);
    const error = new VirstreamError("connection-lost", "gone");
    run.sweep.lose(error);
    await advance(50);
    expect(run.count("ok")).toBe(ok);
    expect(run.count("failed", "error")).toBe(100 - ok);
    expect(run.records.at(-1)!.record.error).toBe(error);
    expect(run.error).toBe(error);
  });
});

describe("Sweeps of thousands of domains that freeze at random", () => {
  it.each([1, 2, 3])("keep the promise: one record for each, in bounded time (seed %i)", async (seed) => {
    let state = seed * 7_919;
    const random = () => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return state / 2 ** 32;
    };
    const daemon = new SimulatedDaemon(2_000, () => ({
      monitorMs: random() < 0.002 * seed ? NEVER : 2 + random() * 10,
    }));
    for (let round = 0; round < 4; round++) {
      const runs = [new Run(daemon), new Run(daemon, { groups: ["state", "vcpu"] })];
      await advance(130_000);
      for (const run of runs) {
        expect(new Set(run.records.map(({ record }) => record.index)).size).toBe(2_000);
        expect(run.records).toHaveLength(2_000);
        expect(run.count("failed", "timeout")).toBe(0);
        expect(run.endedAt).toBeLessThan(2_000 + 2_000 * 25 + 1_000 + 500);
      }
      if (round % 2 === 1) daemon.thaw();
    }
    daemon.thaw();
    await advance(0);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
    expect(daemon.admission.inFlight("monitor")).toBe(0);
  });
});
