import { describe, expect, it, vi } from "vitest";
import { uuidOf } from "../rpc/fake-daemon.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { NEVER, SimulatedDaemon } from "./simulated-daemon.ts";

turnTheClock();

/** When each record came, in whole ms since the sweep began, by status. */
const times = (run: Run, status: string) =>
  run.records.filter(({ record }) => record.status === status).map(({ at }) => Math.round(at));

describe("The deadlines of a sweep", () => {
  it("end it for every domain at the same time when nothing moves", async () => {
    const daemon = new SimulatedDaemon(40, () => ({ monitorMs: NEVER }));
    const run = new Run(daemon, { groups: ["block"] });
    await advance(1_990);
    expect(run.records).toEqual([]);
    await advance(20);
    expect(times(run, "failed")).toHaveLength(40);
    daemon.thaw();
    await advance(0);
  });

  it("let it go on as long as it moves, and give each call at least half of the deadline", async () => {
    // Ten rounds of four, 195 ms each. The last domain is asked shortly before the deadline, and is frozen.
    const daemon = new SimulatedDaemon(41, (i) => ({ monitorMs: i === 40 ? NEVER : 195 }));
    for (const domain of daemon.domains) domain.id = -1;
    const run = new Run(daemon);
    await advance(4_000);
    expect(run.count("ok")).toBe(40);
    const { record, at } = run.records.at(-1)!;
    expect(record).toMatchObject({ index: 40, status: "partial", reason: "timeout" });
    const { at: askedAt } = daemon.calls.find(({ args }) => (args as { uuids?: string[] }).uuids?.[0] === uuidOf(40))!;
    expect(askedAt - daemon.calls[0]!.at).toBeGreaterThan(1_900);
    expect(Math.round(at - (askedAt - daemon.calls[0]!.at))).toBe(1_001);
    daemon.thaw();
    await advance(0);
  });

  it("end it 25 ms per domain later at the latest, so that slow guests cannot hold up the others without bound", async () => {
    const daemon = new SimulatedDaemon(100, () => ({ monitorMs: 400 }));
    const run = new Run(daemon, { groups: ["block"] });
    await advance(10_000);
    expect(Math.max(...times(run, "ok"))).toBeGreaterThan(4_000);
    expect(run.count("failed", "timeout") + run.count("failed", "busy")).toBeGreaterThan(50);
    // Counted from the listing, which took 1 ms.
    expect(Math.min(...times(run, "failed"))).toBe(2_001 + 100 * 25);
    expect(run.endedAt).toBeLessThan(2_001 + 100 * 25 + 400);
  });

  it("wake it up for nothing else when no call waits", async () => {
    const daemon = new SimulatedDaemon(1, () => ({ monitorMs: NEVER }));
    const began = performance.now();
    const run = new Run(daemon, { groups: ["block"] });
    await advance(300);
    expect(vi.getTimerCount()).toBe(1);
    await vi.advanceTimersToNextTimerAsync();
    // The deadline counts from the listing, which takes 1 ms. The timer was set before.
    expect(performance.now() - began).toBeGreaterThanOrEqual(2_000);
    await advance(1);
    expect(times(run, "failed")).toEqual([2_001]);
    daemon.thaw();
    await advance(0);
  });

  it("give late domains 500 ms more, as long as their fallbacks move on, and 5 ms for each at most", async () => {
    // The frozen guests hold every slot, so all fallbacks go through the lane.
    const daemon = new SimulatedDaemon(100, () => ({ monitorMs: NEVER, freeMs: 15 }));
    const run = new Run(daemon);
    await advance(10_000);
    const partial = times(run, "partial");
    expect(Math.max(...partial)).toBeGreaterThan(2_900);
    expect(partial.length).toBeGreaterThan(60);
    // The first of them has the lane at once, the others wait.
    expect(new Set(times(run, "failed"))).toEqual(new Set([2_001 + 500 + 99 * 5]));
    daemon.thaw();
    await advance(0);
  });

  it("give up fallbacks when none has moved for 500 ms", async () => {
    const daemon = new SimulatedDaemon(100, () => ({ monitorMs: NEVER, freeMs: NEVER }));
    for (const domain of daemon.domains) domain.id = -1;
    const run = new Run(daemon);
    await advance(10_000);
    expect(new Set(times(run, "failed"))).toEqual(new Set([2_001 + 500]));
    daemon.thaw();
    await advance(0);
  });

  it("stand still while the consumer is behind", async () => {
    const daemon = new SimulatedDaemon(80, (i) => ({ monitorMs: i === 79 ? NEVER : 8 }));
    const run = new Run(daemon, {}, () => (run.records.length < 5 ? advanceTo(60_000) : Promise.resolve()));
    const advanceTo = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
    await advance(59_000);
    const held = daemon.calls.at(-1)!.at - daemon.calls[0]!.at;
    expect(run.sweep.queue.length).toBeGreaterThanOrEqual(64);
    expect(held).toBeLessThan(200);
    await advance(10_000);
    expect(run.count("ok")).toBe(79);
    // The sweep had used up as much of its 2 s as it was not held for.
    const [late] = times(run, "partial");
    expect(late).toBeGreaterThan(60_000 + 2_000 - held - 10);
    expect(late).toBeLessThanOrEqual(60_000 + 2_000);
    daemon.thaw();
    await advance(0);
  });
});
