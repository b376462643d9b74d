import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SweepTally } from "../../src/driver/tally.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { checkCadence, type WatchEvent, type WatchState } from "../../src/model/watch.ts";
import { Subscription } from "../../src/sampling/subscription.ts";
import { SweptFeed } from "../../src/sampling/swept-feed.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { pushAll } from "./collecting-sink.ts";
import { sample, uuidOf } from "./sample.ts";

const lost = new VirstreamError("connection-lost", "the cable");

/** A feed, fed by hand. Each record's value is greater than those before it: newer. */
class Source {
  readonly feed = new SweptFeed({ cadence: checkCadence(), host: "hv1", named: false, now: () => 0, over: () => {} });
  /** The sweeps that failed. */
  failed = 0;
  /** The most domains that it ever knew. */
  most = 0;
  #value = 0;

  /** A part of a sweep. */
  records(uuids: readonly number[]): void {
    this.feed.takeSwept(uuids.map((uuid) => sample({ uuid, cells: [++this.#value] })));
    this.most = Math.max(this.most, this.feed.size);
  }

  sweep(uuids: readonly number[], times = 1): void {
    for (let i = 0; i < times; i++) {
      this.feed.beginSweep();
      this.records(uuids);
      this.feed.endSweep(new SweepTally(0).summary(1), 0);
    }
  }

  /** What a driver pushes of another host: which domains are there now, and how it is doing. */
  push(uuids: readonly number[], state: WatchState): void {
    const host = "hv2";
    pushAll(this.feed, [
      { type: "status", state, host, error: state === "connected" ? undefined : lost },
      ...[1, 2, 3].map((uuid): WatchEvent => {
        const record = sample({ uuid, host, cells: [++this.#value] });
        return uuids.includes(uuid) ? { type: "record", record } : { type: "gone", domain: record.domain };
      }),
    ]);
    this.most = Math.max(this.most, this.feed.size);
  }

  fail(overrun = 0): void {
    this.feed.beginSweep();
    this.feed.failSweep(lost, overrun);
    this.failed += 1 + overrun;
  }
}

/** A consumer that pulls when it is told to, and what the events come to for it. */
class Consumer {
  readonly subscription: Subscription<WatchEvent>;
  readonly records = new Map<string, DomainStatsRecord>();
  readonly statuses = new Map<string | undefined, WatchState>();
  readonly ticks: number[] = [];
  /** What all gaps say together. */
  skipped = 0;
  /** What the source's own gaps say together. */
  skippedBySource = 0;
  conflated = 0;
  largest = 0;
  #pulling: Promise<void> | undefined;

  constructor(feed: SweptFeed) {
    this.subscription = new Subscription(feed, all, (ticks) => {
      this.conflated += ticks;
    });
  }

  /** Pulls once, unless a pull waits already. */
  async pull(): Promise<void> {
    this.#pulling ??= this.subscription.next().then(({ value }) => {
      this.#pulling = undefined;
      this.largest = Math.max(this.largest, value.length);
      for (const event of value) this.#apply(event);
    });
    await turn();
  }

  /** Pulls until there is nothing more. */
  async drain(): Promise<void> {
    do await this.pull();
    while (this.#pulling === undefined);
  }

  #apply(event: WatchEvent): void {
    if (event.type === "record") {
      const key = keyOf(event.record.domain);
      const before = this.records.get(key)?.params.doubles[0] ?? 0;
      if (event.record.params.doubles[0]! < before) throw new Error(`an old record of ${key} after a newer one`);
      this.records.set(key, event.record);
    } else if (event.type === "gone") {
      this.records.delete(keyOf(event.domain));
    } else if (event.type === "status") {
      this.statuses.set(event.host, event.state);
    } else if (event.type === "sync") {
      if (event.tick <= (this.ticks.at(-1) ?? 0)) throw new Error(`tick ${event.tick} after ${this.ticks.at(-1)}`);
      this.ticks.push(event.tick);
    } else {
      this.skipped += event.skipped!;
      if (event.reason === "source") this.skippedBySource += event.skipped!;
    }
  }
}

const all = (events: WatchEvent[]): WatchEvent[] => events;

const keyOf = ({ host, uuid }: Domain): string => `${host} ${uuid}`;

const uuids = fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 6 });
const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ sweep: uuids, times: fc.integer({ min: 1, max: 40 }) }) },
    { weight: 3, arbitrary: fc.record({ records: uuids }) },
    { weight: 1, arbitrary: fc.record({ fail: fc.integer({ min: 0, max: 3 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({ push: uuids, state: fc.constantFrom("connected" as const, "degraded" as const) }),
    },
    { weight: 4, arbitrary: fc.constant("pull" as const) },
  ),
  { maxLength: 30 },
);

describe("a subscription", () => {
  it("has room for two sweeps of the domains that there were, also when all of them leave", async () => {
    const source = new Source();
    const consumer = new Consumer(source.feed);
    const domains = Array.from({ length: 200 }, (_, i) => i + 1);
    source.sweep(domains);
    await consumer.drain();
    source.sweep(domains);
    source.sweep([]);
    await consumer.drain();
    expect([consumer.records.size, consumer.ticks, consumer.skipped]).toEqual([0, [1, 2, 3], 0]);
  });

  it("brings its consumer to the feed's own state, however they interleave: each tick delivered once or counted", async () => {
    let gaps = 0;
    await fc.assert(
      fc.asyncProperty(steps, fc.boolean(), async (script, pulledAtOnce) => {
        const source = new Source();
        const consumer = new Consumer(source.feed);
        if (pulledAtOnce) await consumer.pull();
        for (const step of script) {
          if (step === "pull") await consumer.pull();
          else if ("sweep" in step) source.sweep(step.sweep, step.times);
          else if ("records" in step) source.records(step.records);
          else if ("push" in step) source.push(step.push, step.state);
          else source.fail(step.fail);
        }
        source.sweep([1, 2]);
        await consumer.drain();

        const { feed } = source;
        const state = feed.records().filter((record) => record !== undefined);
        expect(new Set(consumer.records.values())).toEqual(new Set(state));
        const amiss = [...consumer.statuses].filter(([, told]) => told !== "connected");
        expect(amiss).toEqual([...feed.statuses].map((status) => [status.host, status.state]));
        expect(consumer.ticks.at(-1)).toBe(feed.sync!.tick);
        // What happened before the first pull is no part of the watch.
        if (pulledAtOnce) {
          expect(consumer.ticks.length + consumer.skipped).toBe(feed.sync!.tick + source.failed);
        } else {
          expect(consumer.skipped).toBeLessThanOrEqual(feed.sync!.tick + source.failed);
        }
        expect(consumer.conflated).toBe(consumer.skipped - consumer.skippedBySource);
        // A catch-up adds who left, a gap, a status and a sync.
        expect(consumer.largest).toBeLessThanOrEqual(2 * source.most + 64);
        if (consumer.conflated > 0) gaps++;
      }),
      { numRuns: 300 },
    );
    expect(gaps).toBeGreaterThan(50);
  });

  it("gives a consumer that joins in the middle the state at once, the last tick and what is not connected, and no gap", async () => {
    const source = new Source();
    source.sweep([1, 2], 1_000);
    source.fail();
    const { value } = await new Subscription(source.feed, all, () => {}).next();
    expect(value.map((event: WatchEvent) => event.type)).toEqual(["status", "record", "record", "sync"]);
    expect(value.at(-1)).toMatchObject({ type: "sync", tick: 1_000 });
  });

  it("has skipped nothing for a consumer whose first pull is late", async () => {
    const source = new Source();
    source.sweep([1], 10);
    const consumer = new Consumer(source.feed);
    source.fail();
    source.sweep([1, 2], 100);
    source.sweep([1]);
    await consumer.drain();
    expect([consumer.ticks, consumer.skipped, consumer.conflated]).toEqual([[111], 0, 0]);
    expect([...consumer.records.keys()]).toEqual([`hv1 ${uuidOf(1)}`]);
    expect([...consumer.statuses]).toEqual([]);
  });

  it("gives one that does not keep up a gap with the count, then who left, then the newest of the others", async () => {
    const source = new Source();
    const consumer = new Consumer(source.feed);
    source.sweep([1, 2]);
    await consumer.drain();
    source.sweep([1, 2, 3], 50);
    source.sweep([3], 50);
    const { value } = await consumer.subscription.next();
    expect(value.map((event: WatchEvent) => event.type)).toEqual(["gap", "gone", "gone", "record", "sync"]);
    expect(value[0]).toEqual({ type: "gap", reason: "slow-consumer", skipped: 99, host: undefined });
    expect(value.at(-1)).toMatchObject({ tick: 101 });
  });

  it("announces no domain that came and left unseen, so that a consumer that stopped pulling holds nothing for them", async () => {
    const source = new Source();
    const consumer = new Consumer(source.feed);
    source.sweep([1]);
    await consumer.drain();
    source.sweep([1], 100);
    for (let uuid = 1_000; uuid < 3_000; uuid++) source.sweep([uuid]);
    const { value } = await consumer.subscription.next();
    expect(value.map((event: WatchEvent) => event.type)).toEqual(["gap", "gone", "record", "sync"]);
  });

  it("does not know how many sweeps were skipped where its source does not", async () => {
    const source = new Source();
    const consumer = new Consumer(source.feed);
    source.sweep([1]);
    await consumer.drain();
    pushAll(source.feed, [{ type: "gap", reason: "reconnected", skipped: undefined, host: undefined }]);
    source.sweep([1], 200);
    const { value } = await consumer.subscription.next();
    expect(value[0]).toEqual({ type: "gap", reason: "slow-consumer", skipped: undefined, host: undefined });
    source.sweep([1], 200);
    expect((await consumer.subscription.next()).value[0]).toMatchObject({ skipped: 199 });
  });

  it("wakes a consumer that waits with all of a chunk at once", async () => {
    const source = new Source();
    const { subscription } = new Consumer(source.feed);
    const pulled = subscription.next();
    await turn();
    source.sweep([1, 2, 3]);
    expect((await pulled).value).toHaveLength(4);
  });

  it("gives the part of the events that is selected, and waits on where a chunk has none of it", async () => {
    const source = new Source();
    const records = (events: WatchEvent[]) => events.filter(({ type }) => type === "record");
    const subscription = new Subscription(source.feed, records, () => {});
    source.sweep([1]);
    expect((await subscription.next()).value).toHaveLength(1);
    const pulled = subscription.next();
    await turn();
    source.fail();
    await turn();
    source.sweep([1, 2]);
    expect((await pulled).value.map(({ type }: WatchEvent) => type)).toEqual(["record", "record"]);
  });

  it("gives what waits before the error that ends it, the error once, and then its end", async () => {
    for (const sweeps of [1, 500]) {
      const source = new Source();
      const { subscription } = new Consumer(source.feed);
      source.sweep([7], sweeps);
      source.feed.end(lost);
      const { value } = await subscription.next();
      expect(value.map((event: WatchEvent) => event.type)).toEqual(["record", "sync"]);
      await expect(subscription.next()).rejects.toBe(lost);
      expect(await subscription.next()).toEqual({ done: true, value: undefined });
    }
    const source = new Source();
    const waiting = new Consumer(source.feed).subscription.next();
    await turn();
    source.feed.end(lost);
    await expect(waiting).rejects.toBe(lost);
    await expect(new Subscription(source.feed, all, () => {}).next()).rejects.toBe(lost);
  });

  it("leaves the feed when its consumer returns, also in the middle of a pull, and gives nothing more", async () => {
    const source = new Source();
    const { subscription } = new Consumer(source.feed);
    const other = new Consumer(source.feed);
    source.sweep([1]);
    await subscription.next();
    const waiting = subscription.next();
    await subscription.return();
    expect(await waiting).toEqual({ done: true, value: undefined });
    source.sweep([1]);
    expect(await subscription.next()).toEqual({ done: true, value: undefined });
    expect(source.feed.listeners).toBe(1);
    await other.subscription.return();
    expect(source.feed.listeners).toBe(0);
    expect(source.feed.error?.code).toBe("connection-closed");
  });
});
