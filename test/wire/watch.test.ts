import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type SweepSummary } from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import type { SyncEvent, WatchEvent } from "../../src/model/watch.ts";
import { ChannelEncoder, type ChannelMessage } from "../../src/wire/channel-encoder.ts";
import { ChannelTable } from "../../src/wire/channel-table.ts";
import type { MessageDecoder } from "../../src/wire/message-decoder.ts";
import type { WireSummary } from "../../src/wire/messages.ts";
import { pack } from "../../src/wire/pack.ts";
import { profileOf } from "../../src/wire/profile.ts";
import { parseClientMessage, type RefusedQuery, requestText } from "../../src/wire/request.ts";
import { cellsOf } from "../model/cells.ts";
import type { CollectingSink } from "../sampling/collecting-sink.ts";
import { uuidOf } from "../sampling/sample.ts";
import { CollectedState } from "./collected-state.ts";
import { codeOf, decoderOf, expectDeclaredTypes } from "./decoding.ts";
import { ServerEnd } from "./server-end.ts";

// Thousands of random steps: on a loaded machine they take their time.
vi.setConfig({ testTimeout: 180_000 });

const STARTED = 1_700_000_000_000;
const CHANNEL = 3;
const WATCH = 1;
const SUMMARY: SweepSummary & WireSummary = {
  domains: 1,
  ok: 1,
  partial: 0,
  failed: 0,
  gone: 0,
  startedAt: STARTED,
  tookMs: 2,
};

const SHAPE = new Schema(
  ["cpu.time", "vm.temperature.max", "block.0.path", "net.0.up"],
  Uint8Array.of(ParamType.ullong, ParamType.double, ParamType.string, ParamType.boolean),
);

const syncOf = (tick: number): SyncEvent => ({ type: "sync", tick, host: "hv1", overrun: 0, summary: SUMMARY });

function record(number: number, tick: number, cells: readonly ParamValue[], schema = SHAPE): DomainStatsRecord {
  return new DomainStatsRecord({
    domain: new Domain(uuidOf(number), `web-${number}`, number, "hv1"),
    params: TypedParams.of(schema, cells),
    status: "ok",
    index: number,
    sampledAt: STARTED + tick * 1_000 + number,
    steadyAt: 77 + tick * 1_000 + number,
    tookMs: 0.25,
  });
}

/** Both ends of a connection, and the channel that it watches. */
class Link {
  readonly end = new ServerEnd();
  readonly channel = new ChannelEncoder(CHANNEL, this.end.profile);
  decoder = decoderOf();
  readonly state = new CollectedState();

  constructor() {
    ChannelTable.of(this.decoder).adopt(WATCH, this.state);
  }

  read(messages: readonly Uint8Array[]): WatchEvent[] {
    return messages.flatMap((message) => {
      const decoded = this.decoder.decode(message);
      return decoded.type === "watch" ? this.state.sink.take() : [];
    });
  }

  send(message: ChannelMessage): WatchEvent[] {
    return this.read(this.end.pass(message));
  }

  begin(sequence = 0, id = WATCH, domains = 0): WatchEvent[] {
    const begin = { type: "begin", id, channel: CHANNEL, sequence, resumed: false } as const;
    return this.read(this.end.say({ ...begin, domains, statuses: [], complete: false }));
  }
}

function recordsOf(events: readonly WatchEvent[]): DomainStatsRecord[] {
  return events.flatMap((event) => (event.type === "record" ? [event.record] : []));
}

describe("a watch", () => {
  it("gives back each record, whether it is sent whole or as its changes", () => {
    const link = new Link();
    expect(link.begin()).toEqual([]);
    const values: ParamValue[][] = [
      [5, 0.5, "/img/a", true],
      [7, 0.5, "/img/a", true],
      [7, 0.5, "/img/a", true],
      [2 ** 53 - 1, Number.NaN, "/img/ä", false],
      [2n ** 53n, Number.NaN, "", false],
      [2n ** 64n - 1n, Number.POSITIVE_INFINITY, "x".repeat(70_000), false],
      [0, -1e300, "x", true],
      [4_294_967_296, 7, "x", true],
      [4_294_967_295, 7, "x", true],
    ];
    let before: DomainStatsRecord | undefined;
    for (const [tick, cells] of values.entries()) {
      const next = record(4, tick, cells);
      link.channel.add(4, next, before);
      before = next;
      const events = link.send(link.channel.changes()!);
      expect(recordsOf(events).map(({ params }) => cellsOf(params))).toEqual([cells]);
      expect(recordsOf(events)[0]).toMatchObject({
        sampledAt: next.sampledAt,
        steadyAt: next.steadyAt,
        tookMs: 0.25,
        index: 4,
        status: "ok",
      });
    }
    expect(link.state.domains).toBe(1);
    expect(link.state.since).toEqual({ channel: CHANNEL, sequence: values.length });
  });

  it("sends only the values that changed, and in a block of many rows only the rows", () => {
    const channel = new ChannelEncoder(CHANNEL, profileOf("virstream.v1"));
    const sizeOf = (changing: number, rows: number): number => {
      for (let number = 0; number < rows; number++) {
        const cells = (value: number): ParamValue[] => [value, 0.5, `/img/${number}`, true];
        channel.add(number, record(number, 1, cells(number < changing ? 70_000 : 5)), record(number, 0, cells(5)));
      }
      return channel.changes()!.size;
    };
    const unchanged = sizeOf(0, 400);
    // Two bytes for when each was sampled.
    expect(unchanged).toBeLessThan(800 + 120);
    // A bit for each row, and four bytes for each of ten.
    expect(sizeOf(10, 400) - unchanged).toBeLessThan(50 + 40 + 10);
    expect(sizeOf(400, 400) - unchanged).toBeLessThan(20);
  });

  it("sends a difference that is not exact as a whole record", () => {
    const link = new Link();
    link.begin();
    const schema = new Schema(["a"], Uint8Array.of(ParamType.llong));
    const [first, second] = [-(2 ** 53) + 1, 2 ** 53 - 1].map((value, tick) => record(0, tick, [value], schema));
    link.channel.add(0, first!, undefined);
    link.channel.add(1, record(1, 0, [5], schema), undefined);
    link.send(link.channel.changes()!);
    link.channel.add(0, second!, first);
    link.channel.add(1, record(1, 1, [7], schema), record(1, 0, [5], schema));
    const events = link.send(link.channel.changes()!);
    expect(recordsOf(events).map(({ params }) => params.getUnknown("a"))).toEqual([2n ** 53n - 1n, 7n]);
  });

  it("sends no changes to a record that its reader did not get", () => {
    const link = new Link();
    link.begin();
    const odd = (tick: number): DomainStatsRecord => {
      const { params, sampledAt } = record(0, tick, [tick, 1, "", true]);
      const domain = new Domain("no uuid", "odd", 1, "hv1");
      return new DomainStatsRecord({ domain, params, status: "ok", index: 0, sampledAt, tookMs: 1 });
    };
    const first = odd(0);
    link.channel.add(0, first, undefined);
    expect(recordsOf(link.send(link.channel.changes()!))[0]).toMatchObject({ status: "failed" });
    link.channel.add(0, odd(1), first);
    expect(recordsOf(link.send(link.channel.changes()!))[0]).toMatchObject({ status: "failed" });
  });

  it("refuses a hole in the sequence, a tick that was there, and what is said of a domain that is not known", () => {
    const opened = (): Link => {
      const link = new Link();
      link.begin();
      return link;
    };
    const hole = opened();
    hole.channel.sync(syncOf(1), true);
    expect(codeOf(() => hole.send(hole.channel.sync(syncOf(2), true)))).toBe("protocol-error");
    const again = opened();
    expect(again.send(again.channel.sync(syncOf(1), true))).toHaveLength(1);
    expect(codeOf(() => again.send(again.channel.sync(syncOf(1), true)))).toBe("protocol-error");
    const jump = opened();
    jump.send(jump.channel.sync(syncOf(1), true));
    expect(codeOf(() => jump.send(jump.channel.sync(syncOf(3), true)))).toBe("protocol-error");
    const unknown = opened();
    unknown.channel.add(0, record(0, 1, [6, 1, "", true]), record(0, 0, [5, 1, "", true]));
    expect(codeOf(() => unknown.send(unknown.channel.changes()!))).toBe("protocol-error");
    const absent = opened();
    absent.channel.gone(1, record(1, 1, [6, 1, "", true]).domain);
    expect(codeOf(() => absent.send(absent.channel.changes()!))).toBe("protocol-error");
    const other = opened();
    other.channel.add(0, record(0, 1, [6, 1, "", true]), undefined);
    other.send(other.channel.changes()!);
    other.channel.add(0, record(1, 1, [6, 1, "", true]), undefined);
    expect(codeOf(() => other.send(other.channel.changes()!))).toBe("protocol-error");
  });

  it("ignores what still comes of a cancelled watch, its schemas apart, and nothing of one that is not under way", () => {
    const link = new Link();
    link.begin();
    ChannelTable.of(link.decoder).release(WATCH);
    link.channel.add(0, record(0, 1, [5, 1, "", true]), undefined);
    expect(link.send(link.channel.changes()!)).toEqual([]);
    expect(link.begin(5)).toEqual([]);
    expect(link.state.domains).toBe(0);
    link.read(link.end.say({ type: "end", id: WATCH }));
    expect(codeOf(() => link.send(link.channel.sync(syncOf(1), true)))).toBe("protocol-error");
    expect(codeOf(() => link.begin())).toBe("protocol-error");
    // The schema was defined while nothing was read, and is not defined again.
    const next = new Link();
    ChannelTable.of(link.decoder).adopt(2, next.state);
    link.begin(2, 2, 1);
    link.read(link.end.rows(2, [record(0, 1, [5, 1, "", true])], [0]).messages);
    expect(next.state.sink.take()).toHaveLength(1);
  });

  it("answers each of its messages, cut at any place, with protocol-error and nothing else", () => {
    for (const { lead, message } of specimens()) {
      for (let end = 0; end < message.length; end++) {
        const cut = message.subarray(0, end);
        const { decoder } = decoderAfter(lead);
        expect([end, codeOf(() => decoder.decode(cut))]).toEqual([end, "protocol-error"]);
      }
      expect(codeOf(() => decoderAfter(lead).decoder.decode(message))).toBe("none");
    }
  });

  it("answers damaged messages with values of the declared types, or with protocol-error", () => {
    const all = specimens();
    fc.assert(
      fc.property(
        fc.nat(all.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        (which, damage) => {
          const { lead, message } = all[which]!;
          const bytes = Uint8Array.from(message);
          for (const [at, value] of damage) bytes[at % bytes.length] = value;
          const { decoder, sink } = decoderAfter(lead);
          let decoded: ReturnType<MessageDecoder["decode"]>;
          try {
            decoded = decoder.decode(bytes);
          } catch (error) {
            expect((error as VirstreamError).code).toBe("protocol-error");
            return;
          }
          if (decoded.type === "watch") for (const { params } of recordsOf(sink.take())) expectDeclaredTypes(params);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  it("refuses rows of changes that do not fit what they change", () => {
    /** Reads one row of changes of these columns, given by their numbers; body: four bytes or eight. */
    const read = (
      columns: Record<number, number>,
      { cells = [5, 0.5, "/img/a", true], schema = SHAPE, width = 0, body = [] as number[], ...message } = {} as {
        cells?: readonly ParamValue[];
        schema?: Schema;
        width?: number;
        body?: number[];
        [member: string]: unknown;
      },
    ): string => {
      const link = new Link();
      link.begin();
      link.channel.add(0, record(0, 1, cells, schema), undefined);
      link.send(link.channel.changes()!);
      const present = new Uint8Array((6 + schema.keys.length + 7) >> 3);
      const leasts: number[] = [];
      for (const [column, least] of Object.entries(columns)) {
        present[Number(column) >> 3]! |= 1 << (Number(column) & 7);
        leasts.push(least);
      }
      const widths = new Uint8Array(leasts.length).fill(width);
      const block = [0, 1, present, widths, leasts, Uint8Array.from(body)];
      const at = [STARTED, 0];
      const changes = { type: "changes", channel: CHANNEL, sequence: 2, gone: [], at, full: [], changed: [block] };
      return codeOf(() => link.read([pack({ ...changes, ...message })]));
    };
    expect(read({})).toBe("none");
    expect(read({}, { gone: [0], changed: [] })).toBe("none");
    expect(read({ 1: 5, 3: -2, 5: 250, 6: -5, 7: 7.5, 9: -1 })).toBe("none");
    expect(read({ 6: 2 ** 53 - 1 - 5 })).toBe("none");
    for (const columns of [
      { 0: 1 },
      { 0: -1 },
      { 0: 4_194_304 },
      { 0: 0.5 },
      { 1: 0.5 },
      { 2: 1 },
      { 6: -6 },
      { 6: 2 ** 53 - 1 },
      { 6: 0.5 },
      { 6: Number.NaN },
      { 8: 0 },
      { 9: 1 },
      { 9: -2 },
    ]) {
      expect([columns, read(columns)]).toEqual([columns, "protocol-error"]);
    }
    // One row, sparse: a mask of one byte, then its value, if its bit is set.
    expect(read({ 6: 3 }, { width: 17, body: [1, 200] })).toBe("none");
    expect(read({ 6: 3 }, { width: 17, body: [0] })).toBe("none");
    for (const body of [[1], [0, 200], [], [1, 200, 0]]) {
      expect([body, read({ 6: 3 }, { width: 17, body })]).toEqual([body, "protocol-error"]);
    }
    expect(read({ 6: 1 }, { cells: [2n ** 53n, 1, "", true] })).toBe("protocol-error");
    expect(read({ 6: 2 ** 53 - 2 }, { cells: [1, 1, "", true] })).toBe("none");
    expect(read({ 6: 1 }, { cells: [2 ** 53 - 1, 1, "", true] })).toBe("protocol-error");
    for (const message of [
      { gone: [0] },
      { gone: [7], changed: [] },
      { gone: [-1], changed: [] },
      { gone: [0.5], changed: [] },
      { gone: ["0"], changed: [] },
      { gone: ["map"], changed: [] },
      { gone: ["length"], changed: [] },
      { gone: [null], changed: [] },
      { gone: 0, changed: [] },
      { sequence: 3 },
      { full: null },
    ]) {
      expect([message, read({}, message)]).toEqual([message, "protocol-error"]);
    }
  });
});

/** Each kind of message of a watch, with what must have been read before it. */
function specimens(): { lead: Uint8Array[]; message: Uint8Array }[] {
  const end = new ServerEnd();
  const channel = new ChannelEncoder(CHANNEL, end.profile);
  const lead: Uint8Array[] = [];
  const found: { lead: Uint8Array[]; message: Uint8Array }[] = [];
  const keep = (messages: readonly Uint8Array[]): void => {
    lead.push(...messages.slice(0, -1));
    found.push({ lead: [...lead], message: messages.at(-1)! });
    lead.push(messages.at(-1)!);
  };
  const error = new VirstreamError("hypervisor-error", "it said no", { libvirt: { code: 38, domain: 10 } });
  const known = [5, 0.5, "/img/a", true];
  keep(
    end.say({
      type: "begin",
      id: WATCH,
      channel: CHANNEL,
      sequence: 0,
      resumed: false,
      domains: 2,
      sync: { tick: 1, host: "hv1", overrun: 2, summary: SUMMARY },
      statuses: [{ state: "degraded", host: "hv2", error: { code: "internal", message: "x", retryable: false } }],
      complete: true,
    }),
  );
  keep(end.rows(WATCH, [record(0, 1, known), record(3, 1, [6, 0.5, "/img/b", true])], [0, 3]).messages);
  const say = (message: ChannelMessage): void => keep(end.pass(message));
  channel.add(0, record(0, 2, [2n ** 60n, 300, "/img/other", false]), record(0, 1, known));
  channel.add(3, record(3, 2, [8, 0.5, "/img/b", true]), record(3, 1, [6, 0.5, "/img/b", true]));
  channel.add(5, record(5, 2, [6, 0.5, "/img/b", true]), undefined);
  say(channel.changes()!);
  for (const number of [0, 3]) channel.gone(number, record(number, 1, known).domain);
  say(channel.changes()!);
  say(channel.sync(syncOf(2), true));
  say(channel.status({ type: "status", state: "reconnecting", host: undefined, error }));
  say(channel.gap({ type: "gap", reason: "source", skipped: 3, host: "hv1" }));
  return found;
}

function decoderAfter(lead: readonly Uint8Array[]): { decoder: MessageDecoder; sink: CollectingSink } {
  const decoder = decoderOf();
  const state = new CollectedState();
  ChannelTable.of(decoder).adopt(WATCH, state);
  for (const message of lead) decoder.decode(message);
  state.sink.take();
  return { decoder, sink: state.sink };
}

describe("a watch that a client asks for", () => {
  const query = { groups: 3, flags: 0, deadlineMs: 2_000, domains: undefined };

  it("is read as it was written", () => {
    const since = { epoch: "e1", channel: 4, sequence: 0 };
    const sample = { intervalMs: 1_000, mode: "sample", heartbeatMs: 0 } as const;
    const onChange = { intervalMs: 50, mode: "on-change", heartbeatMs: 10_000 } as const;
    expect(
      parseClientMessage(requestText({ type: "watch", id: 7, query, cadence: sample, credit: 99, since: undefined })),
    ).toEqual({
      type: "watch",
      id: 7,
      query,
      cadence: sample,
      credit: 99,
      since: undefined,
    });
    const resumed = { type: "watch", id: 7, query, cadence: onChange, credit: 1, since } as const;
    expect(parseClientMessage(requestText(resumed))).toEqual(resumed);
    const selected = { ...resumed, query: { ...query, names: ["db-[0-9]", "web-*"], hosts: ["hv?"] } };
    expect(parseClientMessage(requestText(selected))).toEqual(selected);
  });

  it("is refused, and the connection goes on, for a cadence that is not valid", () => {
    const refusal = (members: object, minIntervalMs?: number): unknown => {
      const text = JSON.stringify({ type: "watch", id: 7, credit: 1, intervalMs: 1_000, ...members });
      const message = parseClientMessage(text, minIntervalMs);
      return message.type === "refused" ? message.error.code : message.type;
    };
    expect(refusal({})).toBe("watch");
    expect(refusal({ heartbeatMs: 1_000, mode: "on-change" })).toBe("watch");
    for (const members of [
      { intervalMs: undefined },
      { intervalMs: 9 },
      { intervalMs: "1000" },
      { mode: "always" },
      { mode: null },
      { heartbeatMs: 1_000 },
      { heartbeatMs: 999, mode: "on-change" },
      { heartbeatMs: "x", mode: "on-change" },
      { heartbeatMs: null, mode: "on-change" },
    ]) {
      expect([members, refusal(members)]).toEqual([members, "invalid-argument"]);
    }
    expect(refusal({}, 1_000)).toBe("watch");
    expect(refusal({}, 1_001)).toBe("invalid-argument");
    const { error } = parseClientMessage('{"type":"watch","id":7,"intervalMs":249}', 250) as RefusedQuery;
    expect(error.message).toContain("set the option intervalMs to 250 ms or more");
    expect(refusal({ groups: "all" })).toBe("unknown-group");
  });

  it("ends the connection for a since that is none", () => {
    for (const since of [
      null,
      1,
      {},
      { epoch: "e", channel: 0, sequence: 1 },
      { epoch: "e", channel: 1, sequence: -1 },
    ]) {
      const text = JSON.stringify({ type: "watch", id: 7, credit: 1, intervalMs: 1_000, since });
      expect([since, codeOf(() => parseClientMessage(text))]).toEqual([since, "protocol-error"]);
    }
  });
});
