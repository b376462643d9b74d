import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { connect } from "../../src/client/connect.ts";
import "../../src/drivers/builtin.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { FaultLab, faultRequirements } from "../lab/fault-lab.ts";
import { describeWith } from "../lab/requirement.ts";
import { type TimedSweep, timedSweep } from "../lab/timed-sweep.ts";
import { workerPool } from "../lab/workers.ts";
import { PATIENCE } from "../until.ts";

/** Long enough that healthy guests are never late on a busy machine. */
const DEADLINE_MS = 2_000;
/** A sweep that waited for a frozen guest lasts at least until its deadline; one that did not is far from it. */
const SOON_MS = DEADLINE_MS * 0.8;
/** The deadline, what a late domain's cheap call may take, and a busy machine. */
const BOUND_MS = DEADLINE_MS + 2_000;

describeWith(faultRequirements, "With frozen guests among twelve", () => {
  let lab: FaultLab;
  let connection: Connection;

  beforeAll(async () => {
    lab = await FaultLab.start();
    connection = await connect(lab.libvirtd.uri);
    expect((await timedSweep(connection)).count("ok")).toBe(12);
  });
  afterEach(() => lab?.calm());
  afterAll(async () => {
    await connection?.close();
    await lab?.stop();
  });

  function expectOncePerDomain(sweep: TimedSweep): void {
    expect(sweep.error).toBeUndefined();
    expect(sweep.perDomain()).toEqual(new Map(lab.guests.map(({ uuid }) => [uuid, 1])));
  }

  /** What a frozen guest's record still has: all that needs no answer from the guest. */
  function expectPartial(record: DomainStatsRecord): void {
    expect(record.status).toBe("partial");
    expect(record.state).toMatchObject({ state: "running" });
    expect(record.params.get("net.count")).toBe(1);
    expect(typeof record.params.get("net.0.rx.bytes")).toBe("bigint");
    expect(record.missing).toEqual(expect.arrayContaining(["block", "balloon", "vm"]));
  }

  it.each([1, 3, 6])("of which %i hang, the others come on time, in the first sweep and in the next", async (count) => {
    await using fresh = await connect(lab.libvirtd.uri);
    for (const one of [connection, fresh]) {
      const frozen = new Set(lab.freeze(count).map(({ uuid }) => uuid));
      const first = await timedSweep(one, { deadlineMs: DEADLINE_MS });
      expectOncePerDomain(first);
      expect([first.count("ok"), first.count("partial")]).toEqual([12 - count, count]);
      expect(first.lastMs("ok")).toBeLessThan(SOON_MS);
      for (const { record, atMs } of first.arrivals) {
        if (!frozen.has(record.domain.uuid)) continue;
        expectPartial(record);
        expect(atMs).toBeLessThan(BOUND_MS);
      }
      const second = await timedSweep(one, { deadlineMs: DEADLINE_MS });
      expectOncePerDomain(second);
      expect([second.count("ok"), second.count("partial")]).toEqual([12 - count, count]);
      for (const { record } of second.arrivals) if (frozen.has(record.domain.uuid)) expectPartial(record);
      expect(second.tookMs).toBeLessThan(SOON_MS);
      // What one connection leaves hanging in the daemon must not be what the other meets.
      await lab.calm();
    }
  });

  it("gives full records from the next sweep on when they have thawed, and has every slot back", async () => {
    for (let round = 0; round < 2; round++) {
      lab.freeze(6, round * 4);
      const during = await timedSweep(connection, { deadlineMs: 500 });
      expectOncePerDomain(during);
      expect(during.count("partial")).toBeGreaterThanOrEqual(6);
      await lab.calm();
      const after = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
      expectOncePerDomain(after);
      expect(after.count("ok")).toBe(12);
      expect((await workerPool(lab.libvirtd)).busy).toBe(0);
    }
  });

  it("gives a guest that thaws in the middle of the sweep its full record", async () => {
    const [guest] = lab.freeze(1);
    let others = 0;
    const sweep = await timedSweep(connection, { deadlineMs: 20_000 }, () => {
      others++;
      if (others === 11) guest!.thaw();
    });
    expectOncePerDomain(sweep);
    expect(sweep.count("ok")).toBe(12);
    expect(sweep.tookMs).toBeLessThan(10_000);
  });

  it("gives the others on time while libvirt destroys one that hangs, which keeps its lock for ten seconds", async () => {
    const [guest] = lab.freeze(1, 5);
    const destroyed = guest!.destroy();
    // From then on libvirt cannot list its domains.
    await vi.waitFor(async () => {
      expect((await timedSweep(connection, { groups: ["state"], deadlineMs: 400 })).count("failed")).toBe(1);
    }, PATIENCE);
    let sweeps = 0;
    for (; sweeps < 4; sweeps++) {
      const sweep = await timedSweep(connection, { deadlineMs: 1_500 });
      expectOncePerDomain(sweep);
      for (const other of lab.guests) {
        if (other === guest) continue;
        const { record, atMs } = sweep.of(other.uuid)!;
        expect([other.name, record.status]).toEqual([other.name, "ok"]);
        expect(atMs).toBeLessThan(1_400);
      }
      expect(sweep.tookMs).toBeLessThan(1_500 + 3_000);
    }
    await destroyed;
    const after = await timedSweep(connection);
    expectOncePerDomain(after);
    expect(after.of(guest!.uuid)!.record.state?.state).toBe("shutoff");
    await guest!.start();
  });

  it("finds a guest that was defined while libvirt cannot list its domains", async () => {
    const guest = lab.guests[7]!;
    await guest.destroy();
    await guest.undefine();
    expect((await timedSweep(connection)).arrivals).toHaveLength(11);
    const [hung] = lab.freeze(1, 2);
    const destroyed = hung!.destroy();
    await guest.define();
    const during = await timedSweep(connection, { deadlineMs: 1_000 });
    expect(during.perDomain().get(guest.uuid)).toBe(1);
    await destroyed;
    await Promise.all([guest.start(), hung!.start()]);
  });
});
