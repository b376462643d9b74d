import { describe, expect, it } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { ALL_GROUPS, groupNames } from "../../../../src/model/group.ts";
import type { StatsQuery } from "../../../../src/model/query.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { type Behaviour, FREE, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

/** Sweeps one frozen guest to the end: the masks of its statistics calls, the filter of its listing, and its record. */
async function sweepFrozen(query: StatsQuery, behaviour: Behaviour = { monitorMs: NEVER }) {
  const daemon = new SimulatedDaemon(1, () => behaviour);
  const run = new Run(daemon, query);
  await advance(2_100);
  daemon.thaw();
  await advance(0);
  return {
    requests: daemon.statsCalls.map(({ groups, flags }) => ({ groups, flags })),
    filter: daemon.calls.find(({ name }) => name === PROCEDURES.listDomains.name)?.args,
    checks: daemon.checks.length,
    record: run.records[0]!.record,
  };
}

describe("The statistics requests of a sweep", () => {
  it("are for all groups at first, and for those that need no monitor once the domain is late", async () => {
    const { requests, filter, record } = await sweepFrozen({});
    expect(filter).toBe(0);
    expect(requests).toEqual([
      { groups: 0, flags: 0 },
      { groups: 0x151, flags: 0 },
    ]);
    expect(record.missing).toEqual(groupNames(ALL_GROUPS & ~FREE));
  });

  it("fall back only to groups that were asked for, and never to a mask of 0, which would mean everything", async () => {
    const mixed = await sweepFrozen({ groups: ["state", "block"] });
    expect(mixed.requests.map(({ groups }) => groups)).toEqual([0x21, 1]);
    const block = await sweepFrozen({ groups: ["block"] });
    expect(block.requests.map(({ groups }) => groups)).toEqual([0x20]);
    expect(block.record.status).toBe("failed");
    const unknown = await sweepFrozen({ groups: ["group-31"] });
    expect(unknown.requests.map(({ groups }) => groups)).toEqual([0x8000_0000]);
    expect([unknown.checks, unknown.record.status]).toEqual([1, "failed"]);
  });

  it("have no fallback where no group needs the monitor", async () => {
    // Its domain is locked, so the batch is taken apart and the domain asked alone, for the same groups.
    const { requests, checks, record } = await sweepFrozen({ groups: 0x151 }, { freeMs: NEVER });
    expect(requests.map(({ groups }) => groups)).toEqual([0x151, 0x151]);
    expect([checks, record.status, record.reason]).toEqual([0, "failed", "timeout"]);
  });

  it("filter the listing and not the domains that were listed, but filter named domains in each request", async () => {
    const query = { filter: ["running"] as const, enforce: true, backing: true, nowait: true };
    const listed = await sweepFrozen(query);
    expect(listed.filter).toBe(0x10);
    expect(listed.requests.map(({ flags }) => flags)).toEqual([0xe000_0000, 0]);
    const named = await sweepFrozen({ ...query, domains: ["vm0"] });
    expect(named.requests.map(({ flags }) => flags)).toEqual([0xe000_0010, 0x10]);
  });
});
