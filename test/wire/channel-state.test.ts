/** @module-tag any-node */

import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { pack } from "../../src/wire/pack.ts";
import { type Profile, profileOf } from "../../src/wire/profile.ts";
import { LIMITS } from "../../src/wire/protocol.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { cellsOf } from "../model/cells.ts";
import { CollectedState } from "./collected-state.ts";
import { decoderOf } from "./decoding.ts";
import { ServerEnd } from "./server-end.ts";
import { keyOf, WatchServer } from "./watch-server.ts";

// Thousands of random steps: on a loaded machine they take their time.
vi.setConfig({ testTimeout: 180_000 });

const STARTED = 1_700_000_000_000;

function plain(record: DomainStatsRecord): unknown {
  const { domain, status, reason, missing, sampledAt, steadyAt, tookMs, index, params, error } = record;
  return {
    domain: { uuid: domain.uuid, name: domain.name, id: domain.id, host: domain.host },
    head: { status, reason, missing: [...missing], sampledAt, steadyAt, tookMs, index, error: error?.code },
    keys: params.schema.keys,
    types: [...params.schema.types],
    cells: cellsOf(params),
  };
}

const byKey = (records: Iterable<DomainStatsRecord>): Map<string, unknown> =>
  new Map(
    [...records]
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      .map((record): [string, unknown] => [keyOf(record), plain(record)]),
  );

/** A client and its server, with all that may happen to them; it checks what the client is told as it goes. */
class Story {
  readonly #owner = {};
  readonly #clock = new ServerClock(() => 0);
  readonly #state = new CollectedState(this.#owner);
  #profile: Profile = profileOf("virstream.v1");
  #server: WatchServer;
  #end!: ServerEnd;
  #decoder!: MessageDecoder;
  #id = 0;
  #channels = 1;
  #now = STARTED;
  /** The last message of the channel that was sent, or that the snapshot stands for. */
  #sent = 0;
  /** The messages of the snapshot that are not sent yet. */
  #snapshot: (() => Uint8Array[])[] = [];

  /** What an application makes of the events. */
  readonly #application = new Map<string, DomainStatsRecord>();
  readonly #sources = new Map<string | undefined, string>();
  /** The last tick with the skips since; undefined: its count has begun anew. */
  #counted: number | undefined;
  #synced = 0;
  /** Whether the channel that the last snapshot was of had had a tick by then, or has had one since. */
  #complete = false;
  /** Whether the numbers of ticks may have lost their meaning since the last gap that said so. */
  #elsewhere = false;
  ticks = 0;
  snapshots = 0;
  resumed = 0;

  constructor() {
    this.#server = new WatchServer(1, "e1", this.#profile);
    this.#connect();
    this.#begin(0);
  }

  step(what: number, seed: number): void {
    if (what < 8) this.#server.sample(seed, ++this.#now);
    else if (what < 11) this.#server.endTick(++this.#now);
    else if (what === 11) this.#server.remove(seed);
    else if (what === 12) this.#server.status(seed);
    else if (what === 13) this.#server.gap(seed);
    else if (what < 19) this.#pump(1 + (seed % 6));
    else if (what === 19) this.#begin(seed);
    else if (what === 20) this.#reconnect(seed);
    else if (seed % 3 === 0) this.#restart(seed);
  }

  /** Lets the client catch up, with a tick at the end. */
  finish(): void {
    this.#server.endTick(++this.#now);
    for (let rounds = 0; this.#snapshot.length > 0 || this.#sent < this.#server.sequence; rounds++) {
      expect(rounds).toBeLessThan(1_000);
      this.#pump(5);
    }
    expect(this.#synced).toBe(this.#server.tick);
    expect(this.#sources).toEqual(this.#server.sources());
  }

  #connect(): void {
    this.#end = new ServerEnd(this.#profile);
    this.#decoder = new MessageDecoder(this.#owner, this.#clock);
    ChannelTable.of(this.#decoder).adopt(++this.#id, this.#state);
  }

  /** The server begins a snapshot, in the midst of one or not. */
  #begin(seed: number): void {
    this.#snapshot = this.#server.snapshot(this.#end, this.#id, 1 + (seed % 4));
    this.#sent = this.#server.sequence;
    this.#complete = this.#server.tick > 0;
    this.snapshots++;
    this.#read(this.#snapshot.shift()!());
  }

  #pump(count: number): void {
    const part = this.#snapshot.shift();
    if (part !== undefined) {
      this.#read(part());
      return;
    }
    const waiting = this.#server.after(this.#sent);
    if (waiting === undefined) {
      this.#begin(count);
      return;
    }
    for (const message of waiting.slice(0, count)) {
      this.#sent = message.sequence;
      this.#read(this.#end.pass(message));
    }
  }

  #reconnect(seed: number): void {
    const since = this.#state.since;
    this.#connect();
    this.#state.reconnect(true);
    if (since !== undefined && this.#server.channel === since.channel && this.#server.after(since.sequence)) {
      expect(since.sequence).toBe(this.#sent);
      this.resumed++;
      this.#read(this.#end.say({ type: "begin", id: this.#id, ...since, resumed: true }));
    } else {
      this.#begin(seed);
    }
  }

  /** Another server, or another channel of the same one. */
  #restart(seed: number): void {
    const sameEpoch = seed % 2 === 0;
    if (!sameEpoch) this.#profile = profileOf("virstream.v1");
    const channel = sameEpoch ? ++this.#channels : this.#server.channel;
    this.#server = new WatchServer(channel, sameEpoch ? this.#server.epoch : `e${seed}`, this.#profile);
    this.#elsewhere = true;
    this.#connect();
    this.#state.reconnect(sameEpoch);
    this.#begin(seed);
  }

  #read(messages: readonly Uint8Array[]): void {
    for (const message of messages) {
      const decoded = this.#decoder.decode(message);
      if (decoded.type === "watch") for (const event of this.#state.sink.take()) this.#heard(event);
    }
    if (this.#snapshot.length > 0) return;
    const expected = byKey(this.#server.at(this.#sent));
    expect(byKey(this.#state.records())).toEqual(expected);
    const application = byKey(this.#application.values());
    // A server that has just begun does not know yet who has left: until its first tick ends, none is said to have.
    if (this.#complete) expect(application).toEqual(expected);
    else for (const [key, record] of expected) expect(application.get(key)).toEqual(record);
    expect(this.#state.domains).toBe(expected.size);
    expect(this.#state.since).toEqual({ channel: this.#server.channel, sequence: this.#sent });
  }

  #heard(event: WatchEvent): void {
    switch (event.type) {
      case "record":
        this.#application.set(keyOf(event.record), event.record);
        break;
      case "gone":
        expect(this.#application.delete(keyOf(event))).toBe(true);
        break;
      case "sync":
        if (this.#counted !== undefined) expect(event.tick).toBe(this.#counted + 1);
        this.#counted = event.tick;
        this.#synced = event.tick;
        this.#complete = true;
        this.ticks++;
        expect(byKey(this.#application.values())).toEqual(byKey(this.#server.at(this.#sent)));
        break;
      case "gap":
        // Those with a host are the channel's own, which count no ticks of the channel.
        if (event.host === undefined) this.#gap(event.skipped, event.reason);
        break;
      case "status":
        if (event.state === "connected" || event.state === "removed") this.#sources.delete(event.host);
        else this.#sources.set(event.host, event.state);
    }
  }

  #gap(skipped: number | undefined, reason: string): void {
    if (skipped === undefined) {
      expect(this.#elsewhere).toBe(true);
      this.#elsewhere = false;
      this.#counted = undefined;
    } else if (this.#counted !== undefined) this.#counted += skipped;
    expect(reason).not.toBe("source");
  }
}

describe("a watch", () => {
  it("knows after each tick what the server knows, and accounts for every tick, whatever was lost on the way", () => {
    const seen = { ticks: 0, snapshots: 0, resumed: 0 };
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(21), fc.nat()), { minLength: 20, maxLength: 150 }), (steps) => {
        const story = new Story();
        for (const [what, seed] of steps) story.step(what, seed);
        story.finish();
        seen.ticks += story.ticks;
        seen.snapshots += story.snapshots;
        seen.resumed += story.resumed;
      }),
      { numRuns: 300 },
    );
    // That the stories were not all dull.
    expect(seen.ticks).toBeGreaterThan(500);
    expect(seen.snapshots).toBeGreaterThan(500);
    expect(seen.resumed).toBeGreaterThan(50);
  });
});

describe("the state of a watch", () => {
  /** What a watch's messages come to. */
  function watching() {
    const state = new CollectedState();
    const decoder = decoderOf();
    ChannelTable.of(decoder).adopt(1, state);
    return (...messages: object[]): WatchEvent[] =>
      messages.flatMap((message) => {
        const decoded = decoder.decode(pack(message));
        return decoded.type === "watch" ? state.sink.take() : [];
      });
  }

  const begin = {
    type: "begin",
    id: 1,
    channel: 1,
    sequence: 0,
    resumed: false,
    domains: 0,
    statuses: [],
    complete: false,
  };

  it("reports once that a source is absent, however many snapshots say so", () => {
    const events = watching();
    const snapshot = { ...begin, statuses: [{ state: "reconnecting", host: "h" }] };
    expect(events(snapshot).map(({ type }) => type)).toEqual(["status"]);
    expect(events(snapshot)).toEqual([]);
    const status = { type: "status", channel: 1, sequence: 1, state: "connected", host: "h" };
    expect(events(status).map(({ type }) => type)).toEqual(["status"]);
    expect(events(snapshot).map(({ type }) => type)).toEqual(["status"]);
  });

  it("refuses sources whose names and errors are too long together, although each message is small", () => {
    const events = watching();
    events(begin);
    let characters = 0;
    expect(() => {
      for (let sequence = 1; sequence <= LIMITS.hosts; sequence++) {
        const host = `${sequence}.${"h".repeat(5_000)}`;
        const error = { code: "connection-lost", message: "e".repeat(5_000), retryable: true };
        events({ type: "status", channel: 1, sequence, state: "reconnecting", host, error });
        characters += host.length + error.message.length;
      }
    }).toThrow("malformed");
    expect(characters).toBeLessThanOrEqual(LIMITS.hostCharacters);
    // Sources that are connected again count no more.
    const changing = watching();
    changing(begin);
    for (let sequence = 1; sequence <= 8_000; sequence += 2) {
      const host = `${sequence}.${"h".repeat(5_000)}`;
      changing({ type: "status", channel: 1, sequence, state: "reconnecting", host });
      changing({ type: "status", channel: 1, sequence: sequence + 1, state: "connected", host });
    }
  });

  it("counts a channel's message of a type that it does not know in the channel's sequence", () => {
    const gap = (sequence: number): object => ({ type: "gap", channel: 1, sequence, reason: "source" });
    const novelty = { type: "novelty", channel: 1, sequence: 1 };
    expect(watching()(begin, novelty, gap(2))).toHaveLength(1);
    expect(() => watching()(begin, novelty, gap(1))).toThrow("malformed");
    expect(() => watching()(begin, { ...novelty, sequence: 2 })).toThrow("malformed");
    expect(() => watching()(begin, { ...novelty, channel: 2 })).toThrow("malformed");
  });

  // With a walk through all numbers this takes minutes.
  it("does not walk through four million numbers for the one domain that a server gave the last of them", () => {
    const events = watching();
    let records = 0;
    for (let i = 0; i < 1_000; i++) {
      const uuid = new Uint8Array(16).fill(1);
      const columns = [Uint8Array.of(0b101001), Uint8Array.of(0, 0, 0), [4_194_303, i, 1], new Uint8Array(0)];
      const rows = { type: "records", id: 1, at: [0, 0], blocks: [[0, 1, uuid, ...columns, ["a", "h"], [], []]] };
      records += events({ ...begin, domains: 1 }, rows).filter(({ type }) => type === "record").length;
    }
    expect(records).toBe(1_000);
  });

  it("refuses a second number of a domain, in a snapshot and after it, until the first is free", () => {
    const row = (number: number): unknown[] => {
      const columns = [Uint8Array.of(1), Uint8Array.of(0), [number], new Uint8Array(0)];
      return [0, 1, new Uint8Array(16).fill(9), ...columns, ["a", "h"], [], []];
    };
    const rows = (...numbers: number[]): object => ({ type: "records", id: 1, at: [0, 0], blocks: numbers.map(row) });
    const changes = (gone: number[], number: number): object => ({
      ...{ type: "changes", channel: 1, sequence: 1, at: [0, 0] },
      ...{ gone, full: [row(number)], changed: [] },
    });
    expect(() => watching()({ ...begin, domains: 2 }, rows(1, 2))).toThrow("one domain has two numbers");
    const one = { ...begin, domains: 1 };
    expect(() => watching()(one, rows(1), changes([], 2))).toThrow("one domain has two numbers");
    expect(watching()(one, rows(1), changes([1], 2)).map(({ type }) => type)).toEqual(["record", "gone", "record"]);
    // The next snapshot may give it any number.
    expect(() => watching()(one, rows(1), one, rows(2))).not.toThrow();
  });

  it("refuses a channel's message within a snapshot, a row too many, and a domain that is in it twice", () => {
    const row = (number: number): unknown[] => {
      const columns = [
        Uint8Array.of(number === 0 ? 0 : 1),
        new Uint8Array(number === 0 ? 0 : 1),
        number === 0 ? [] : [number],
      ];
      return [0, 1, new Uint8Array(16).fill(number + 1), ...columns, new Uint8Array(0), ["a", "h"], [], []];
    };
    const rows = (...numbers: number[]): object => ({ type: "records", id: 1, at: [0, 0], blocks: numbers.map(row) });
    const sync = { type: "gap", channel: 1, sequence: 1, reason: "source" };
    const two = { ...begin, domains: 2 };
    expect(() => watching()(two, rows(0, 1), sync)).not.toThrow();
    for (const messages of [[two, sync], [two, rows(0), sync], [two, rows(0, 1, 2)], [two, rows(1, 1)], [rows(0)]]) {
      const events = watching();
      const isSweep = messages.length === 1;
      if (isSweep) expect(() => events(begin, ...messages)).toThrow("malformed");
      else expect(() => events(...messages)).toThrow("malformed");
    }
  });
});
