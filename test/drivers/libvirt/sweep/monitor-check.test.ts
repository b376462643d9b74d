import { describe, expect, it } from "vitest";
import { ControlState, PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { Completeness } from "../../../../src/drivers/libvirt/sweep/completeness.ts";
import { TypedParams } from "../../../../src/model/params.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { type Behaviour, FREE, libvirtError, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

const NOWAIT = 0x20000000;

/** A monitor that has been at one command for so long. */
const occupied = (forMs: number): Behaviour => ({
  monitorMs: NEVER,
  control: { state: ControlState.occupied, details: 0, forMs },
});
const JOB: Behaviour = { control: { state: ControlState.job, details: 0, forMs: 90_000 } };

describe("A domain whose monitor is not known to answer", () => {
  it("is looked at first, by its uuid, and then asked", async () => {
    const daemon = new SimulatedDaemon(2);
    const run = new Run(daemon);
    await advance(50);
    expect(run.count("ok")).toBe(2);
    expect(daemon.checks).toEqual([uuidOf(0), uuidOf(1)]);
    const first = daemon.calls.findIndex(({ name }) => name === PROCEDURES.stats.name);
    expect(daemon.calls.slice(0, first).map(({ name }) => name)).toContain(PROCEDURES.controlInfo.name);
  });

  it("is not asked while another client's call has hung there for a second: it has what needs no monitor, at once", async () => {
    const daemon = new SimulatedDaemon(10, (i) => (i === 3 ? occupied(38_355) : {}));
    const run = new Run(daemon);
    await advance(100);
    expect(run.count("ok")).toBe(9);
    const { record, at } = run.records.find((one) => one.record.index === 3)!;
    expect(record).toMatchObject({ status: "partial", reason: "busy" });
    expect(record.missing).toEqual(["cpu-total", "balloon", "vcpu", "block", "iothread", "dirtyrate", "vm"]);
    expect(record.params.get("state.state")).toBe(1);
    expect(at).toBeLessThan(30);
    expect(daemon.monitorCalls(3)).toBe(0);
    expect(daemon.admission.isTrusted(uuidOf(3))).toBe(false);
  });

  it("fails as busy, at once, where nothing that was asked for can be had without the monitor", async () => {
    const daemon = new SimulatedDaemon(1, () => occupied(38_355));
    const run = new Run(daemon, { groups: ["block"] });
    await advance(10);
    expect(run.summary).toEqual(["vm0:failed/busy"]);
    expect(run.records[0]!.record.error!.code).toBe("deadline-exceeded");
    expect(daemon.statsCalls).toEqual([]);
  });

  it.each([
    [999, 1],
    [1_000, 0],
  ])(
    "and whose monitor has been busy for %i ms is asked %i times: a healthy one is busy, too, now and then",
    async (forMs, times) => {
      const daemon = new SimulatedDaemon(1, () => ({ ...occupied(forMs), monitorMs: 8 }));
      new Run(daemon);
      await advance(10);
      delete daemon.domains[0]!.behaviour.control;
      await advance(90);
      expect(daemon.monitorCalls(0)).toBe(times);
    },
  );

  it("and has a job is asked not to wait for the end of that, and no other domain is", async () => {
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? JOB : {}));
    const run = new Run(daemon, { groups: ["state", "block"], backing: true });
    await advance(50);
    expect(run.count("ok")).toBe(3);
    const flags = new Map(daemon.statsCalls.map(({ uuids, flags }) => [uuids[0], flags]));
    const backing = 0x40000000;
    expect(flags).toEqual(
      new Map([
        [uuidOf(0), backing],
        [uuidOf(1), backing | NOWAIT],
        [uuidOf(2), backing],
      ]),
    );
  });

  it("and whose monitor is in error is asked: libvirt says what is wrong with it", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ control: { state: ControlState.error, details: 2, forMs: 0 } }));
    const run = new Run(daemon);
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok"]);
  });

  it("is not looked at when it does not run: it has no monitor", async () => {
    const daemon = new SimulatedDaemon(4);
    for (const i of [1, 3]) daemon.domains[i]!.id = -1;
    const run = new Run(daemon);
    await advance(50);
    expect(run.count("ok")).toBe(4);
    expect(daemon.checks).toEqual([uuidOf(0), uuidOf(2)]);
  });

  it("is not looked at again once it has answered, until a caller distrusts it", async () => {
    const daemon = new SimulatedDaemon(5);
    new Run(daemon);
    await advance(50);
    const second = new Run(daemon);
    await advance(50);
    expect(second.count("ok")).toBe(5);
    expect(daemon.checks).toHaveLength(5);
    daemon.admission.distrust(uuidOf(2));
    new Run(daemon);
    await advance(50);
    expect(daemon.checks.slice(5)).toEqual([uuidOf(2)]);
  });

  it("is looked at in each sweep as long as it is busy, and asked in the first in which it is not", async () => {
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? occupied(5_000) : {}));
    for (let i = 0; i < 3; i++) {
      const run = new Run(daemon);
      await advance(50);
      expect(run.summary).toEqual(["vm0:ok", "vm1:partial/busy", "vm2:ok"]);
    }
    expect(daemon.checks.filter((uuid) => uuid === uuidOf(1))).toHaveLength(3);
    daemon.domains[1]!.behaviour = {};
    const run = new Run(daemon);
    await advance(50);
    expect(run.count("ok")).toBe(3);
  });

  it("is looked at when it is named by uuid, and when by name", async () => {
    const daemon = new SimulatedDaemon(3, () => occupied(5_000));
    const run = new Run(daemon, { domains: [uuidOf(0), "vm2"] });
    await advance(50);
    expect(run.summary).toEqual(["vm0:partial/busy", "vm2:partial/busy"]);
    expect(daemon.checks).toEqual([uuidOf(0), uuidOf(2)]);
  });

  it("and is gone when it is looked at has a record that says so", async () => {
    const run = new Run(new SimulatedDaemon(3, (i) => (i === 1 ? { gone: true } : {})));
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:gone", "vm2:ok"]);
  });

  it("is asked where the daemon cannot tell how its monitor is", async () => {
    const daemon = new SimulatedDaemon(3);
    const { call } = daemon;
    daemon.call = (procedure, args, connection) =>
      procedure === (PROCEDURES.controlInfo as unknown)
        ? Promise.reject(libvirtError(3, "unsupported"))
        : (call.call(daemon, procedure as never, args as never, connection) as never);
    const run = new Run(daemon);
    await advance(50);
    expect(run.count("ok")).toBe(3);
  });

  it("and cannot even be looked at fails alone, at the deadline, and is not asked", async () => {
    const daemon = new SimulatedDaemon(100, (i) => (i === 5 ? { checkMs: NEVER, freeMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(1_000);
    expect(run.count("ok")).toBe(99);
    await advance(1_010);
    expect(run.count("failed", "timeout")).toBe(1);
    const { record, at } = run.records.at(-1)!;
    expect(record).toMatchObject({ index: 5, error: { code: "deadline-exceeded" } });
    expect(record.error!.message).toMatch(/whether domain vm5 can be asked/);
    expect(Math.round(at)).toBeGreaterThanOrEqual(2_000);
    expect(at).toBeLessThan(2_010);
    expect(daemon.statsCalls.filter(({ uuids }) => uuids[0] === uuidOf(5))).toEqual([]);
    daemon.thaw();
    await advance(0);
  });

  it("and still cannot be looked at in the next sweep costs the others nothing then", async () => {
    const daemon = new SimulatedDaemon(100, (i) => (i === 5 ? { checkMs: NEVER, freeMs: NEVER } : {}));
    new Run(daemon);
    await advance(2_500);
    const next = new Run(daemon);
    await advance(500);
    expect(next.count("ok")).toBe(99);
    await advance(2_000);
    expect(next.count("failed", "timeout")).toBe(1);
    expect(next.endedAt).toBeLessThan(2_600);
    expect(daemon.checks.filter((uuid) => uuid === uuidOf(5))).toHaveLength(1);
    daemon.thaw();
    await advance(0);
  });
});

describe("The first call for a domain whose monitor is not known to answer", () => {
  const BALLOON = 0x4;
  const BLOCK = 0x20;
  const rss = TypedParams.from([
    ["state.state", "int", 1],
    ["balloon.rss", "ullong", 1],
  ]);

  function daemonOf(params: TypedParams): SimulatedDaemon {
    const daemon = new SimulatedDaemon(2, () => ({ params }));
    daemon.completeness = new Completeness(9_000_000);
    return daemon;
  }

  it("does not wait for its job, and asks for what shows whether libvirt had the job; later calls wait", async () => {
    const daemon = daemonOf(rss);
    const run = new Run(daemon, { groups: ["block"] });
    await advance(50);
    expect(run.count("ok")).toBe(2);
    expect(
      [...run.records[0]!.record.params].map(([key]) => key),
      "nothing that was not asked for",
    ).toEqual(["state.state"]);
    new Run(daemon, { groups: ["block"] });
    await advance(50);
    expect(daemon.statsCalls.map(({ groups, flags }) => [groups, flags])).toEqual([
      [BLOCK | BALLOON, NOWAIT],
      [BLOCK | BALLOON, NOWAIT],
      [BLOCK, 0],
      [BLOCK, 0],
    ]);
  });

  it("is made again after 50 ms when another client had the job, which counts meanwhile", async () => {
    const bare = TypedParams.from([["balloon.current", "ullong", 1]]);
    const daemon = daemonOf(bare);
    const run = new Run(daemon);
    await advance(40);
    expect(run.records).toEqual([]);
    expect(daemon.statsCalls).toHaveLength(2);
    expect(daemon.admission.isTrusted(uuidOf(0))).toBe(false);
    for (const { behaviour } of daemon.domains) behaviour.params = rss;
    await advance(60);
    expect(run.count("ok")).toBe(2);
    expect(daemon.statsCalls).toHaveLength(4);
    expect(daemon.admission.isTrusted(uuidOf(0))).toBe(true);
  });

  it("waits where libvirt is older than 4.5, which refuses not to wait", async () => {
    const daemon = daemonOf(rss);
    daemon.completeness = new Completeness(4_004_000);
    const run = new Run(daemon);
    await advance(50);
    expect(run.count("ok")).toBe(2);
    expect(daemon.statsCalls.map(({ flags }) => flags)).toEqual([0, 0]);
  });
});

it("A sweep first checks the monitors that another client occupied, so it asks all domains when these monitors are free again", async () => {
  const daemon = new SimulatedDaemon(9);
  new Run(daemon);
  await advance(200);
  for (const { uuid, behaviour } of daemon.domains.slice(0, 8)) {
    daemon.admission.distrust(uuid);
    behaviour.control = { state: ControlState.occupied, details: 0, forMs: 60_000 };
  }
  const during = new Run(daemon);
  await advance(200);
  expect(during.count("partial", "busy")).toBe(8);
  for (const { behaviour } of daemon.domains) delete behaviour.control;
  const after = new Run(daemon);
  await advance(200);
  expect(after.count("ok")).toBe(9);
});

describe("Looking at thousands of domains", () => {
  it("is done a few ahead of asking, so that what was seen is fresh, and no line is held up", async () => {
    const daemon = new SimulatedDaemon(2_000, (i) => (i % 500 === 7 ? occupied(60_000) : {}));
    let most = 0;
    let ahead = 0;
    const { call } = daemon;
    const asked = new Set<string>();
    daemon.call = (procedure, args, connection) => {
      if (procedure === (PROCEDURES.controlInfo as unknown)) most = Math.max(most, ++ahead);
      else if (procedure === (PROCEDURES.stats as unknown)) {
        const [uuid] = (args as { uuids: string[] }).uuids;
        if (!asked.has(uuid!)) ahead--;
        asked.add(uuid!);
      }
      return call.call(daemon, procedure as never, args as never, connection) as never;
    };
    const run = new Run(daemon);
    await advance(20_000);
    expect(run.count("ok")).toBe(1_996);
    expect(run.count("partial", "busy")).toBe(4);
    expect(most).toBeGreaterThan(4);
    // Eight between being looked at and being asked, and those seen to be busy, whose cheap call waits for the lane.
    expect(most).toBeLessThanOrEqual(8 + 2);
    expect(daemon.checks).toHaveLength(2_000);
  });

  it("is not done any more when every slot is stuck and the deadline has come: all have their records then", async () => {
    const daemon = new SimulatedDaemon(1_000, (i) => (i < 4 ? { monitorMs: NEVER } : {}));
    const run = new Run(daemon);
    await advance(4_000);
    expect(run.records).toHaveLength(1_000);
    expect(run.count("partial", "timeout")).toBe(4);
    expect(run.count("partial", "busy")).toBe(996);
    expect(daemon.checks.length).toBeLessThanOrEqual(4 + 8 + 1);
    daemon.thaw();
    await advance(0);
  });

  it("goes on when fallbacks are held up: domains that were not checked yet are not given up for that", async () => {
    // One that cannot be looked at takes the lane, slow ones take the slots, and busy ones wait for their fallback.
    const daemon = new SimulatedDaemon(40, (i) => {
      if (i === 0) return { checkMs: NEVER, freeMs: NEVER };
      return i % 10 === 0 ? occupied(60_000) : { monitorMs: 700 };
    });
    const run = new Run(daemon, { deadlineMs: 20_000 });
    await advance(19_000);
    expect(run.count("ok")).toBe(36);
    await advance(2_000);
    expect(run.records).toHaveLength(40);
    daemon.thaw();
    await advance(0);
  });
});

it("The groups that need no monitor are asked without looking", async () => {
  const daemon = new SimulatedDaemon(10, () => occupied(60_000));
  const run = new Run(daemon, { groups: FREE });
  await advance(50);
  expect(run.count("ok")).toBe(10);
  expect(daemon.checks).toEqual([]);
});
