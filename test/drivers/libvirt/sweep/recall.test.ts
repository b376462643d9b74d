import { describe, expect, it } from "vitest";
import { PROCEDURES, type Procedure } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { DOMAIN_LIST_MAX, LifecycleEventType } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { libvirtError, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

describe("A sweep while libvirt cannot list", () => {
  it("goes by the listing before, soon, whichever sweeps wait for the new one", async () => {
    const daemon = new SimulatedDaemon(20);
    new Run(daemon);
    await advance(200);
    daemon.listMs = NEVER;
    const runs = [new Run(daemon), new Run(daemon)];
    await advance(400);
    for (const run of runs) {
      expect(run.count("ok")).toBe(20);
      expect(run.records[0]!.at).toBeGreaterThanOrEqual(250);
    }
    const short = new Run(daemon, { deadlineMs: 100 });
    await advance(150);
    expect(short.count("ok")).toBe(20);
    expect(daemon.calls.filter(({ name }) => name === PROCEDURES.listDomains.name)).toHaveLength(2);
    daemon.thaw();
    await advance(0);
  });

  it("does not wait for a listing that is known to hang: the sweeps after it go by the one before at once", async () => {
    const daemon = new SimulatedDaemon(20);
    new Run(daemon);
    await advance(200);
    daemon.listMs = NEVER;
    const waiting = new Run(daemon);
    await advance(400);
    expect(waiting.records[0]!.at).toBeGreaterThanOrEqual(250);
    const next = new Run(daemon);
    await advance(100);
    expect(next.count("ok")).toBe(20);
    expect(next.records[0]!.at).toBeLessThan(50);
    daemon.listMs = 1;
    daemon.thaw();
    await advance(10);
    const after = new Run(daemon);
    await advance(100);
    expect(after.count("ok")).toBe(20);
    expect(daemon.calls.filter(({ name }) => name === PROCEDURES.listDomains.name)).toHaveLength(3);
  });

  it("does not go by a listing that is a minute old, or made with other filters", async () => {
    const daemon = new SimulatedDaemon(20);
    new Run(daemon);
    await advance(200);
    daemon.listMs = NEVER;
    const other = new Run(daemon, { filter: ["running"] });
    await advance(2_000);
    expect(other.error).toMatchObject({ code: "deadline-exceeded" });
    await advance(58_000);
    const late = new Run(daemon);
    await advance(2_000);
    expect(late.error).toMatchObject({ code: "deadline-exceeded" });
    daemon.thaw();
    await advance(0);
  });
});

describe("A sweep while libvirt cannot count, and events keep the cache current", () => {
  /** A daemon that has listed its domains once, tells of changes, and then waits for one of them. */
  async function setUp() {
    const daemon = new SimulatedDaemon(20);
    daemon.domainCache.live = true;
    new Run(daemon);
    await advance(200);
    daemon.listMs = NEVER;
    return daemon;
  }

  it("uses the cache, soon, however old its listing is", async () => {
    const daemon = await setUp();
    await advance(3_600_000);
    const run = new Run(daemon);
    await advance(400);
    expect(run.count("ok")).toBe(20);
    expect(run.expected).toBe(20);
    expect(run.records[0]!.at).toBeGreaterThanOrEqual(250);
    expect(daemon.count(PROCEDURES.listDomains)).toBe(1);
    daemon.thaw();
    await advance(0);
  });

  it("has a record for a domain that has started meanwhile, and none for one that was undefined", async () => {
    const daemon = await setUp();
    daemon.domains.push({ name: "vm20", uuid: uuidOf(20), id: 77, behaviour: {} });
    daemon.domainCache.apply({ type: LifecycleEventType.started, domain: daemon.domains[20]! });
    const stopped = { ...daemon.domains[3]!, id: -1 };
    daemon.domainCache.apply({ type: LifecycleEventType.stopped, domain: stopped });
    daemon.domainCache.apply({ type: LifecycleEventType.undefined, domain: stopped });
    const run = new Run(daemon);
    await advance(500);
    expect(run.records.map(({ record }) => record.domain.name)).toContain("vm20");
    expect(run.records.map(({ record }) => record.domain.name)).not.toContain("vm3");
    expect(run.records).toHaveLength(20);
    daemon.thaw();
    await advance(0);
  });

  it("takes no notice when the count comes in after all: no domain has two records", async () => {
    const daemon = await setUp();
    const run = new Run(daemon, { deadlineMs: 10_000 });
    for (const domain of daemon.domains) domain.behaviour.monitorMs = 500;
    await advance(300);
    daemon.listMs = 1;
    daemon.thaw();
    await advance(9_000);
    expect(run.records).toHaveLength(20);
    expect(run.count("ok")).toBe(20);
  });
});

describe("A sweep of more domains than libvirt lists in one reply", () => {
  const COUNT = DOMAIN_LIST_MAX + 616;

  /** Every second domain runs. A listing of all fails; one of a part takes its time. */
  class LargeDaemon extends SimulatedDaemon {
    constructor() {
      super(COUNT, () => ({ freeMs: 1 / 64 }));
      for (let i = 1; i < COUNT; i += 2) this.domains[i]!.id = -1;
    }

    override async call<Args, Result>(
      procedure: Procedure<Args, Result>,
      args: Args,
      connection: number,
    ): Promise<Result> {
      const all = await super.call(procedure, args, connection);
      if (procedure !== (PROCEDURES.listDomains as unknown)) return all;
      if (args === 0) throw libvirtError(39, "hypervisor-error");
      await new Promise((resolve) => setTimeout(resolve, args === 1 ? 20 : 1_500));
      return this.domains.filter(({ id }) => (id === -1) === (args === 2)) as Result;
    }
  }

  it("has the first records while the other parts are still being listed, and says how many there will be", async () => {
    const daemon = new LargeDaemon();
    const run = new Run(daemon, { groups: ["state"] });
    await advance(1_000);
    expect(run.expected).toBe(COUNT);
    expect(run.count("ok")).toBe(COUNT / 2);
    expect(run.records[0]!.at).toBeLessThan(50);
    expect(run.endedAt).toBeUndefined();
    await advance(3_000);
    expect(run.count("ok")).toBe(COUNT);
    expect(new Set(run.records.map(({ record }) => record.index)).size).toBe(COUNT);
    expect(run.endedAt).toBeDefined();
    expect(run.error).toBeUndefined();
  });

  it("that cannot be listed to the end has a record for each domain that was found, and then fails", async () => {
    const daemon = new LargeDaemon();
    const { call } = daemon;
    const refused = libvirtError(39, "hypervisor-error");
    daemon.call = (procedure, args, connection) => {
      const inactive = procedure === (PROCEDURES.listDomains as unknown) && ((args as number) & 2) !== 0;
      return inactive
        ? Promise.reject(refused)
        : (call.call(daemon, procedure as never, args as never, connection) as never);
    };
    const run = new Run(daemon, { groups: ["state"] });
    await advance(5_000);
    expect(run.count("ok")).toBe(COUNT / 2);
    expect(run.error).toMatchObject({ code: "limit-exceeded" });
  });

  it("ends at once when it is aborted while it is being listed", async () => {
    const daemon = new LargeDaemon();
    const run = new Run(daemon, { groups: ["state"] });
    await advance(500);
    run.abort.abort();
    await advance(0);
    expect(run.endedAt).toBe(500);
    await advance(2_000);
    expect(run.records).toHaveLength(COUNT / 2);
  });
});
