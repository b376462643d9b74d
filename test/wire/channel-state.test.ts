import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { HostTable } from "../../src/wire/host-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { MessageEncoder, type WireMessage } from "../../src/wire/message-encoder.ts";
import { SUBPROTOCOLS, type Subprotocol } from "../../src/wire/protocol.ts";
import { cellsOf } from "../model/cells.ts";
import { CollectedState } from "./collected-state.ts";
import { keyOf, WatchServer } from "./watch-server.ts";

const STARTED = 1_700_000_000_000;

function plain(record: DomainStatsRecord): unknown {
  const { domain, status, reason, missing, sampledAt, tookMs, index, params, error } = record;
  return {
    domain: { uuid: domain.uuid, name: domain.name, id: domain.id, host: domain.host },
    head: { status, reason, missing: [...missing], sampledAt, tookMs, index, error: error?.code },
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
  readonly #subprotocol: Subprotocol;
  readonly #owner = {};
  readonly #state = new CollectedState(this.#owner);
  #hosts = new HostTable();
  #server: WatchServer;
  #encoder!: MessageEncoder;
  #decoder!: MessageDecoder;
  #id = 0;
  #channels = 1;
  #now = STARTED;
  /** The last message of the channel that was sent, and where its snapshot is. */
  #sent = 0;
  #cursor: number | undefined;
  #through = 0;

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

  constructor(subprotocol: Subprotocol) {
    this.#subprotocol = subprotocol;
    this.#server = new WatchServer(1, "e1", subprotocol, this.#hosts);
    this.#connect();
    this.#begin();
  }

  step(what: number, seed: number): void {
    if (what < 8) this.#server.sample(seed, ++this.#now);
    else if (what < 11) this.#server.endTick(++this.#now);
    else if (what === 11) this.#server.remove(seed);
    else if (what === 12) this.#server.status(seed);
    else if (what === 13) this.#server.gap(seed);
    else if (what < 19) this.#pump(1 + (seed % 6));
    else if (what === 19) this.#begin();
    else if (what === 20) this.#reconnect();
    else if (seed % 3 === 0) this.#restart(seed);
  }

  /** Lets the client catch up, with a tick at the end. */
  finish(): void {
    this.#server.endTick(++this.#now);
    for (let rounds = 0; this.#cursor !== undefined || this.#sent < this.#server.sequence; rounds++) {
      expect(rounds).toBeLessThan(1_000);
      this.#pump(5);
    }
    expect(this.#state.tick).toBe(this.#server.tick);
    expect(this.#synced).toBe(this.#server.tick);
    expect(this.#sources).toEqual(this.#server.sources());
  }

  #connect(): void {
    this.#encoder = new MessageEncoder(this.#subprotocol, this.#hosts);
    this.#decoder = new MessageDecoder(this.#owner);
    this.#decoder.adopt(++this.#id, this.#state);
  }

  /** The server begins a snapshot, in the midst of one or not. */
  #begin(): void {
    this.#server.flush();
    this.#sent = this.#server.sequence;
    this.#cursor = 0;
    this.snapshots++;
    this.#read(this.#encoder.position(this.#id, this.#server.channel, this.#sent, this.#server.tick, false));
  }

  #pump(count: number): void {
    if (this.#cursor !== undefined) {
      const { messages, next } = this.#server.snapshot(this.#encoder, this.#id, this.#cursor, count);
      this.#cursor = next;
      if (next === undefined) {
        this.#through = this.#server.sequence;
        this.#complete = this.#server.tick > 0;
      }
      this.#read(messages);
      return;
    }
    const waiting = this.#server.after(this.#sent);
    if (waiting === undefined) {
      this.#begin();
      return;
    }
    for (const message of waiting.slice(0, count)) {
      this.#sent = message.sequence;
      this.#read([...this.#encoder.tell(message), ...message.messages]);
    }
  }

  #reconnect(): void {
    const since = this.#state.since;
    this.#connect();
    this.#state.reconnect(true);
    if (since !== undefined && this.#server.channel === since.channel && this.#server.after(since.sequence)) {
      expect(since.sequence).toBe(this.#sent);
      this.resumed++;
      this.#read(this.#encoder.position(this.#id, since.channel, since.sequence, this.#server.tick, true));
    } else {
      this.#begin();
    }
  }

  /** Another server, or another channel of the same one. */
  #restart(seed: number): void {
    const sameEpoch = seed % 2 === 0;
    if (!sameEpoch) this.#hosts = new HostTable();
    const channel = sameEpoch ? ++this.#channels : this.#server.channel;
    this.#server = new WatchServer(
      channel,
      sameEpoch ? this.#server.epoch : `e${seed}`,
      this.#subprotocol,
      this.#hosts,
    );
    this.#elsewhere = true;
    this.#connect();
    this.#state.reconnect(sameEpoch);
    this.#begin();
  }

  #read(messages: readonly WireMessage[]): void {
    for (const message of messages) {
      const decoded = this.#decoder.decode(message);
      if (decoded.type === "watch") for (const event of this.#state.sink.take()) this.#heard(event);
    }
    if (this.#cursor !== undefined || this.#sent < this.#through) return;
    const expected = byKey(this.#server.at(this.#sent));
    expect(byKey(this.#state.records())).toEqual(expected);
    const application = byKey(this.#application.values());
    // A server that has just begun does not know yet who has left: until its first tick ends, nobody is said to have.
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
        if (event.state === "connected") this.#sources.delete(event.host);
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

describe.each(SUBPROTOCOLS)("a watch over %s", (subprotocol) => {
  it("knows after each tick what the server knows, and accounts for every tick, whatever was lost on the way", () => {
    const seen = { ticks: 0, snapshots: 0, resumed: 0 };
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(21), fc.nat()), { minLength: 20, maxLength: 150 }), (steps) => {
        const story = new Story(subprotocol);
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
  /** What a watch's messages come to, in JSON. */
  function watching() {
    const state = new CollectedState();
    const decoder = new MessageDecoder({});
    decoder.adopt(1, state);
    return (...messages: unknown[]): WatchEvent[] =>
      messages.flatMap((message) => {
        const decoded = decoder.decode(JSON.stringify(message));
        return decoded.type === "watch" ? state.sink.take() : [];
      });
  }

  it("tells once that a source is absent, however many snapshots say so", () => {
    const told = watching();
    const snapshot = [
      [9, 1, 1, 0, 0, false],
      [11, 1, 0, 0, "", 0, null, [[1, "h", null]], false],
    ];
    expect(told(...snapshot).map(({ type }) => type)).toEqual(["status"]);
    expect(told(...snapshot)).toEqual([]);
    expect(told([15, 1, 1, 0, "h", null]).map(({ type }) => type)).toEqual(["status"]);
    expect(told(...snapshot).map(({ type }) => type)).toEqual(["status"]);
  });

  // With a walk through all numbers this takes minutes.
  it("does not walk through four million numbers for the one domain that a server gave the last of them", () => {
    const told = watching();
    told([3, 0, "h"]);
    const row = [4_194_303, "00000000-0000-4000-8000-000000000001", "a", 1, 0, 0, 0, 1, 1, 0];
    let records = 0;
    for (let i = 0; i < 1_000; i++) {
      records += told([9, 1, 1, 0, 0, false], [10, 1, 0, 1_000 + i, [row]]).filter(
        ({ type }) => type === "record",
      ).length;
    }
    expect(records).toBe(1_000);
  });
});
