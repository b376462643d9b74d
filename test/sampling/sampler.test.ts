import { getEventListeners } from "node:events";
import { describe, expect, it } from "vitest";
import type { SweepContext } from "../../src/driver/driver.ts";
import { type ErrorCode, VirstreamError } from "../../src/model/error.ts";
import { checkQuery, type StatsQuery } from "../../src/model/query.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { checkCadence, type WatchEvent, type WatchOptions, type WatchSink } from "../../src/model/watch.ts";
import { Sampling } from "../../src/sampling/sampling.ts";
import { Subscription } from "../../src/sampling/subscription.ts";
import { ManualClock } from "../drivers/simulated/manual-clock.ts";
import { aborted, ScriptedDriver } from "../server/scripted-driver.ts";
import { pushAll } from "./collecting-sink.ts";
import { pass } from "./pass.ts";
import { watchOf } from "./watching.ts";

type Sweep = (driver: ScriptedDriver, context: SweepContext) => AsyncIterable<readonly DomainStatsRecord[]>;

/** One that watches: what it was told, and how to stop it. */
interface Watcher {
  readonly events: WatchEvent[];
  readonly error: VirstreamError | undefined;
  ended: boolean;
  stop(): void;
}

/** A driver of two domains, watched on a clock that stands still. */
class Bench {
  readonly clock = new ManualClock();
  readonly driver: ScriptedDriver;
  readonly sampling: Sampling;
  /** When sweeps began, from the beginning of the test. */
  readonly begun: number[] = [];
  readonly #zero = this.clock.now();

  constructor(sweep: Sweep = twoDomains) {
    this.driver = new ScriptedDriver((driver, context) => {
      this.begun.push(this.clock.now() - this.#zero);
      return sweep(driver, context);
    });
    this.sampling = new Sampling(this.driver, this.clock);
  }

  watch(options: WatchOptions = {}, query: StatsQuery = {}): Watcher {
    const watch = Subscription.to(this.sampling, checkQuery(query), checkCadence(options), (events) => events);
    const stop = () => void watch.return();
    const watcher = { events: [] as WatchEvent[], error: undefined, ended: false, stop };
    const listen = async () => {
      for await (const events of watch) watcher.events.push(...events);
    };
    listen()
      .catch((error) => Object.assign(watcher, { error }))
      .finally(() => Object.assign(watcher, { ended: true }));
    return watcher;
  }

  /** Lets so many ms of the clock take. */
  takes(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.setTimeout(resolve, ms));
  }

  pass(ms: number): Promise<void> {
    return pass(this.clock, ms);
  }
}

async function* twoDomains(driver: ScriptedDriver): AsyncGenerator<readonly DomainStatsRecord[]> {
  yield [driver.record(0)];
  yield [driver.record(1)];
}

const typesOf = (events: readonly WatchEvent[]): string[] =>
  events.map((event) => (event.type === "status" ? event.state : event.type));
const ticksOf = (events: readonly WatchEvent[]): number[] =>
  events.flatMap((event) => (event.type === "sync" ? [event.tick] : []));
const overrunsOf = (events: readonly WatchEvent[]): number[] =>
  events.flatMap((event) => (event.type === "sync" ? [event.overrun] : []));

/** A driver's error, as at a daemon's restart or one that no waiting mends. */
const failure = (code: ErrorCode) => new VirstreamError(code, "the driver said so");

describe("a sampler", () => {
  it.each([1, 1_000])("sweeps once per tick for %i watches that ask for the same", async (count) => {
    const bench = new Bench();
    const watchers = Array.from({ length: count }, () => bench.watch());
    await bench.pass(4_500);
    expect(bench.begun).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
    for (const { events } of watchers) expect(ticksOf(events)).toEqual([1, 2, 3, 4, 5]);
    expect(typesOf(watchers[0]!.events).slice(0, 6)).toEqual(["record", "record", "sync", "record", "record", "sync"]);
    expect(bench.sampling.snapshot()).toMatchObject({ samplers: 1, feeds: 1, subscribers: count, sweeps: 5 });
    for (const watcher of watchers) watcher.stop();
    expect(bench.clock.timers).toBe(0);
  });

  it("shares sweeps between different cadences, and keeps different queries apart", async () => {
    const bench = new Bench();
    const fast = bench.watch();
    const odd = bench.watch({ intervalMs: 1_500 });
    const changes = bench.watch({ mode: "on-change" });
    await bench.pass(6_500);
    expect(bench.begun).toEqual([0, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000]);
    expect([fast, odd, changes].map(({ events }) => ticksOf(events).length)).toEqual([7, 5, 7]);
    expect(typesOf(changes.events).filter((type) => type === "record")).toHaveLength(2);
    expect(bench.sampling.snapshot()).toMatchObject({ samplers: 1, feeds: 3, subscribers: 3, sweeps: 7 });
    bench.watch({}, { groups: ["state"] });
    await bench.pass(10);
    expect(bench.begun).toHaveLength(8);
    expect(bench.sampling.snapshot()).toMatchObject({ samplers: 2, feeds: 4, subscribers: 4 });
    bench.sampling.close(failure("connection-closed"));
  });

  it("hands the query to the driver as it is, its deadline too, whatever the interval", async () => {
    const bench = new Bench();
    const watcher = bench.watch({ intervalMs: 10 }, { deadlineMs: 5_000, groups: ["state"] });
    await bench.pass(10);
    expect(bench.driver.queries[0]).toEqual(checkQuery({ deadlineMs: 5_000, groups: ["state"] }));
    watcher.stop();
  });

  it("hands on what a sweep has so far, and does not wait for its end", async () => {
    const bench = new Bench(async function* (driver) {
      yield [driver.record(0)];
      await bench.takes(700);
      yield [driver.record(1)];
    });
    const watcher = bench.watch();
    await bench.pass(500);
    expect(typesOf(watcher.events)).toEqual(["record"]);
    await bench.pass(300);
    expect(typesOf(watcher.events)).toEqual(["record", "record", "sync"]);
    watcher.stop();
  });

  it("lets timers and sockets have their turn during a sweep of a driver that never waits", async () => {
    let turned = false;
    let turnedInTime = false;
    const bench = new Bench(async function* (driver) {
      setImmediate(() => {
        turned = true;
      });
      for (let i = 0; i < 10_000; i += 100) yield Array.from({ length: 100 }, (_, j) => driver.record(i + j));
      turnedInTime = turned;
    });
    const watcher = bench.watch();
    await bench.pass(100);
    expect(typesOf(watcher.events).at(-1)).toBe("sync");
    expect(turnedInTime).toBe(true);
    watcher.stop();
  });

  it("never overlaps sweeps, and tells how many it left out", async () => {
    let most = 0;
    const bench = new Bench(async function* (driver) {
      most = Math.max(most, driver.running);
      await bench.takes(2_500);
      yield [driver.record(0)];
    });
    const fast = bench.watch();
    const slow = bench.watch({ intervalMs: 4_000 });
    await bench.pass(12_000);
    expect(bench.begun).toEqual([0, 3_000, 6_000, 9_000, 12_000]);
    expect(overrunsOf(fast.events)).toEqual([2, 2, 2, 2]);
    // Its second sweep is that at 6 s, which was still at work at 8 s.
    expect(overrunsOf(slow.events)).toEqual([0, 1]);
    expect(most).toBe(1);
    expect(bench.sampling.snapshot()).toMatchObject({ sweeps: 4, sweepsOverrun: 8, sweepsInFlight: 1 });
    bench.sampling.close(failure("connection-closed"));
  });

  it("ends the sweep that is under way, and rests, when the last watch leaves, and not before", async () => {
    let signal: AbortSignal | undefined;
    const bench = new Bench(async function* (driver, context) {
      signal = context.signal;
      yield [driver.record(0)];
      await aborted(context.signal);
    });
    const watchers = [bench.watch(), bench.watch({ mode: "on-change" })];
    await bench.pass(100);
    watchers[0]!.stop();
    expect(signal!.aborted).toBe(false);
    watchers[1]!.stop();
    expect(signal!.aborted).toBe(true);
    await bench.pass(5_000);
    expect(watchers.map(({ ended, error }) => [ended, error])).toEqual([
      [true, undefined],
      [true, undefined],
    ]);
    expect([bench.begun, bench.driver.running, bench.clock.timers]).toEqual([[0], 0, 0]);
    const idle = { samplers: 0, feeds: 0, subscribers: 0, sweeps: 0, sweepsStopped: 1, sweepsInFlight: 0 };
    expect(bench.sampling.snapshot()).toMatchObject(idle);
  });

  it("begins again, with the first tick, for a watcher that comes after that", async () => {
    const bench = new Bench();
    const first = bench.watch();
    await bench.pass(2_100);
    first.stop();
    await bench.pass(5_000);
    const second = bench.watch();
    await bench.pass(1_100);
    expect(bench.begun).toEqual([0, 1_000, 2_000, 7_100, 8_100]);
    expect(ticksOf(second.events)).toEqual([1, 2]);
    second.stop();
    expect(bench.clock.timers).toBe(0);
  });

  it("ends all its watches with an error that waiting does not cure", async () => {
    const bench = new Bench(async function* (driver) {
      yield [driver.record(0)];
      throw failure("unsupported");
    });
    const watchers = [bench.watch(), bench.watch(), bench.watch({ intervalMs: 5_000 })];
    await bench.pass(2_000);
    expect(watchers.map(({ error }) => error?.code)).toEqual(["unsupported", "unsupported", "unsupported"]);
    for (const { events } of watchers) expect(typesOf(events)).toEqual(["record"]);
    expect([bench.begun, bench.clock.timers]).toEqual([[0], 0]);
    const idle = { samplers: 0, feeds: 0, subscribers: 0, sweepsFailed: 1, sweepsInFlight: 0 };
    expect(bench.sampling.snapshot()).toMatchObject(idle);
  });

  it("treats what a driver throws that is no error of ours as the end too", async () => {
    const bench = new Bench(() => {
      throw new TypeError("a slip");
    });
    const watcher = bench.watch();
    await bench.pass(10);
    expect(watcher.error).toMatchObject({ code: "internal", message: "a slip" });
  });

  it("goes on trying while waiting may restore it: says so once, and then how many sweeps were skipped", async () => {
    const bench = new Bench(async function* (driver) {
      // From 2 s on it fails, at 3 s after 2.5 s of trying; at 6 s it is there again.
      const now = bench.begun.at(-1)!;
      if (now === 3_000) await bench.takes(2_500);
      if (now >= 2_000 && now < 6_000) throw failure("connection-lost");
      yield* twoDomains(driver);
    });
    const watcher = bench.watch();
    await bench.pass(7_500);
    expect(bench.begun).toEqual([0, 1_000, 2_000, 3_000, 6_000, 7_000]);
    const told = watcher.events.slice(6);
    expect(typesOf(told).slice(0, 6)).toEqual(["reconnecting", "connected", "gap", "record", "record", "sync"]);
    expect(told[0]).toMatchObject({ host: "script", error: { code: "connection-lost" } });
    // At 2, 3, 4 and 5 s.
    expect(told[2]).toEqual({ type: "gap", reason: "source", skipped: 4, host: "script" });
    expect(ticksOf(watcher.events)).toEqual([1, 2, 3, 4]);
    expect(bench.sampling.snapshot()).toMatchObject({ sweeps: 4, sweepsFailed: 2, sweepsOverrun: 2 });
    watcher.stop();
  });

  it("reports to a watcher that comes while the source cannot be reached that this is so", async () => {
    const bench = new Bench(() => {
      throw failure("connection-refused");
    });
    const first = bench.watch();
    await bench.pass(1_500);
    const second = bench.watch();
    await bench.pass(10);
    expect([first, second].map(({ events }) => typesOf(events))).toEqual([["reconnecting"], ["reconnecting"]]);
    bench.sampling.close(failure("connection-closed"));
    await bench.pass(10);
    expect([first, second].map(({ ended, error }) => [ended, error])).toEqual([
      [true, undefined],
      [true, undefined],
    ]);
  });
});

describe("a driver that watches by itself", () => {
  /** What it pushes, and what stops that. */
  function pushing(push: (sink: WatchSink) => () => void): Bench & { asked: number } {
    const bench = Object.assign(new Bench(), { asked: 0 });
    Object.assign(bench.driver, {
      watch: (_query: unknown, _cadence: unknown, sink: WatchSink) => {
        bench.asked++;
        return push(sink);
      },
    });
    return bench;
  }

  it("is asked once per query and cadence, not swept, and left when the last watch leaves", async () => {
    let stopped = 0;
    const bench = pushing((sink) => {
      pushAll(sink, [{ type: "record", record: bench.driver.record(0) }]);
      return () => {
        stopped++;
      };
    });
    const watchers = [bench.watch(), bench.watch()];
    await bench.pass(3_000);
    expect([bench.asked, bench.begun]).toEqual([1, []]);
    expect(watchers.map(({ events }) => typesOf(events))).toEqual([["record"], ["record"]]);
    watchers[0]!.stop();
    expect(stopped).toBe(0);
    watchers[1]!.stop();
    await bench.pass(10);
    expect(stopped).toBe(1);
    expect(bench.sampling.snapshot()).toMatchObject({ feeds: 0, subscribers: 0, samplers: 0 });
  });

  it("ends its watches when it fails or ends, also when it does so at once", async () => {
    const later = (sink: WatchSink) => void setImmediate(() => sink.end(failure("connection-lost")));
    const ends: [string, (sink: WatchSink) => void][] = [
      ["connection-lost", later],
      ["connection-lost", (sink) => sink.end(failure("connection-lost"))],
      [
        "denied",
        () => {
          throw failure("denied");
        },
      ],
    ];
    for (const [code, end] of ends) {
      const bench = pushing((sink) => {
        end(sink);
        return () => {};
      });
      const watcher = bench.watch();
      await bench.pass(10);
      expect(watcher.error?.code).toBe(code);
      expect(bench.sampling.snapshot()).toMatchObject({ feeds: 0, subscribers: 0 });
    }
  });

  it("keeps nothing of watches that failed on a signal that outlives them, however often they are tried again", async () => {
    const bench = pushing((sink) => {
      setImmediate(() => {
        pushAll(sink, [{ type: "record", record: bench.driver.record(0) }]);
        sink.end(failure("connection-lost"));
      });
      return () => {};
    });
    const { signal } = new AbortController();
    const watch = () => watchOf(bench.sampling, checkQuery({}), checkCadence(), signal);
    for (let i = 0; i < 20; i++) {
      const drained = watch().events.toArray();
      expect(getEventListeners(signal, "abort")).toHaveLength(1);
      await expect(drained).rejects.toMatchObject({ code: "connection-lost" });
      expect(getEventListeners(signal, "abort")).toHaveLength(0);
      expect(bench.sampling.snapshot()).toMatchObject({ feeds: 0, subscribers: 0 });
    }
    for await (const _left of watch().events) break;
    const closed = watch().toArray();
    bench.sampling.close(failure("connection-closed"));
    expect(await closed).toEqual([]);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
  });
});
