import { describe, expect, it } from "vitest";
import type { Completeness } from "../../../../src/drivers/libvirt/sweep/completeness.ts";
import type { Group } from "../../../../src/model/group.ts";
import type { TypedParams } from "../../../../src/model/params.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { FREE, libvirtError, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

const PERF = 0x40;
/** Before libvirt 11: a guest that dies under the call, or a counter of perf that cannot be read. */
const unreadable = () => libvirtError(38, "hypervisor-error");

describe("A domain whose statistics fail", () => {
  it("is asked once more, and has a whole record when that goes well", async () => {
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? { errors: [unreadable()] } : {}));
    const run = new Run(daemon);
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:ok", "vm2:ok"]);
    const { record } = run.records.find((one) => one.record.index === 1)!;
    expect([record.error, record.missing, record.reason]).toEqual([undefined, [], undefined]);
    expect(daemon.monitorCalls(1)).toBe(2);
  });

  it("twice makes do with what needs no monitor, without perf, and says why and what is missing", async () => {
    const errors = [unreadable(), unreadable()];
    const [, second] = errors;
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? { errors } : {}));
    const run = new Run(daemon);
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:partial/error", "vm2:ok"]);
    const { record, at } = run.records.find((one) => one.record.index === 1)!;
    expect(record.error).toBe(second);
    expect(record.missing).toEqual(["cpu-total", "balloon", "vcpu", "block", "perf", "iothread", "dirtyrate", "vm"]);
    expect(record.params.get("state.state")).toBe(1);
    expect(daemon.statsCalls.filter(({ uuids }) => uuids[0] === uuidOf(1)).map(({ groups }) => groups)).toEqual([
      0,
      0,
      FREE & ~PERF,
    ]);
    expect(at).toBeLessThan(50);
  });

  it("thrice fails, with the last error, and is asked no fourth time", async () => {
    const errors = [unreadable(), unreadable(), unreadable()];
    const [, , third] = errors;
    const daemon = new SimulatedDaemon(3, (i) => (i === 1 ? { errors } : {}));
    const run = new Run(daemon, { groups: ["state", "perf", "block"] });
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:failed/error", "vm2:ok"]);
    const { record } = run.records.find((one) => one.record.index === 1)!;
    expect(record.error).toBe(third);
    expect(record.missing).toEqual(["state", "block", "perf"]);
    expect(daemon.statsCalls.filter(({ uuids }) => uuids[0] === uuidOf(1))).toHaveLength(3);
  });

  it("twice is asked for perf after all, where perf is all that needs no monitor: a mask of 0 would mean everything", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ errors: [unreadable(), unreadable()] }));
    const run = new Run(daemon, { groups: ["perf", "block"] });
    await advance(50);
    expect(run.records[0]!.record).toMatchObject({ status: "partial", reason: "error", missing: ["block"] });
    expect(daemon.statsCalls.map(({ groups }) => groups)).toEqual([0x60, 0x60, PERF]);
  });

  it("and is gone by the time it is asked once more is gone, without a reason", async () => {
    const daemon = new SimulatedDaemon(2);
    new Run(daemon);
    await advance(50);
    daemon.domains[0]!.behaviour = { errors: [unreadable()], gone: true };
    const run = new Run(daemon);
    await advance(50);
    expect(run.summary).toEqual(["vm0:gone", "vm1:ok"]);
  });

  it("once and then hangs is late at the deadline, and its record has both the reason and the error", async () => {
    const error = unreadable();
    let asked = 0;
    const failing = {
      errors: [error],
      get monitorMs() {
        return asked++ === 0 ? 8 : NEVER;
      },
    };
    const daemon = new SimulatedDaemon(2, (i) => (i === 0 ? failing : {}));
    const run = new Run(daemon);
    await advance(2_100);
    const { record } = run.records.find((one) => one.record.index === 0)!;
    expect(record).toMatchObject({ status: "partial", reason: "timeout", error });
    daemon.thaw();
    await advance(0);
  });

  it("does not hold up the others, however many they are", async () => {
    const daemon = new SimulatedDaemon(500, (i) => (i % 3 === 0 ? { error: unreadable() } : {}));
    const run = new Run(daemon);
    await advance(5_000);
    expect(run.count("ok")).toBe(333);
    expect(run.count("failed", "error")).toBe(167);
    expect(run.error).toBeUndefined();
  });
});

describe("An answer that lacks what the monitor says, without saying so", () => {
  /** As the session's own would judge: whether an answer of a monitor group has had the job. */
  const lacking = (uuids: ReadonlySet<string>, calls: unknown[] = []) =>
    ({
      missing(domain: { uuid: string; id: number }, groups: number, params: TypedParams): readonly Group[] {
        calls.push([domain.uuid, domain.id, groups, params.get("state.state")]);
        return uuids.has(domain.uuid) ? ["balloon", "block"] : [];
      },
    }) as unknown as Completeness;

  it("makes a partial record: busy, with what is missing, and all that there is", async () => {
    const daemon = new SimulatedDaemon(3);
    const calls: unknown[] = [];
    daemon.completeness = lacking(new Set([uuidOf(1)]), calls);
    const run = new Run(daemon, { groups: ["state", "balloon", "block"] });
    await advance(50);
    expect(run.summary).toEqual(["vm0:ok", "vm1:partial/busy", "vm2:ok"]);
    const { record } = run.records.find((one) => one.record.index === 1)!;
    expect(record.missing).toEqual(["balloon", "block"]);
    expect(record.params.get("state.state")).toBe(1);
    expect(record.error).toBeUndefined();
    // It is told the domain as the answer names it, and what was asked for.
    expect(calls).toContainEqual([uuidOf(1), 2, 0x25, 1]);
  });

  it("is asked for no second time in that sweep", async () => {
    const daemon = new SimulatedDaemon(1);
    daemon.completeness = lacking(new Set([uuidOf(0)]));
    new Run(daemon);
    await advance(50);
    expect(daemon.monitorCalls(0)).toBe(1);
  });

  it("ends the trust in that domain: in the next sweep it is looked at first", async () => {
    const daemon = new SimulatedDaemon(3);
    const busy = new Set([uuidOf(1)]);
    daemon.completeness = lacking(busy);
    new Run(daemon);
    await advance(50);
    busy.clear();
    const next = new Run(daemon);
    await advance(50);
    expect(next.count("ok")).toBe(3);
    expect(daemon.checks.slice(3)).toEqual([uuidOf(1)]);
    new Run(daemon);
    await advance(50);
    expect(daemon.checks).toHaveLength(4);
  });

  it("is not looked for in what needs no monitor, nor in a fallback", async () => {
    const daemon = new SimulatedDaemon(2, (i) => (i === 0 ? { monitorMs: NEVER } : {}));
    const calls: unknown[] = [];
    daemon.completeness = lacking(new Set([uuidOf(0)]), calls);
    const free = new Run(daemon, { groups: ["state"] });
    const late = new Run(daemon);
    await advance(2_100);
    expect(free.count("ok")).toBe(2);
    expect(late.summary).toEqual(["vm0:partial/timeout", "vm1:ok"]);
    expect(calls).toHaveLength(1);
    daemon.thaw();
    await advance(0);
  });
});
