import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PROCEDURES } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { BatchSize } from "../../../../src/drivers/libvirt/sweep/batch-size.ts";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { libvirtError, NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

describe("The size of a batch", () => {
  it("is eight while nothing is known, with 100 ms to answer", () => {
    const size = new BatchSize();
    expect(size.domains).toBe(8);
    expect(size.timeoutMs(8)).toBe(100);
  });

  it("grows step by step, four times at most, up to 256, where a domain costs next to nothing", () => {
    const size = new BatchSize();
    const sizes: number[] = [];
    for (let i = 0; i < 5; i++) {
      sizes.push(size.domains);
      size.measured(size.domains, 0.01);
    }
    expect(sizes).toEqual([8, 32, 128, 256, 256]);
  });

  it("is as many domains as take 4 ms, and at least one", () => {
    const size = new BatchSize();
    size.measured(8, 8 * 0.5);
    expect(size.domains).toBe(8);
    const slow = new BatchSize();
    slow.measured(8, 8 * 2);
    expect(slow.domains).toBe(2);
    slow.measured(2, 2_000);
    expect(slow.domains).toBe(1);
  });

  it("does not grow by what a smaller batch, the last of a sweep, took", () => {
    const size = new BatchSize();
    size.measured(8, 0.01);
    expect(size.domains).toBe(32);
    size.measured(3, 0.01);
    size.measured(0, 5);
    expect(size.domains).toBe(32);
  });

  it("follows what it measures gradually, so that one slow answer is not taken for the rule", () => {
    const size = new BatchSize();
    for (let i = 0; i < 4; i++) size.measured(size.domains, size.domains * 0.016);
    expect(size.domains).toBe(250);
    size.measured(250, 250 * 0.032);
    // 0.7 · 0.016 + 0.3 · 0.032 = 0.0208 ms each.
    expect(size.domains).toBe(192);
  });

  it("gives a batch ten times what it should take, and never less than 100 ms", () => {
    const size = new BatchSize();
    size.measured(8, 8 * 4);
    expect(size.timeoutMs(1)).toBe(100);
    expect(size.timeoutMs(8)).toBe(320);
  });

  it("begins small again after a batch that failed", () => {
    const size = new BatchSize();
    for (let i = 0; i < 4; i++) size.measured(size.domains, 0.01);
    size.failed();
    expect(size.domains).toBe(8);
    expect(size.timeoutMs(256)).toBe(100);
    size.measured(8, 0.01);
    expect(size.domains).toBe(32);
  });

  it("is from 1 to 256, whatever is measured", () => {
    const measured = fc.tuple(fc.nat({ max: 256 }), fc.double({ min: 0, max: 1e9, noNaN: true }));
    fc.assert(
      fc.property(fc.array(measured), (answers) => {
        const size = new BatchSize();
        for (const [domains, ms] of answers) {
          size.measured(domains, ms);
          expect(Number.isInteger(size.domains)).toBe(true);
          expect(size.domains).toBeGreaterThanOrEqual(1);
          expect(size.domains).toBeLessThanOrEqual(256);
          expect(size.timeoutMs(size.domains)).toBeGreaterThanOrEqual(100);
        }
      }),
    );
  });
});

describe("A sweep in batches", () => {
  turnTheClock();

  /** How many domains each statistics call asked for. */
  const sizes = (daemon: SimulatedDaemon) => daemon.statsCalls.map(({ uuids }) => uuids.length);
  const FREE_QUERY = { groups: ["state", "interface"] as const };

  it("is what groups that need no monitor get: each domain asked once, one record each", async () => {
    const daemon = new SimulatedDaemon(1_000, () => ({ freeMs: 1 / 64 }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(2_000);
    expect(run.count("ok")).toBe(1_000);
    expect(run.expected).toBe(1_000);
    expect(new Set(run.records.map(({ record }) => record.index)).size).toBe(1_000);
    const asked = daemon.statsCalls.flatMap(({ uuids }) => uuids);
    expect(asked.sort()).toEqual(daemon.domains.map(({ uuid }) => uuid).sort());
    expect(daemon.checks).toEqual([]);
  });

  it("is what all groups get on a host whose domains have no monitors, and no second connection", async () => {
    const daemon = new SimulatedDaemon(200, () => ({ freeMs: 0.25 }));
    daemon.monitors = false;
    const run = new Run(daemon);
    await advance(2_000);
    expect(run.count("ok")).toBe(200);
    expect(daemon.statsCalls.every(({ groups, flags }) => groups === 0 && flags === 0)).toBe(true);
    expect(sizes(daemon)[0]).toBe(8);
    expect(daemon.checks).toEqual([]);
    expect(daemon.admission.inFlight("monitor")).toBe(0);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
    expect(daemon.crowds).toBe(0);
  });

  it("asks for more at a time while that is quick, and for fewer where a domain takes long", async () => {
    const quick = new SimulatedDaemon(2_000, () => ({ freeMs: 1 / 128 }));
    new Run(quick, FREE_QUERY);
    await advance(5_000);
    expect(Math.max(...sizes(quick))).toBeGreaterThan(32);
    expect(Math.max(...sizes(quick))).toBeLessThanOrEqual(256);
    const slow = new SimulatedDaemon(100, () => ({ freeMs: 8 }));
    const run = new Run(slow, FREE_QUERY);
    await advance(5_000);
    expect(run.count("ok")).toBe(100);
    // After the first ones, which began while nothing was known.
    expect(Math.max(...sizes(slow).slice(4))).toBe(1);
  });

  it("has records with the time at which their batch was asked, and what the batch took", async () => {
    const daemon = new SimulatedDaemon(8, () => ({ freeMs: 2 }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(100);
    const times = run.records.map(({ record: { sampledAt, tookMs } }) => [sampledAt, tookMs]);
    expect(new Set(times.map(String)).size).toBe(1);
    expect(times[0]![1]).toBeCloseTo(16, 0);
  });

  it("with a domain that libvirt has locked takes that batch apart soon, and only that domain has no answer", async () => {
    const daemon = new SimulatedDaemon(100, (i) => ({ freeMs: i === 3 ? NEVER : 0.25 }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(1_000);
    expect(run.count("ok")).toBe(99);
    // Those in its batch wait for what a batch may take, and not for the deadline.
    const mates = run.records.filter(({ record }) => record.index < 8);
    for (const { at } of mates) expect(at).toBeLessThan(100 + 50);
    const others = run.records.filter(({ record }) => record.index >= 8);
    for (const { at } of others) expect(at).toBeLessThan(100);
    await advance(1_100);
    expect(run.count("failed", "timeout")).toBe(1);
    expect(run.records.at(-1)!.record.index).toBe(3);
    expect(Math.round(run.records.at(-1)!.at)).toBeGreaterThanOrEqual(2_000);
    // The batch that hangs, and the call for that domain alone.
    expect(daemon.admission.inFlight("free")).toBe(2);
    daemon.thaw();
    await advance(100);
    expect(daemon.admission.inFlight("free")).toBe(0);
  });

  it("that had to be taken apart makes the next ones small again", async () => {
    const daemon = new SimulatedDaemon(20, (i) => ({ freeMs: i === 3 ? NEVER : 0.25 }));
    daemon.batchSize.measured(8, 0.01);
    new Run(daemon, FREE_QUERY);
    await advance(50);
    expect(sizes(daemon)).toEqual([20]);
    await advance(150);
    expect(daemon.batchSize.domains).toBe(8);
    await advance(2_000);
    daemon.thaw();
    await advance(100);
  });

  it("does not ask a locked domain again in the next sweep, nor put it into a batch", async () => {
    const daemon = new SimulatedDaemon(100, (i) => ({ freeMs: i === 3 ? NEVER : 0.25 }));
    new Run(daemon, FREE_QUERY);
    await advance(2_100);
    const before = daemon.statsCalls.length;
    const run = new Run(daemon, FREE_QUERY);
    await advance(100);
    expect(run.count("ok")).toBe(99);
    expect(run.count("failed", "quarantined")).toBe(1);
    expect(daemon.statsCalls.slice(before).flatMap(({ uuids }) => uuids)).not.toContain(uuidOf(3));
    daemon.thaw();
    await advance(100);
  });

  it("with two locked domains goes on, too: neither costs the others more than the timeout of two batches", async () => {
    const daemon = new SimulatedDaemon(200, (i) => ({ freeMs: i === 3 || i === 150 ? NEVER : 0.25 }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(1_000);
    expect(run.count("ok")).toBe(198);
    expect(Math.max(...run.records.map(({ at }) => at))).toBeLessThan(300);
    await advance(1_500);
    expect(run.count("failed", "timeout")).toBe(2);
    daemon.thaw();
    await advance(100);
  });

  it("that libvirt refuses for the sake of one domain asks each for itself: the others have their records", async () => {
    const error = libvirtError(38, "hypervisor-error");
    const daemon = new SimulatedDaemon(50, (i) => (i === 20 ? { error } : {}));
    const run = new Run(daemon, FREE_QUERY);
    await advance(500);
    expect(run.count("ok")).toBe(49);
    expect(run.count("failed", "error")).toBe(1);
    const { record } = run.records.find((one) => one.record.index === 20)!;
    expect(record.error).toBe(error);
    // In its batch, and twice alone.
    expect(daemon.statsCalls.filter(({ uuids }) => uuids.includes(uuidOf(20)))).toHaveLength(3);
  });

  it("that libvirt refuses as such fails as a whole, after one call", async () => {
    const error = libvirtError(3, "unsupported");
    const daemon = new SimulatedDaemon(8, () => ({ error }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(50);
    expect(run.error).toBe(error);
    expect(run.records).toEqual([]);
    expect(daemon.statsCalls).toHaveLength(1);
  });

  it("says of a domain that has vanished that it is gone, and of a hidden one that it is denied", async () => {
    const daemon = new SimulatedDaemon(20, (i) => (i === 4 ? { gone: true } : i === 5 ? { hidden: true } : {}));
    const run = new Run(daemon, FREE_QUERY);
    await advance(100);
    expect(run.count("ok")).toBe(18);
    expect(run.summary.slice(4, 6)).toEqual(["vm4:gone", "vm5:failed/denied"]);
    expect(daemon.count(PROCEDURES.lookupByUuid)).toBe(2);
  });

  it("of named domains asks them together, and answers each once", async () => {
    const daemon = new SimulatedDaemon(20);
    const uuids = [7, 3, 11].map(uuidOf);
    const run = new Run(daemon, { ...FREE_QUERY, domains: uuids });
    await advance(50);
    expect(run.summary).toEqual(["vm7:ok", "vm3:ok", "vm11:ok"]);
    expect(daemon.statsCalls.map((call) => call.uuids)).toEqual([uuids]);
  });

  it("is held back by a slow consumer: no more than 64 records and the batches under way wait, and all come", async () => {
    const daemon = new SimulatedDaemon(5_000, () => ({ freeMs: 1 / 16 }));
    let letGo!: () => void;
    const gate = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const run = new Run(daemon, FREE_QUERY, () => gate);
    await advance(30_000);
    expect(run.sweep.queue.length).toBeLessThanOrEqual(64 + 4 * 64);
    const asked = daemon.statsCalls.length;
    await advance(30_000);
    expect(daemon.statsCalls).toHaveLength(asked);
    letGo();
    await advance(10_000);
    expect(run.count("ok")).toBe(5_000);
  });

  it("ends at once when it is aborted, and asks nothing any more", async () => {
    const daemon = new SimulatedDaemon(5_000, () => ({ freeMs: 1 }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(30);
    run.abort.abort();
    await advance(0);
    expect(run.endedAt).toBe(30);
    const calls = daemon.calls.length;
    await advance(1_000);
    expect(daemon.calls).toHaveLength(calls);
    expect(daemon.admission.inFlight("free")).toBe(0);
  });

  it("asks domains that become known after every waiting batch was given up: no lost batch keeps its place", async () => {
    // Frozen guests hold the slots. The last lookup holds the lane until the batches of the first four have waited in vain.
    const daemon = new SimulatedDaemon(15, (i) => {
      if (i < 4) return { monitorMs: NEVER };
      return { freeMs: i === 10 ? 1_450 : i === 14 ? 700 : 0.2 };
    });
    new Run(daemon, { domains: [0, 1, 2, 3].map(uuidOf) });
    await advance(3_000);
    const run = new Run(daemon, { groups: ["state"], domains: ["vm10", "vm11", "vm12", "vm13", "vm14"] });
    await advance(2_000);
    expect(run.records).toEqual([]);
    daemon.domains[14]!.behaviour.freeMs = 0.2;
    await advance(500);
    expect(run.summary).toEqual([...[10, 11, 12, 13].map((i) => `vm${i}:failed/busy`), "vm14:ok"]);
    expect(daemon.statsCalls.at(-1)!.uuids).toEqual([uuidOf(14)]);
    daemon.thaw();
    await advance(0);
  });

  it("gives every domain a record at the deadline when libvirt answers nothing", async () => {
    const daemon = new SimulatedDaemon(60, () => ({ freeMs: NEVER }));
    const run = new Run(daemon, FREE_QUERY);
    await advance(4_000);
    expect(run.records).toHaveLength(60);
    expect(run.count("ok")).toBe(0);
    expect(run.endedAt).toBeLessThan(2_100);
    expect(daemon.most[0]).toBeLessThanOrEqual(5);
    daemon.thaw();
    await advance(100);
  });

  it.each([1, 2, 3, 4])(
    "keeps the promise among domains that lock, fail and vanish at random (seed %i)",
    async (seed) => {
      let state = seed * 7_919;
      const random = () => {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        return state / 2 ** 32;
      };
      // Two locked domains hold four of the five calls that go at a time; more would stop everyone, at the deadline.
      const locked = seed % 3;
      const daemon = new SimulatedDaemon(800, () => {
        const dice = random();
        if (dice < 0.01) return { error: libvirtError(38, "hypervisor-error") };
        return dice < 0.02 ? { gone: true } : { freeMs: random() / 8 };
      });
      for (let i = 0; i < locked; i++) daemon.domains[Math.floor(random() * 800)]!.behaviour = { freeMs: NEVER };
      daemon.monitors = seed % 2 === 0;
      const failing = daemon.domains.filter(({ behaviour: { error } }) => error !== undefined).length;
      const gone = daemon.domains.filter((domain) => domain.behaviour.gone).length;
      for (let round = 0; round < 3; round++) {
        const run = new Run(daemon, FREE_QUERY);
        await advance(10_000);
        expect(run.records).toHaveLength(800);
        expect(new Set(run.records.map(({ record }) => record.index)).size).toBe(800);
        expect(run.count("gone")).toBe(gone);
        expect(run.count("failed", "error")).toBe(failing);
        expect(run.count("failed", round === 0 ? "timeout" : "quarantined")).toBe(locked);
        expect(run.endedAt).toBeLessThan(2_600);
      }
      daemon.thaw();
      await advance(100);
      expect(daemon.admission.inFlight("free")).toBe(0);
      expect(daemon.most[0]).toBeLessThanOrEqual(5);
    },
  );
});
