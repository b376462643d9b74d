import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import { connect } from "../../src/client/connect.ts";
import "../../src/drivers/builtin.ts";
import type { Connection } from "../../src/client/connection.ts";
import { FaultLab, faultRequirements } from "../lab/fault-lab.ts";
import { createGuest, defineGuest, type Guest } from "../lab/guest.ts";
import { describeWith } from "../lab/requirement.ts";
import { type TimedSweep, timedSweep } from "../lab/timed-sweep.ts";
import { PATIENCE } from "../until.ts";

/** Far away, so that what comes before it does not come because of it. */
const DEADLINE_MS = 15_000;
const SOON_MS = 8_000;

describeWith(faultRequirements, "With guests that come and go in the middle of a sweep", () => {
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

  function expectOncePerDomain(sweep: TimedSweep, uuids = lab.guests.map(({ uuid }) => uuid)): void {
    expect(sweep.error).toBeUndefined();
    expect(sweep.perDomain()).toEqual(new Map(uuids.map((uuid) => [uuid, 1])));
  }

  /** A sweep that a frozen guest keeps going until `act` is done and the guest has thawed. */
  async function sweepWhile(act: () => Promise<void>): Promise<TimedSweep> {
    const [held] = lab.freeze(1, 11);
    let records = 0;
    let acted: Promise<void> | undefined;
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => {
      if (++records === 3) acted = act().finally(() => held!.thaw());
    });
    await acted;
    return sweep;
  }

  /** Starts a guest that was killed: libvirt may take the end of the old process for that of the new one, and stop it. */
  function startAgain(guest: Guest): Promise<void> {
    return vi.waitFor(() => guest.start(), PATIENCE);
  }

  it("one that is killed in the middle of its call has its one record at once, not at the deadline", async () => {
    const guest = lab.guests[4]!;
    guest.freeze();
    let others = 0;
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => {
      if (++others === 11) void guest.kill();
    });
    expectOncePerDomain(sweep);
    expect(sweep.count("ok")).toBeGreaterThanOrEqual(11);
    expect(sweep.tookMs).toBeLessThan(SOON_MS);
    await vi.waitFor(async () => expect(await guest.virsh(`domstate ${guest.uuid}`)).toContain("shut off"), PATIENCE);
    const next = await timedSweep(connection);
    expectOncePerDomain(next);
    expect(next.of(guest.uuid)!.record).toMatchObject({ status: "ok", state: { state: "shutoff", reason: "crashed" } });
    await startAgain(guest);
  });

  it("six that are killed at once while they are frozen have one record each, and their slots are free again", async () => {
    const doomed = lab.freeze(6);
    let others = 0;
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => {
      if (++others === 6) for (const guest of doomed) void guest.kill();
    });
    expectOncePerDomain(sweep);
    expect(sweep.tookMs).toBeLessThan(SOON_MS);
    for (const guest of doomed) {
      await vi.waitFor(async () => expect(await guest.virsh(`domstate ${guest.uuid}`)).toContain("shut off"), PATIENCE);
      await startAgain(guest);
    }
    const next = await timedSweep(connection);
    expectOncePerDomain(next);
    expect(next.count("ok")).toBe(12);
  });

  it("one that is defined meanwhile has at most one record, and exactly one in the next sweep", async () => {
    let uuid = "";
    const sweep = await sweepWhile(async () => {
      uuid = (await defineGuest(lab.libvirtd, { name: "newcomer" })).uuid;
    });
    expect(sweep.error).toBeUndefined();
    expect(sweep.perDomain().get(uuid) ?? 0).toBeLessThanOrEqual(1);
    for (const guest of lab.guests) expect(sweep.perDomain().get(guest.uuid)).toBe(1);
    expectOncePerDomain(await timedSweep(connection), [...lab.guests.map((guest) => guest.uuid), uuid]);
    await lab.guests[0]!.virsh(`undefine ${uuid}`);
  });

  it("one that is started meanwhile has exactly one record", async () => {
    const guest = lab.guests[2]!;
    await guest.destroy();
    const sweep = await sweepWhile(() => guest.start());
    expectOncePerDomain(sweep);
    expect(sweep.count("ok")).toBe(12);
  });

  it("one that is undefined meanwhile has at most one record, and none in the next sweep", async () => {
    const guest = lab.guests[3]!;
    await guest.destroy();
    const sweep = await sweepWhile(() => guest.undefine());
    expect(sweep.error).toBeUndefined();
    expect(sweep.perDomain().get(guest.uuid) ?? 0).toBeLessThanOrEqual(1);
    const others = lab.guests.filter((other) => other !== guest).map(({ uuid }) => uuid);
    for (const uuid of others) expect(sweep.perDomain().get(uuid)).toBe(1);
    expectOncePerDomain(await timedSweep(connection), others);
    await guest.define();
    await guest.start();
  });

  it("one without a definition that is destroyed meanwhile has exactly one record, perhaps gone", async () => {
    const guest = await createGuest(lab.libvirtd, { name: "passing", transient: true });
    guest.freeze();
    let records = 0;
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => {
      if (++records === 12) void guest.kill();
    });
    expectOncePerDomain(sweep, [...lab.guests.map(({ uuid }) => uuid), guest.uuid]);
    expect(sweep.tookMs).toBeLessThan(SOON_MS);
    await vi.waitFor(async () => expectOncePerDomain(await timedSweep(connection)), PATIENCE);
  });
});
