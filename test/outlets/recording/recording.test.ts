import { existsSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../../src/model/error.ts";
import { surveyRecording } from "../../../src/outlets/recording/index.ts";
import { ManualClock } from "../../drivers/simulated/manual-clock.ts";
import { BEGIN, folder, open, RecordedHost, replayed, word } from "./recorded.ts";

/** The events of a host with 3 domains, from one sweep to another. */
const sweeps = (from: number, to: number, shift = 0): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i).flatMap((n) => [
    ...[0, 1, 2].map((i) => `domain-${i}=${n * 1_000 + i}`),
    `tick ${n - shift}`,
  ]);

describe("A recording", () => {
  it("replays every event of the watch, with the recorded values and times", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick(30);
    const before = host.host.records;
    await host.stop();
    expect(await replayed(host.path)).toEqual(sweeps(1, 30));
    const replay = await open(host.path);
    const records = await replay.watch().toArray();
    expect(records.slice(-3).map(({ sampledAt, tookMs, index }) => [sampledAt, tookMs, index])).toEqual(
      before.map(({ sampledAt, tookMs, index }) => [sampledAt, tookMs, index]),
    );
    expect([replay.host, replay.hypervisor]).toEqual([host.host.driver.host, host.host.driver.hypervisor]);
  });

  it("replays at speed 1 with the recorded time between the events, and faster or slower at other speeds", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick(2);
    host.host.clock.advance(0);
    await host.stop();
    for (const [speed, ms] of [
      [1, 1_000],
      [10, 100],
      [0.5, 2_000],
    ] as const) {
      const clock = new ManualClock();
      const replay = await open(host.path, `speed=${speed}`, clock);
      const times: [string, number][] = [];
      await clock.settle(replay.watch().events.forEach((event) => void times.push([word(event), clock.now()])));
      const at = (name: string) => times.find(([event]) => event === name)![1];
      expect(at("tick 2") - at("tick 1")).toBe(ms);
      await replay.close();
    }
  });

  it("takes no time for the time in which no recorder ran, and reports it as a gap", async () => {
    const host = await RecordedHost.recorded(2);
    host.host.clock.advance(3_600_000);
    await host.start();
    await host.tick(2);
    await host.stop();
    const events = await replayed(host.path);
    expect(events.filter((event) => event.startsWith("gap"))).toEqual(["gap not-recorded undefined"]);
    expect(events.filter((event) => event.startsWith("tick"))).toEqual([1, 2, 3, 4].map((n) => `tick ${n}`));
    const clock = new ManualClock();
    const replay = await open(host.path, "speed=1", clock);
    const began = clock.now();
    await clock.settle(replay.watch().events.forEach(() => {}));
    expect(clock.now() - began).toBe(4_000);
    const { gaps } = await surveyRecording(host.path);
    expect(gaps).toEqual([expect.objectContaining({ reason: "not-recorded", skipped: undefined })]);
    expect(gaps[0]!.to - gaps[0]!.from).toBeGreaterThanOrEqual(3_600_000);
  });

  it("has the outages of the source, and the number of sweeps that failed", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick();
    host.host.failure = new VirstreamError("connection-lost", "the daemon has gone");
    await host.tick(4);
    host.host.failure = undefined;
    await host.tick();
    await host.stop();
    const events = await replayed(host.path);
    expect(events.slice(4, 7)).toEqual(["reconnecting", "connected", "gap source 4"]);
    expect((await surveyRecording(host.path)).gaps).toMatchObject([{ reason: "source", skipped: 4 }]);
    // In the outage, a sweep of the replay says that the host is absent.
    const replay = await open(host.path, "from=%2B3s");
    const sweep = await replay.stats().events.toArray();
    expect(sweep.at(-1)).toMatchObject({ summary: { domains: 3, absent: [{ error: { code: "connection-lost" } }] } });
  });

  it("is replayed from a moment on: first the state then, and to another moment", async () => {
    const host = await RecordedHost.recorded(100);
    const from = new Date(BEGIN + 60_500).toISOString();
    const events = await replayed(host.path, `speed=max&from=${from}&to=%2B64.5s`);
    // The ticks have the numbers of this watch.
    const shown = events.filter((event) => !event.startsWith("tick"));
    expect(shown.slice(0, 3)).toEqual([0, 1, 2].map((i) => `domain-${i}=${60_000 + i}`));
    expect(shown.slice(-3)).toEqual([0, 1, 2].map((i) => `domain-${i}=${64_000 + i}`));
    const survey = await surveyRecording(host.path);
    expect(survey.keyFrames).toBeGreaterThan(3);
    expect(survey.keyFrames).toBeLessThan(15);
  });

  it("answers a sweep with the newest state: at the end, at `to`, or where a replay from `from` is", async () => {
    const host = new RecordedHost();
    await host.start();
    await host.tick(8);
    // The records have the machine's own time: those that give rates must differ in it.
    await new Promise((resolve) => setTimeout(resolve, 5));
    await host.tick(12);
    await host.stop();
    const first = async (parameters: string) =>
      (await (await open(host.path, parameters)).getAllDomainStats()).map(({ params }) => params.number("cpu.time"));
    expect(await first("")).toEqual([20_000, 20_001, 20_002]);
    expect(await first("to=%2B9.5s")).toEqual([9_000, 9_001, 9_002]);
    expect(await first("from=-9.5s")).toEqual([10_000, 10_001, 10_002]);
    const clock = new ManualClock();
    const replay = await open(host.path, "from=%2B2.5s&speed=2", clock);
    const state = async () => (await replay.getAllDomainStats())[0]!.params.number("cpu.time");
    expect(await state()).toBe(2_000);
    clock.advance(2_000);
    expect(await state()).toBe(6_000);
    const rates = await clock.settle(replay.getAllDomainStats({ rates: true, overMs: 2_000 }));
    expect(rates.map(({ record }) => record.params.number("cpu.time"))).toEqual([10_000, 10_001, 10_002]);
    expect(rates[0]!.intervalMs).toBeGreaterThan(0);
  });

  it("is continued in a file that exists, and rotated by size; the files are read as one, and the oldest deleted", async () => {
    const host = new RecordedHost();
    await host.start({ rotateBytes: 4_096, keep: 3 });
    await host.tick(60);
    await host.stop();
    const names = readdirSync(join(host.path, "..")).sort();
    expect(names.length).toBe(4);
    expect(names[0]).toBe("host.rec");
    const events = await replayed(host.path);
    const ticks = events.filter((event) => event.startsWith("tick")).length;
    expect(events.at(-2)).toBe("domain-2=60002");
    expect(events.slice(-4 * ticks).filter((event) => !event.startsWith("tick"))).toEqual(
      sweeps(60 - ticks + 1, 60).filter((event) => !event.startsWith("tick")),
    );
    expect(events.filter((event) => event.startsWith("gap"))).toEqual([]);
  });

  it("is rotated by age", async () => {
    const host = new RecordedHost();
    await host.start({ rotateAgeMs: 10_000 });
    await host.tick(35);
    await host.stop();
    expect(readdirSync(join(host.path, ".."))).toHaveLength(4);
    expect(await replayed(host.path)).toEqual(sweeps(1, 35));
  });

  it("removes a frame that was cut before it continues", async () => {
    const host = await RecordedHost.recorded(3);
    truncateSync(host.path, statSync(host.path).size - 60);
    expect((await surveyRecording(host.path)).cutBytes).toBeGreaterThan(0);
    await host.start();
    await host.tick();
    await host.stop();
    expect(await surveyRecording(host.path)).toMatchObject({ cutBytes: 0, damagedBytes: 0, ended: true });
  });

  it("does not touch a file that is something else, and reports that another process writes to it", async () => {
    const other = join(folder(), "notes.txt");
    writeFileSync(other, "milk, eggs");
    const host = new RecordedHost({ path: other });
    await expect(host.start()).rejects.toMatchObject({ code: "output-failed", message: /is not a recording/ });
    expect(readFileSync(other, "utf8")).toBe("milk, eggs");
    const [one, two] = [new RecordedHost(), new RecordedHost()];
    await one.start();
    await one.tick();
    const second = new RecordedHost({ path: one.path });
    await second.start();
    await second.tick(2);
    await one.tick(2);
    await expect(Promise.race([one.recording.ended, second.recording.ended])).rejects.toMatchObject({
      message: /another process writes/,
    });
    await Promise.allSettled([one.stop(), second.stop(), two.stop()]);
    expect(existsSync(one.path)).toBe(true);
  });
});
