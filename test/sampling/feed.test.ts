import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SweepTally } from "../../src/driver/tally.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { type Cadence, checkCadence, type WatchEvent } from "../../src/model/watch.ts";
import { isComplete } from "../../src/sampling/completeness.ts";
import { Feed, type FeedEntry, type FeedListener } from "../../src/sampling/feed.ts";
import { SweptFeed } from "../../src/sampling/swept-feed.ts";
import { cellsOf } from "../model/cells.ts";
import { CollectingSink, pushAll } from "./collecting-sink.ts";
import { sample, uuidOf } from "./sample.ts";

/** Writes down what it is told, in short. */
class Notes implements FeedListener {
  readonly lines: string[] = [];
  readonly numbers: number[] = [];
  /** The number that each domain was last given, by uuid. */
  readonly numberOf = new Map<string, number>();
  readonly befores: (DomainStatsRecord | undefined)[] = [];
  flushes = 0;

  record(record: DomainStatsRecord, { number }: FeedEntry, before: DomainStatsRecord | undefined) {
    this.lines.push(`${record.domain.name} ${record.status === "ok" ? cellsOf(record.params).join() : record.status}`);
    this.numbers.push(number);
    this.numberOf.set(record.domain.uuid, number);
    this.befores.push(before);
  }

  gone({ name }: Domain, { number }: FeedEntry) {
    this.lines.push(`gone ${name}`);
    this.numbers.push(number);
  }

  event(event: WatchEvent) {
    if (event.type === "sync")
      this.lines.push(`sync ${event.tick}${event.overrun > 0 ? ` after ${event.overrun}` : ""}`);
    else if (event.type === "status") this.lines.push(`${event.host ?? "all"} ${event.state}`);
    else if (event.type === "gap") this.lines.push(`gap ${event.reason} ${event.skipped}`);
  }

  flush() {
    this.flushes++;
  }

  end(error: VirstreamError) {
    this.lines.push(`ended ${error.code}`);
  }

  /** What was told since the last call. */
  take(): string[] {
    return this.lines.splice(0);
  }
}

/** A feed with one listener, and a clock that is told the time. */
class Bench {
  readonly notes = new Notes();
  readonly feed: SweptFeed;
  now = 0;
  over = 0;

  constructor(cadence: Cadence = checkCadence(), named = false) {
    const over = () => {
      this.over++;
    };
    this.feed = new SweptFeed({ cadence, host: "hv1", named, now: () => this.now, over });
    this.feed.listen(this.notes);
  }

  /** A sweep from beginning to end; gives what was told. */
  sweep(...records: DomainStatsRecord[]): string[] {
    this.feed.beginSweep();
    if (records.length > 0) this.feed.takeSwept(records);
    const tally = new SweepTally(0);
    tally.add(records);
    this.feed.endSweep(tally.summary(1), 0);
    return this.notes.take();
  }

  get known(): string[] {
    return this.feed.records().flatMap((record) => (record === undefined ? [] : [record.domain.name]));
  }
}

const lost = new VirstreamError("connection-lost", "the cable");
const a = (cell = 1) => sample({ uuid: 1, name: "a", cells: [cell] });
const b = (cell = 1) => sample({ uuid: 2, name: "b", cells: [cell] });

describe("a feed", () => {
  it("tells every record of every sweep, and its end with a tick one higher", () => {
    const bench = new Bench();
    expect(bench.sweep(a(1), b(1))).toEqual(["a 1", "b 1", "sync 1"]);
    expect(bench.sweep(b(1), a(2))).toEqual(["b 1", "a 2", "sync 2"]);
    expect(bench.feed.sync).toMatchObject({ tick: 2, host: "hv1", summary: { domains: 2, ok: 2 } });
    expect(bench.sweep()).toEqual(["gone a", "gone b", "sync 3"]);
  });

  it("hands on what was delivered of a domain before", () => {
    const bench = new Bench();
    const [first, second] = [a(1), a(2)];
    bench.sweep(first);
    bench.sweep(second);
    bench.sweep();
    bench.sweep(a(3));
    expect(bench.notes.befores).toEqual([undefined, first, undefined]);
  });

  it("announces a domain that left once, at the end of the first sweep without it, and one that returns as new", () => {
    const bench = new Bench();
    bench.sweep(a(), b());
    expect(bench.sweep(a())).toEqual(["a 1", "gone b", "sync 2"]);
    expect(bench.sweep(a())).toEqual(["a 1", "sync 3"]);
    expect(bench.sweep(a(), b(7))).toEqual(["a 1", "b 7", "sync 4"]);
    expect(bench.known).toEqual(["a", "b"]);
  });

  it("announces a domain that vanished while it was asked at once, and not again", () => {
    const bench = new Bench();
    bench.sweep(a(), b());
    const gone = sample({ uuid: 2, name: "b", status: "gone" });
    expect(bench.sweep(gone, a())).toEqual(["b gone", "gone b", "a 1", "sync 2"]);
    expect(bench.sweep(a())).toEqual(["a 1", "sync 3"]);
    expect(bench.known).toEqual(["a"]);
  });

  it("has a record in each sweep for a domain that was named and is not there, and never a gone", () => {
    const bench = new Bench(checkCadence(), true);
    const gone = sample({ uuid: 2, name: "b", status: "gone" });
    for (let tick = 1; tick <= 3; tick++) expect(bench.sweep(a(), gone)).toEqual(["a 1", "b gone", `sync ${tick}`]);
    expect(bench.sweep(a(), b())).toEqual(["a 1", "b 1", "sync 4"]);
    expect(bench.sweep(a(), gone)).toEqual(["a 1", "b gone", "sync 5"]);
  });

  it("replaces a name that no domain had by the domain that has it now", () => {
    const bench = new Bench(checkCadence(), true);
    const unknown = sample({ uuid: 0, name: "web", status: "gone" });
    expect(bench.sweep(unknown)).toEqual(["web gone", "sync 1"]);
    expect(bench.sweep(unknown)).toEqual(["web gone", "sync 2"]);
    expect(bench.sweep(sample({ uuid: 9, name: "web" }))).toEqual(["web 1", "gone web", "sync 3"]);
    expect(bench.feed.size).toBe(1);
  });

  it("gives each domain a number of its own, and the number of one that left to the next that comes", () => {
    const bench = new Bench();
    bench.sweep(a(), b());
    bench.sweep(b());
    bench.sweep(b(), sample({ uuid: 3 }), sample({ uuid: 4 }));
    const records = bench.feed.records();
    expect(records.map((record) => record?.domain.name)).toEqual(["domain-3", "b", "domain-4"]);
    expect(records.map((record) => bench.notes.numberOf.get(record!.domain.uuid))).toEqual([0, 1, 2]);
  });

  it("keeps apart what has one uuid on two hosts, as while a domain migrates", () => {
    const bench = new Bench();
    const on = (host: string, cell: number) => sample({ uuid: 1, name: `a@${host}`, host, cells: [cell] });
    pushAll(bench.feed, [
      { type: "record", record: on("hv1", 1) },
      { type: "record", record: on("hv2", 2) },
      { type: "gone", domain: on("hv1", 0).domain },
      { type: "gone", domain: on("hv1", 0).domain },
      { type: "record", record: on("hv2", 3) },
    ]);
    expect(bench.notes.take()).toEqual(["a@hv1 1", "a@hv2 2", "gone a@hv1", "a@hv2 3"]);
    expect(bench.known).toEqual(["a@hv2"]);
  });

  it("passes on what a driver pushes, with ticks of its own, and remembers the state it comes to", () => {
    const bench = new Bench();
    const sync = { type: "sync", tick: 700, host: "hv2", summary: new SweepTally(0).summary(1), overrun: 2 } as const;
    pushAll(bench.feed, [
      { type: "status", state: "degraded", host: "hv2", error: lost },
      { type: "status", state: "reconnecting", host: undefined, error: lost },
      { type: "gap", reason: "reconnected", skipped: undefined, host: undefined },
      sync,
      { ...sync, tick: 3 },
    ]);
    const states = () => [...bench.feed.statuses].map(({ host, state }) => [host, state]);
    expect(states()).toEqual([
      ["hv2", "degraded"],
      [undefined, "reconnecting"],
    ]);
    pushAll(bench.feed, [{ type: "status", state: "connected", host: "hv2", error: undefined }]);
    expect(states()).toEqual([[undefined, "reconnecting"]]);
    expect(bench.notes.take()).toEqual([
      "hv2 degraded",
      "all reconnecting",
      "gap reconnected undefined",
      "sync 1 after 2",
      "sync 2 after 2",
      "hv2 connected",
    ]);
  });

  it("is complete once every host that is there has been swept, or cannot be reached", () => {
    let hosts = "hv1,hv2,ws://hv4";
    const over = () => {};
    const source = {
      get host() {
        return hosts;
      },
    };
    const scope = { source, pushed: true, patterns: undefined };
    const feed = new Feed({ cadence: checkCadence(), now: () => 0, scope, over });
    const summary = new SweepTally(0).summary(1);
    const complete = (...events: WatchEvent[]): boolean => {
      pushAll(feed, events);
      return isComplete(feed);
    };
    const sync = (host: string) => ({ type: "sync", tick: 1, host, summary, overrun: 0 }) as const;
    const status = (host: string, state: "connected" | "degraded") =>
      ({ type: "status", state, host, error: state === "connected" ? undefined : lost }) as const;
    expect(complete()).toBe(false);
    expect(complete(status("ws://hv4", "degraded"), sync("hv1"))).toBe(false);
    expect(complete(sync("hv2"))).toBe(true);
    hosts = "hv1,hv2,hv4";
    expect(complete(status("ws://hv4", "connected"))).toBe(false);
    expect(complete(sync("hv4"))).toBe(true);
    hosts = "hv1,hv2,hv4,hvA,hvB";
    expect(complete()).toBe(false);
    expect(complete(status("hvA,hvB", "degraded"))).toBe(true);
    expect(complete(status("hvA,hvB", "connected"), sync("hvA"))).toBe(false);
    expect(complete(sync("hvB"))).toBe(true);
    hosts = "hvC,hvD";
    expect(complete(sync("hvC,hvD"))).toBe(true);
  });

  it("says once that its source cannot be swept, and when it can be again how many sweeps that cost", () => {
    const bench = new Bench();
    bench.sweep(a());
    for (const overrun of [0, 3, 0]) {
      bench.feed.beginSweep();
      bench.feed.failSweep(lost, overrun);
    }
    expect(bench.notes.take()).toEqual(["hv1 reconnecting"]);
    expect([...bench.feed.statuses]).toEqual([{ type: "status", state: "reconnecting", host: "hv1", error: lost }]);
    expect(bench.sweep(a(2))).toEqual(["hv1 connected", "gap source 6", "a 2", "sync 2"]);
    expect([...bench.feed.statuses]).toEqual([]);
    expect(bench.sweep(a(2))).toEqual(["a 2", "sync 3"]);
  });

  it("announces no domain as gone for a sweep that failed in its middle", () => {
    const bench = new Bench();
    bench.sweep(a(), b());
    bench.feed.beginSweep();
    bench.feed.takeSwept([a(2)]);
    bench.feed.failSweep(lost, 0);
    expect(bench.notes.take()).toEqual(["a 2", "hv1 reconnecting"]);
    expect(bench.sweep(b(3))).toEqual(["hv1 connected", "gap source 1", "b 3", "gone a", "sync 2"]);
  });

  it("is over once: when the last listener leaves, or when it ends, which it tells all", () => {
    const bench = new Bench();
    const other = new Notes();
    bench.feed.listen(other);
    expect(bench.feed.listeners).toBe(2);
    bench.feed.leave(bench.notes);
    bench.feed.leave(bench.notes);
    expect(bench.over).toBe(0);
    bench.feed.leave(other);
    bench.feed.end(lost);
    expect([bench.over, bench.notes.take(), other.take()]).toEqual([1, [], []]);

    const ended = new Bench();
    ended.feed.end(lost);
    ended.feed.end(lost);
    ended.feed.leave(ended.notes);
    expect([ended.over, ended.notes.take(), ended.feed.error]).toEqual([1, ["ended connection-lost"], lost]);
  });
});

describe("a sink that a feed is pushed into", () => {
  it("is given the state first, what is not connected before the records, and from then on every event", () => {
    const bench = new Bench();
    bench.sweep(a(1), b(1));
    pushAll(bench.feed, [{ type: "status", state: "degraded", host: "hv2", error: lost }]);
    const sink = new CollectingSink();
    bench.feed.push(sink);
    expect(sink.take().map(({ type }) => type)).toEqual(["status", "record", "record", "sync"]);
    expect(sink.flushes).toBe(1);
    bench.sweep(a(2));
    expect(sink.take().map(({ type }) => type)).toEqual(["record", "gone", "sync"]);
    bench.feed.leave(sink);
    bench.sweep(a(3));
    expect(sink.take()).toEqual([]);
  });
});

describe("a feed in the mode on-change", () => {
  const onChange = (heartbeatMs: number) => checkCadence({ mode: "on-change", heartbeatMs });

  it("delivers only the domains that came when these move all others in the listing", () => {
    const bench = new Bench(onChange(30_000));
    const listing = (...uuids: number[]) => uuids.map((uuid, index) => sample({ uuid, index }));
    bench.sweep(...listing(2, 3, 4, 5));
    expect(bench.sweep(...listing(1, 2, 4, 5))).toEqual(["domain-1 1", "gone domain-3", "sync 2"]);
  });

  it("tells a record that changed, and the end of every sweep, and nothing of those that did not change", () => {
    const bench = new Bench(onChange(60_000));
    expect(bench.sweep(a(1), b(1))).toEqual(["a 1", "b 1", "sync 1"]);
    expect(bench.sweep(a(1), b(2))).toEqual(["b 2", "sync 2"]);
    expect(bench.sweep(a(1), b(2))).toEqual(["sync 3"]);
    expect(bench.sweep(a(1))).toEqual(["gone b", "sync 4"]);
    expect(bench.sweep(sample({ uuid: 1, name: "renamed" }))).toEqual(["renamed 1", "sync 5"]);
  });

  it("compares with what was delivered last, so that a value that changes back and forth between sweeps is delivered each time", () => {
    const bench = new Bench(onChange(60_000));
    expect([1, 2, 1, 1].map((cell) => bench.sweep(a(cell))[0])).toEqual(["a 1", "a 2", "a 1", "sync 4"]);
  });

  it("tells a named domain that is not there once per heartbeat", () => {
    const bench = new Bench(onChange(2_000), true);
    const gone = sample({ uuid: 2, name: "b", status: "gone" });
    const told = [0, 1_000, 2_000, 3_000, 4_000].map((now) => {
      bench.now = now;
      return bench.sweep(gone).length - 1;
    });
    expect(told).toEqual([1, 0, 1, 0, 1]);
  });

  it("never leaves a domain silent for longer than its heartbeat while sweeps keep time, nor tells it more often", () => {
    const values = fc.array(fc.boolean(), { minLength: 40, maxLength: 80 });
    fc.assert(
      fc.property(fc.integer({ min: 1_000, max: 9_999 }), values, (heartbeatMs, changes) => {
        const bench = new Bench(onChange(heartbeatMs));
        let value = 0;
        let toldAt = 0;
        changes.forEach((changed, i) => {
          bench.now = i * 1_000;
          if (changed) value++;
          const told = bench.sweep(a(value)).length === 2;
          const silentMs = bench.now - toldAt;
          expect(silentMs).toBeLessThanOrEqual(heartbeatMs);
          if (told && !changed && i > 0) expect(silentMs + 1_000).toBeGreaterThan(heartbeatMs);
          if (changed || i === 0) expect(told).toBe(true);
          if (told) toldAt = bench.now;
        });
      }),
      { numRuns: 60 },
    );
  });
});

describe("the state of a feed", () => {
  it("can be copied: the copy stays as it was while the feed goes on", () => {
    const bench = new Bench();
    const first = [a(1), b(1)];
    bench.sweep(...first);
    const copy = bench.feed.records();
    bench.sweep(b(2), sample({ uuid: 3 }));
    bench.sweep(b(3));
    expect(copy).toEqual(first);
    expect(bench.feed.records()).toEqual([undefined, expect.objectContaining({ domain: first[1]!.domain }), undefined]);
  });

  it("has every domain of the last sweep, each under the number that was sent, and no others", () => {
    const sweeps = fc.array(fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { maxLength: 8 }), { maxLength: 12 });
    fc.assert(
      fc.property(sweeps, fc.constantFrom("sample" as const, "on-change" as const), (rounds, mode) => {
        const bench = new Bench(checkCadence({ mode }));
        for (const round of rounds) {
          bench.sweep(...round.map((uuid) => sample({ uuid })));
          const records = bench.feed.records();
          const known = records.filter((record) => record !== undefined);
          expect(known.map(({ domain }) => domain.uuid).sort()).toEqual(round.map(uuidOf).sort());
          for (const record of known) expect(records[bench.notes.numberOf.get(record.domain.uuid)!]).toBe(record);
          expect(bench.feed.size).toBe(round.length);
          for (const { domain } of known) expect(bench.feed.has(domain)).toBe(true);
          // Numbers stay as few as there ever were domains at once, those of the sweep before included.
          expect(records.length).toBeLessThanOrEqual(8);
        }
      }),
      { numRuns: 100 },
    );
  });
});
