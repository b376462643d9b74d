import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import { ParamType, Schema, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type SweepSummary } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import type { ParamCell } from "../../src/wire/cells.ts";
import { ChannelEncoder, type ChannelMessage } from "../../src/wire/channel-encoder.ts";
import { HostTable } from "../../src/wire/host-table.ts";
import { MessageDecoder } from "../../src/wire/message-decoder.ts";
import { MessageEncoder, type WireMessage } from "../../src/wire/message-encoder.ts";
import { MsgpackWriter } from "../../src/wire/msgpack-writer.ts";
import { MessageType, SUBPROTOCOLS, type Subprotocol } from "../../src/wire/protocol.ts";
import { parseClientMessage, watchMessage } from "../../src/wire/request.ts";
import { cellsOf } from "../model/cells.ts";
import type { CollectingSink } from "../sampling/collecting-sink.ts";
import { CollectedState } from "./collected-state.ts";

const STARTED = 1_700_000_000_000;
const CHANNEL = 3;
const WATCH = 1;
const SUMMARY: SweepSummary = { domains: 1, ok: 1, partial: 0, failed: 0, gone: 0, startedAt: STARTED, tookMs: 2 };

const SHAPE = new Schema(
  ["cpu.time", "vm.temperature.max", "block.0.path", "net.0.up"],
  Uint8Array.of(ParamType.ullong, ParamType.double, ParamType.string, ParamType.boolean),
);

const uuidOf = (number: number): string => `00000000-0000-4000-8000-${number.toString(16).padStart(12, "0")}`;

function record(number: number, tick: number, cells: readonly ParamCell[], schema = SHAPE): DomainStatsRecord {
  return new DomainStatsRecord({
    domain: new Domain(uuidOf(number), `web-${number}`, number, "hv1"),
    params: TypedParams.of(schema, cells),
    status: "ok",
    index: number,
    sampledAt: STARTED + tick * 1_000 + number,
    tookMs: 0.25,
  });
}

/** Both ends of a connection, and the channel that it watches. */
class Link {
  readonly channel: ChannelEncoder;
  readonly encoder: MessageEncoder;
  decoder = new MessageDecoder({});
  readonly state = new CollectedState();

  constructor(subprotocol: Subprotocol) {
    const hosts = new HostTable();
    this.channel = new ChannelEncoder(CHANNEL, subprotocol, hosts);
    this.encoder = new MessageEncoder(subprotocol, hosts);
    this.decoder.adopt(WATCH, this.state);
  }

  read(messages: readonly WireMessage[]): WatchEvent[] {
    return messages.flatMap((message) => {
      const decoded = this.decoder.decode(message);
      return decoded.type === "watch" ? this.state.sink.take() : [];
    });
  }

  send(message: ChannelMessage): WatchEvent[] {
    return this.read([...this.encoder.tell(message), ...message.messages]);
  }

  position(sequence = 0, tick = 0, resumed = false): WatchEvent[] {
    return this.read(this.encoder.position(WATCH, CHANNEL, sequence, tick, resumed));
  }

  current(through = 0, tick = 0): WatchEvent[] {
    const summary = tick === 0 ? undefined : SUMMARY;
    return this.read(
      this.encoder.current(WATCH, {
        through,
        tick,
        host: "hv1",
        overrun: 0,
        summary,
        statuses: [],
        complete: tick > 0,
      }),
    );
  }
}

function recordsOf(events: readonly WatchEvent[]): DomainStatsRecord[] {
  return events.flatMap((event) => (event.type === "record" ? [event.record] : []));
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return VirstreamError.from(error).code;
  }
  return "none";
}

describe.each(SUBPROTOCOLS)("a watch over %s", (subprotocol) => {
  it("gives back each record, be it told whole or by what has changed", () => {
    const link = new Link(subprotocol);
    link.position();
    expect(link.current()).toEqual([]);
    const told: ParamCell[][] = [
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
    for (const [tick, cells] of told.entries()) {
      const next = record(4, tick, cells);
      link.channel.add(4, next, before);
      before = next;
      const events = link.send(link.channel.changes()!);
      expect(recordsOf(events).map(({ params }) => cellsOf(params))).toEqual([cells]);
      expect(recordsOf(events)[0]).toMatchObject({ sampledAt: next.sampledAt, tookMs: 0.25, index: 4, status: "ok" });
    }
    expect(link.state.domains).toBe(1);
    expect(link.state.since).toEqual({ channel: CHANNEL, sequence: told.length });
  });

  it("refuses a hole in the sequence, a tick left out, and changes of a domain that was not told", () => {
    const opened = (): Link => {
      const link = new Link(subprotocol);
      link.position();
      link.current();
      return link;
    };
    const hole = opened();
    hole.channel.gone([]);
    expect(codeOf(() => hole.send(hole.channel.gone([])))).toBe("protocol-error");
    const jump = opened();
    expect(jump.send(jump.channel.sync(1, { host: "hv1", overrun: 0, summary: SUMMARY }))).toHaveLength(1);
    expect(codeOf(() => jump.send(jump.channel.sync(3, { host: "hv1", overrun: 0, summary: SUMMARY })))).toBe(
      "protocol-error",
    );
    const unknown = opened();
    unknown.channel.add(0, record(0, 1, [6, 1, "", true]), record(0, 0, [5, 1, "", true]));
    expect(codeOf(() => unknown.send(unknown.channel.changes()!))).toBe("protocol-error");
    const absent = opened();
    expect(codeOf(() => absent.send(absent.channel.gone([1])))).toBe("protocol-error");
  });

  it("ignores what still comes of a cancelled watch, its schemas apart, and nothing of one that is not under way", () => {
    const link = new Link(subprotocol);
    link.position();
    link.current();
    link.decoder.release(WATCH);
    link.channel.add(0, record(0, 1, [5, 1, "", true]), undefined);
    expect(link.send(link.channel.changes()!)).toEqual([]);
    expect(link.position(5, 1)).toEqual([]);
    expect(link.state.domains).toBe(0);
    link.read(link.encoder.end(WATCH, undefined, undefined));
    expect(codeOf(() => link.send(link.channel.gone([])))).toBe("protocol-error");
    expect(codeOf(() => link.position())).toBe("protocol-error");
    // The schema was told while nobody listened, and is not told again.
    const next = new Link(subprotocol);
    link.decoder.adopt(2, next.state);
    link.read(link.encoder.position(2, CHANNEL, 2, 0, false));
    const frame = link.encoder.stateFrame(2, 2);
    frame.add(0, record(0, 1, [5, 1, "", true]), undefined);
    link.read(link.encoder.state(frame).messages);
    expect(next.state.sink.take()).toHaveLength(1);
  });

  it("answers each of its messages, cut at any place, with protocol-error and nothing else", () => {
    for (const { lead, message } of specimens(subprotocol)) {
      for (let end = 0; end < message.length; end++) {
        const cut = typeof message === "string" ? message.slice(0, end) : message.subarray(0, end);
        const { decoder } = decoderAfter(lead);
        expect([end, codeOf(() => decoder.decode(cut))]).toEqual([end, "protocol-error"]);
      }
      expect(codeOf(() => decoderAfter(lead).decoder.decode(message))).toBe("none");
    }
  });

  it("answers damaged messages with values of the declared types, or with protocol-error", () => {
    const all = specimens(subprotocol);
    fc.assert(
      fc.property(
        fc.nat(all.length - 1),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        (which, damage) => {
          const { lead, message } = all[which]!;
          const bytes = typeof message === "string" ? Buffer.from(message) : Uint8Array.from(message);
          for (const [at, value] of damage) bytes[at % bytes.length] = value;
          const { decoder, sink } = decoderAfter(lead);
          let decoded: ReturnType<MessageDecoder["decode"]>;
          try {
            decoded = decoder.decode(typeof message === "string" ? Buffer.from(bytes).toString() : bytes);
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
    const write = (value: unknown): WireMessage => {
      if (subprotocol === "virstream.v1.json") return JSON.stringify(value);
      const writer = new MsgpackWriter(64);
      writer.value(value as never);
      return writer.take();
    };
    const mask = (byte: number): unknown =>
      subprotocol === "virstream.v1.json" ? byte.toString(16).padStart(2, "0") : Uint8Array.of(byte);
    const read = (row: readonly unknown[], cells: readonly ParamCell[] = [5, 0.5, "/img/a", true]): string => {
      const link = new Link(subprotocol);
      link.position();
      link.current();
      link.channel.add(0, record(0, 1, cells), undefined);
      link.send(link.channel.changes()!);
      return codeOf(() => link.read([write([MessageType.changes, CHANNEL, 2, STARTED, [row]])]));
    };
    const head = [0, 0, 0, 250];
    expect(read(head)).toBe("none");
    expect(read([...head, mask(0x0f), -5, 7, "x", false])).toBe("none");
    expect(read([...head, mask(1), [2 ** 53 - 1]])).toBe("none");
    for (const row of [
      [0, 0, 0],
      [...head, mask(1)],
      [...head, mask(1), 1, 1],
      [...head, mask(0x10), 1],
      [...head, mask(0), 1],
      [...head, null, 1],
      [...head, 1, 1],
      [...head, subprotocol === "virstream.v1.json" ? "0100" : Uint8Array.of(1, 0), 1],
      [...head, mask(1), -6],
      [...head, mask(1), 2 ** 53 - 1],
      [...head, mask(1), 0.5],
      [...head, mask(1), null],
      [...head, mask(1), true],
      [...head, mask(1), []],
      [...head, mask(1), [1, 2]],
      [...head, mask(1), [[1]]],
      [...head, mask(1), [-1]],
      [...head, mask(2), [1]],
      [...head, mask(2), "x"],
      [...head, mask(4), 1],
      [...head, mask(4), [1, "x"]],
      [...head, mask(8), 1],
      [0, 0, 0, -1],
      [1, 0, 0, 250],
      [-1, 0, 0, 250],
      [4_194_304, 0, 0, 250],
    ]) {
      expect([row, read(row)]).toEqual([row, "protocol-error"]);
    }
    expect(read([...head, mask(1), 1], [2n ** 53n, 1, "", true])).toBe("protocol-error");
    expect(read([...head, mask(1), [1]], [2n ** 53n, 1, "", true])).toBe("none");
    expect(read([...head, mask(1), 2 ** 53 - 2], [1, 1, "", true])).toBe("none");
    expect(read([...head, mask(1), 1], [2 ** 53 - 1, 1, "", true])).toBe("protocol-error");
  });
});

/** Each kind of message of a watch, with what must have been read before it. */
function specimens(subprotocol: Subprotocol): { lead: WireMessage[]; message: WireMessage }[] {
  const hosts = new HostTable();
  const channel = new ChannelEncoder(CHANNEL, subprotocol, hosts);
  const encoder = new MessageEncoder(subprotocol, hosts);
  const lead: WireMessage[] = [];
  const found: { lead: WireMessage[]; message: WireMessage }[] = [];
  const keep = (messages: readonly WireMessage[]): void => {
    lead.push(...messages.slice(0, -1));
    found.push({ lead: [...lead], message: messages.at(-1)! });
    lead.push(messages.at(-1)!);
  };
  const error = new VirstreamError("hypervisor-error", "it said no", { libvirt: { code: 38, domain: 10 } });
  const told = [5, 0.5, "/img/a", true];
  keep(encoder.position(WATCH, CHANNEL, 0, 1, false));
  const frame = encoder.stateFrame(WATCH, 0);
  frame.add(0, record(0, 1, told), undefined);
  frame.add(3, record(3, 1, [6, 0.5, "/img/b", true]), undefined);
  keep(encoder.state(frame).messages);
  const statuses = [{ type: "status", state: "degraded", host: "hv2", error } as const];
  keep(
    encoder.current(WATCH, {
      through: 0,
      tick: 1,
      host: "hv1",
      overrun: 2,
      summary: SUMMARY,
      statuses,
      complete: true,
    }),
  );
  const say = (message: ChannelMessage): void => keep([...encoder.tell(message), ...message.messages]);
  channel.add(0, record(0, 2, [2n ** 60n, 300, "/img/other", false]), record(0, 1, told));
  channel.add(3, record(3, 2, [6, 0.5, "/img/b", true]), record(3, 1, [6, 0.5, "/img/b", true]));
  channel.add(5, record(5, 2, [6, 0.5, "/img/b", true]), undefined);
  say(channel.changes()!);
  say(channel.gone([0, 3]));
  say(channel.sync(2, { host: "hv1", overrun: 0, summary: SUMMARY }));
  say(channel.status({ type: "status", state: "reconnecting", host: undefined, error }));
  say(channel.gap({ type: "gap", reason: "source", skipped: 3, host: "hv1" }));
  return found;
}

function decoderAfter(lead: readonly WireMessage[]): { decoder: MessageDecoder; sink: CollectingSink } {
  const decoder = new MessageDecoder({});
  const state = new CollectedState();
  decoder.adopt(WATCH, state);
  for (const message of lead) decoder.decode(message);
  state.sink.take();
  return { decoder, sink: state.sink };
}

function expectDeclaredTypes(params: TypedParams): void {
  for (const { type, value } of params.list()) {
    const integer = type.endsWith("llong");
    expect(typeof value).toBe(integer ? "bigint" : type === "string" || type === "boolean" ? type : "number");
    if (type === "ullong") expect(BigInt.asUintN(64, value as bigint)).toBe(value);
  }
}

describe("a watch that a client asks for", () => {
  const query = { groups: 3, flags: 0, deadlineMs: 2_000, domains: undefined };

  it("is read as it was written", () => {
    const since = { epoch: "e1", channel: 4, sequence: 0 };
    const sample = { intervalMs: 1_000, mode: "sample", heartbeatMs: 0 } as const;
    const onChange = { intervalMs: 50, mode: "on-change", heartbeatMs: 10_000 } as const;
    expect(parseClientMessage(watchMessage(7, query, sample, 99, undefined))).toEqual({
      type: "watch",
      id: 7,
      query,
      cadence: sample,
      credit: 99,
      since: undefined,
    });
    const resumed = { type: "watch", id: 7, query, cadence: onChange, credit: 1, since };
    expect(parseClientMessage(watchMessage(7, query, onChange, 1, since))).toEqual(resumed);
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
    ]) {
      expect([members, refusal(members)]).toEqual([members, "invalid-argument"]);
    }
    expect(refusal({}, 1_000)).toBe("watch");
    expect(refusal({}, 1_001)).toBe("invalid-argument");
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
