import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import { SweepTally } from "../../src/driver/tally.ts";
import type { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { checkQuery } from "../../src/model/query.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import { checkCadence, type WatchEvent } from "../../src/model/watch.ts";
import type { Feed } from "../../src/sampling/feed.ts";
import { Sampling } from "../../src/sampling/sampling.ts";
import type { SweptFeed } from "../../src/sampling/swept-feed.ts";
import { SharedMemory } from "../../src/server/bounds/shared-memory.ts";
import type { Channel } from "../../src/server/channel.ts";
import { Channels } from "../../src/server/channels.ts";
import { Outbound } from "../../src/server/outbound.ts";
import { WatchSender } from "../../src/server/watch-sender.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { cellsOf } from "../model/cells.ts";
import { uuidOf } from "../sampling/sample.ts";
import { CollectedState } from "../wire/collected-state.ts";
import { decoderOf } from "../wire/decoding.ts";
import { ManualClock } from "./manual-clock.ts";
import { aborted, ScriptedDriver } from "./scripted-driver.ts";

// Thousands of random steps: on a loaded machine they take their time.
vi.setConfig({ testTimeout: 180_000 });

const HOST = "script";
const INTERVAL_MS = 1_000;
const PROGRESS_TIMEOUT_MS = 30_000;
/** Three shapes: a domain that changes its shape has a full row. */
const SHAPES = [1, 2, 3].map(
  (count) =>
    new Schema(
      ["cpu.time", "block.0.path", ...Array.from({ length: count }, (_, i) => `net.${i}.rx.bytes`)],
      Uint8Array.of(ParamType.ullong, ParamType.string, ...Array(count).fill(ParamType.ullong)),
    ),
);

/** A socket that takes what it is given, and empties when a test says so. */
class FakeSocket {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  sent: Uint8Array[] = [];
  /** What happens meanwhile. */
  meanwhile = (): void => {};
  #callbacks: (() => void)[] = [];

  send(message: Uint8Array, sent: () => void): void {
    // The server uses the memory of a message again when its bytes are with the system.
    this.sent.push(message.slice());
    this.bufferedAmount += message.length;
    this.#callbacks.push(sent);
    this.meanwhile();
  }

  /** The network has taken everything; `told` is when its callbacks come: at once, or with the next time. */
  drain(told: boolean): void {
    this.bufferedAmount = 0;
    if (told) for (const callback of this.#callbacks.splice(0)) callback();
  }
}

/** A client over a socket, with the other end of it; it may be cut off and come back. */
class Reader {
  readonly state = new CollectedState();
  readonly events: WatchEvent[] = [];
  socket = new FakeSocket();
  balance = 0;
  /** Ticks that were over before it heard of the watch for the first time, but for the last one. */
  before = 0;
  ended = false;
  error: VirstreamError | undefined;
  #heard = false;
  sender: WatchSender | undefined;
  channel: Channel | undefined;
  #decoder = decoderOf();
  readonly #open: (wanted: number | undefined) => Channel;
  readonly #channels: Channels;
  readonly #sampling: Sampling;

  constructor(open: (wanted: number | undefined) => Channel, channels: Channels, sampling: Sampling) {
    this.#open = open;
    this.#channels = channels;
    this.#sampling = sampling;
  }

  connect(credit: number, mark: number, ticks = 0): void {
    this.socket = new FakeSocket();
    this.balance = credit;
    this.#decoder = decoderOf();
    ChannelTable.of(this.#decoder).adopt(1, this.state);
    const { since } = this.state;
    if (!this.#heard) this.before = Math.max(0, ticks - 1);
    this.channel = this.#open(since?.channel);
    const outbound = new Outbound(this.socket as unknown as WebSocket, () => mark, { messages: 0, bytes: 0 });
    outbound.profile = this.#channels.profile(SUBPROTOCOLS[0]);
    this.sender = new WatchSender({
      id: 1,
      credit,
      channel: this.channel,
      sampling: this.#sampling,
      outbound,
      progressTimeoutMs: PROGRESS_TIMEOUT_MS,
      since: since?.channel === this.channel.number ? since.sequence : undefined,
      done: () => {},
    });
    this.sender.start();
  }

  /** Some of what was under way is lost with the connection. */
  cut(heard: number): void {
    this.read(Math.floor(this.socket.sent.length * heard));
    this.sender?.cut();
    this.state.reconnect(true);
  }

  read(count = this.socket.sent.length): void {
    for (const message of this.socket.sent.splice(0, count)) {
      const decoded = this.#decoder.decode(message);
      if (decoded.type === "end") {
        this.ended = true;
        this.error = decoded.error;
      }
      if (decoded.type !== "watch") continue;
      this.#heard = true;
      if (decoded.bytes > 0) {
        expect(this.balance).toBeGreaterThan(0);
        this.balance -= decoded.bytes;
      }
      this.events.push(...this.state.sink.take());
    }
  }

  /** Takes all that there is. */
  catchUp(): void {
    this.read();
    for (let rest = 0; rest < 100; rest++) {
      if (this.balance < 100_000_000) this.grant(100_000_000);
      this.socket.drain(true);
      this.read();
    }
  }

  grant(bytes: number): void {
    this.balance += bytes;
    this.sender?.grant(bytes);
  }
}

function record(number: number, version: number, shape: number, size: number): DomainStatsRecord {
  const schema = SHAPES[shape]!;
  const numbers = schema.keys.slice(2).map((_, i) => version * (i + 3));
  return new DomainStatsRecord({
    domain: new Domain(uuidOf(number), `web-${number}`, 1, HOST),
    params: TypedParams.of(schema, [version * 1_000, `${version}`.padEnd(size, "x"), ...numbers]),
    status: "ok",
    index: number,
    sampledAt: 1_700_000_000_000 + version,
    tookMs: 0.25,
  });
}

/** What a reader must know of a feed. */
function known(records: Iterable<DomainStatsRecord>): string[] {
  return [...records]
    .map(({ domain, params, status, index, sampledAt }) =>
      JSON.stringify([domain.uuid, domain.name, domain.id, status, index, sampledAt, cellsOf(params)]),
    )
    .sort();
}

function recordsOf(feed: Feed): DomainStatsRecord[] {
  return feed.records().filter((record) => record !== undefined);
}

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("sweep" as const), seed: fc.nat(), size: fc.nat(3), flows: fc.boolean() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("grant" as const), bytes: fc.integer({ min: 1, max: 60_000 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("drain" as const), told: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("cut" as const), heard: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
);

const swept = (size: number) => ({ do: "sweep" as const, seed: 0, size, flows: false });
const granted = { do: "grant" as const, bytes: 1 };
/** The reader begins before the first sweep, and gets its first records four sweeps later, with a snapshot. */
const LATE_FIRST_TICK = [swept(3), swept(3), swept(0), granted, granted, swept(0), granted];

describe("a watch that is sent", () => {
  it("comes to the feed's own state, whatever the credit, the socket, the changes and the losses on the way", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 60 }),
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 0, max: 100_000 }),
        (steps, credit, mark) => {
          const { sampling, channels, feed, reader } = watched();
          const [slow, fast] = [reader(), reader()];
          fast.connect(1_000_000_000, 1_000_000_000);
          slow.connect(credit, mark);
          // The network takes what it takes whatever the server is about, also within one round of a message's readers.
          let flows = false;
          fast.socket.meanwhile = () => {
            if (flows) slow.socket.drain(false);
          };
          let version = 0;
          let ticks = 0;
          for (const each of steps) {
            if (each.do === "grant") slow.grant(each.bytes);
            else if (each.do === "drain") slow.socket.drain(each.told);
            else if (each.do === "cut") {
              slow.cut(each.heard);
              slow.connect(credit, mark, ticks);
            } else {
              flows = each.flows;
              sweep(feed, ++version, each.seed, [10, 100, 3_000, 20_000][each.size]!, (halfway) => {
                // In the middle of a sweep, too, a reader may give credit.
                if (flows && halfway % 2 === 0) slow.grant(1_000);
              });
              ticks++;
            }
          }
          for (const each of [slow, fast]) {
            each.catchUp();
            expect(known(each.state.records())).toEqual(known(recordsOf(feed)));
          }
          expect(fast.events.filter(({ type }) => type === "gap")).toEqual([]);
          expect(fast.events.filter(({ type }) => type === "sync")).toHaveLength(ticks);
          // Each tick was told, or is one of those that a gap counts.
          let told = 0;
          for (const event of slow.events) {
            if (event.type === "sync") told++;
            else if (event.type === "gap") told += event.skipped!;
          }
          expect(told).toBe(ticks - slow.before);
          for (const each of [slow, fast]) each.sender!.stop();
          expect([channels.size, sampling.snapshot().feeds]).toEqual([0, 0]);
        },
      ),
      { numRuns: 150, examples: [[LATE_FIRST_TICK, 1, 0]] },
    );
  });

  it("does not send a state in the middle of what the feed tells, when it would be newer than it says", () => {
    const { feed, reader } = watched();
    const [fast, slow] = [reader(), reader()];
    fast.connect(1_000_000_000, 1_000_000_000);
    const swept = (records: DomainStatsRecord[]): void => {
      const tally = new SweepTally(0);
      tally.add(records);
      feed.beginSweep();
      feed.takeSwept(records);
      feed.endSweep(tally.summary(1), 0);
    };
    swept([record(0, 1, 0, 70_000), record(1, 1, 0, 70_000), record(2, 1, 0, 10)]);
    slow.connect(1_000_000_000, 0);
    // The slow one's socket is free again just when the other one's has been given a message.
    fast.socket.meanwhile = () => slow.socket.drain(false);
    for (let version = 2; version < 6; version++) {
      const there = [record(1, version, 0, 70_000), record(0, version, 0, 70_000)];
      swept(version % 2 === 0 ? [gone(record(2, version, 0, 10)), ...there] : [...there, record(2, version, 0, 10)]);
    }
    for (const each of [slow, fast]) {
      each.catchUp();
      expect(known(each.state.records())).toEqual(known(recordsOf(feed)));
      each.sender!.stop();
    }
  });
});

describe("a watch", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("is ended when its reader takes nothing for the progress timeout and three intervals, and not before", () => {
    const { feed, reader } = watched();
    const slow = reader();
    slow.connect(1, 1_000_000);
    const tick = (version: number): void => {
      feed.beginSweep();
      feed.takeSwept([record(0, version, 0, 1_000)]);
      feed.endSweep(new SweepTally(0).summary(1), 0);
    };
    tick(1);
    tick(2);
    for (let round = 3; round < 10; round++) {
      vi.advanceTimersByTime(PROGRESS_TIMEOUT_MS + 3 * INTERVAL_MS - 1);
      expect(slow.ended).toBe(false);
      // Enough for one message each time: that is progress.
      slow.read();
      slow.grant(1 - slow.balance);
      tick(round);
    }
    vi.advanceTimersByTime(PROGRESS_TIMEOUT_MS + 3 * INTERVAL_MS - 1);
    slow.read();
    expect(slow.ended).toBe(false);
    vi.advanceTimersByTime(1);
    slow.read();
    expect([slow.ended, slow.error?.code]).toEqual([true, "slow-consumer"]);
  });

  it("has no time limit for a reader that was behind and has learnt that every domain left", () => {
    const { feed, reader } = watched();
    const slow = reader();
    slow.connect(1, 1_000_000);
    for (let version = 1; version <= 5; version++) {
      feed.beginSweep();
      if (version < 5) feed.takeSwept([record(0, version, 0, 200_000)]);
      feed.endSweep(new SweepTally(0).summary(1), 0);
    }
    vi.advanceTimersByTime(PROGRESS_TIMEOUT_MS);
    slow.read();
    slow.grant(1 - slow.balance);
    slow.read();
    expect(slow.state.domains).toBe(0);
    vi.advanceTimersByTime(10 * PROGRESS_TIMEOUT_MS);
    slow.read();
    expect(slow.ended).toBe(false);
    slow.sender!.stop();
  });

  it("has no time limit for a reader that has taken everything", () => {
    const { feed, reader } = watched();
    const idle = reader();
    idle.connect(1, 1_000_000);
    feed.beginSweep();
    feed.takeSwept([record(0, 1, 0, 1_000)]);
    feed.endSweep(new SweepTally(0).summary(1), 0);
    vi.advanceTimersByTime(10 * PROGRESS_TIMEOUT_MS);
    idle.read();
    expect([idle.ended, idle.balance > 0, idle.events.map(({ type }) => type)]).toEqual([
      false,
      false,
      ["record", "sync"],
    ]);
    idle.sender!.stop();
  });

  it("is kept for 30 s for a reader that was cut off, and not at all for one that was cut off within a snapshot", () => {
    const { channels, sampling, feed, reader } = watched();
    const lost = reader();
    lost.connect(1_000_000, 1_000_000);
    feed.beginSweep();
    feed.takeSwept([record(0, 1, 0, 1_000)]);
    feed.endSweep(new SweepTally(0).summary(1), 0);
    const within = reader();
    within.connect(1_000_000, 0);
    lost.cut(1);
    within.cut(0);
    expect(channels.size).toBe(0);
    expect(sampling.snapshot().feeds).toBe(0);

    const again = watched();
    const other = again.reader();
    other.connect(1_000_000, 1_000_000);
    other.cut(1);
    vi.advanceTimersByTime(29_999);
    expect([again.channels.size, again.sampling.snapshot().feeds]).toEqual([1, 1]);
    vi.advanceTimersByTime(1);
    expect([again.channels.size, again.sampling.snapshot().feeds]).toEqual([0, 0]);
  });

  it("begins at once while eight others are in the middle of older snapshots, of which the oldest gives way", () => {
    const { feed, reader } = watched();
    const tick = (version: number): void => {
      feed.beginSweep();
      feed.takeSwept([0, 1].map((number) => record(number, version, 0, 70_000)));
      feed.endSweep(new SweepTally(0).summary(1), 0);
    };
    const slow = Array.from({ length: 8 }, (_, i) => {
      tick(i + 1);
      const each = reader();
      each.connect(1, 1_000_000, i + 1);
      each.read();
      expect(each.state.domains).toBe(1);
      return each;
    });
    tick(9);
    const late = reader();
    late.connect(1_000_000_000, 1_000_000_000, 9);
    late.read();
    expect(known(late.state.records())).toEqual(known(recordsOf(feed)));
    for (const each of slow) {
      each.catchUp();
      expect(known(each.state.records())).toEqual(known(recordsOf(feed)));
    }
    // The first one got a part of tick 1's state, and then the whole of tick 9's.
    const [first] = slow;
    expect(first!.events.flatMap((event) => (event.type === "gap" ? [event.reason, event.skipped] : []))).toEqual([
      "slow-consumer",
      8,
    ]);
    for (const each of [...slow, late]) each.sender!.stop();
  });

  it("keeps no more than the ring, whatever the ticks, while its reader sleeps", () => {
    const { feed, reader } = watched();
    const asleep = reader();
    asleep.connect(1, 1_000_000);
    for (let version = 1; version <= 100; version++) {
      feed.beginSweep();
      for (let number = 0; number < 20; number++) feed.takeSwept([record(number, version, 0, 100_000)]);
      feed.endSweep(new SweepTally(0).summary(1), 0);
      expect(asleep.channel!.ring.size).toBeLessThanOrEqual(8 * 1024 * 1024);
    }
    // One message may overdraw the credit.
    expect(asleep.socket.bufferedAmount).toBeLessThan(110_000);
    asleep.sender!.stop();
  });
});

/** A feed that a test tells what it knows, and readers of one channel of it. */
function watched() {
  const driver = new ScriptedDriver(async function* (_, { signal }) {
    await aborted(signal);
    yield [];
  });
  const sampling = new Sampling(driver, new ManualClock());
  const channels = new Channels({ rings: new SharedMemory(() => 2 ** 40), snapshots: new SharedMemory(() => 2 ** 40) });
  const query = checkQuery();
  const cadence = checkCadence({ intervalMs: INTERVAL_MS });
  const feed = sampling.feed(query, cadence) as SweptFeed;
  const open = (wanted: number | undefined) =>
    channels.open(feed, channels.profile(SUBPROTOCOLS[0]), new Set(), wanted, () => () => {});
  return { sampling, channels, feed, reader: () => new Reader(open, channels, sampling) };
}

/** One sweep of up to a dozen domains: some change, some have another shape, some leave, some say that they have left. */
function sweep(feed: SweptFeed, version: number, seed: number, size: number, halfway: (turn: number) => void): void {
  const tally = new SweepTally(0);
  const chunk: DomainStatsRecord[] = [];
  feed.beginSweep();
  for (let number = 0; number < 12; number++) {
    const random = Math.imul(seed + number * 7_919 + version, 0x9e3779b1) >>> 8;
    const dice = random % 7;
    if (dice === 0) continue;
    const next = record(number, version, random % 5 === 0 ? version % 3 : number % 3, size);
    const records = dice === 1 ? [gone(next), record(number + 20, version, 0, size)] : [next];
    tally.add(records);
    chunk.push(...records);
    if (random % 3 > 0) continue;
    feed.takeSwept(chunk.splice(0));
    halfway(random);
  }
  feed.takeSwept(chunk);
  feed.endSweep(tally.summary(1), 0);
}

function gone({ domain, index, sampledAt, tookMs }: DomainStatsRecord): DomainStatsRecord {
  return new DomainStatsRecord({
    domain,
    params: TypedParams.EMPTY,
    status: "gone",
    reason: "unknown",
    index,
    sampledAt,
    tookMs,
  });
}
