import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, type SweepSummary } from "../../src/model/record.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";
import type { SyncEvent } from "../../src/model/watch.ts";
import { ChannelEncoder, syncToWire } from "../../src/wire/channel-encoder.ts";
import { RowBatch } from "../../src/wire/columns/row-batch.ts";
import { SentSchemas } from "../../src/wire/columns/schema-slots.ts";
import type { ServerMessage, Welcome } from "../../src/wire/messages.ts";
import { type Profile, profileOf, type WireMessage } from "../../src/wire/profile.ts";
import type { Subprotocol } from "../../src/wire/protocol.ts";
import { parseClientMessage, type RefusedQuery } from "../../src/wire/request.ts";
import { uuidOf } from "../sampling/sample.ts";

/** What the test vectors are made of: the sessions that docs/protocol-vectors.json has, in both profiles. */

const WALL = 1_700_000_000_000;
const STEADY = 86_400_000;

/** One session: what each end sends, in order. Server messages are as the server of this package makes them. */
export interface VectorSession {
  readonly name: string;
  readonly subprotocol: Subprotocol;
  readonly steps: readonly ({ readonly client: object } | { readonly server: WireMessage })[];
}

const DOMAINS = ["web-1", "web-2", "db"].map((name, i) => new Domain(uuidOf(i + 1), name, i + 7, "hv1"));

function record(
  domain: number,
  time: number,
  cpu: bigint,
  more: Partial<ConstructorParameters<typeof DomainStatsRecord>[0]> = {},
  load = domain / 2,
) {
  return new DomainStatsRecord({
    domain: DOMAINS[domain]!,
    params: TypedParams.from([
      ["state.state", "int", 1],
      ["cpu.time", "ullong", cpu],
      ["vm.load", "double", load],
      ["block.0.path", "string", `/var/lib/libvirt/images/${DOMAINS[domain]!.name}.qcow2`],
    ]),
    status: "ok",
    sampledAt: WALL + time,
    steadyAt: STEADY + time,
    tookMs: 0.25,
    index: domain,
    ...more,
  });
}

const SILENT = {
  params: TypedParams.EMPTY,
  status: "failed",
  reason: "timeout",
  missing: ["state", "block"],
  error: new VirstreamError("deadline-exceeded", "no answer", { libvirt: { code: 9, domain: 10 } }),
  tookMs: 2_000,
} as const;

const syncOf = (tick: number, domains: number, overrun = 0): SyncEvent => {
  const summary: SweepSummary = { domains, ok: domains, partial: 0, failed: 0, gone: 0, startedAt: WALL, tookMs: 1.5 };
  return { type: "sync", tick, host: "hv1", overrun, summary };
};

export const WELCOME = {
  type: "welcome",
  epoch: "e1",
  server: "virstream",
  host: "hv1",
  hypervisor: "qemu",
  beatMs: 5_000,
  minIntervalMs: 1_000,
  steadyMs: STEADY,
} as const;

/** Gathers the steps of one session. */
export class Writer {
  readonly steps: ({ client: object } | { server: WireMessage })[] = [];
  readonly profile: Profile;
  #sentSchemas = new SentSchemas();

  constructor(subprotocol: Subprotocol) {
    this.profile = profileOf(subprotocol);
  }

  client(message: object): void {
    this.steps.push({ client: message });
  }

  say(message: ServerMessage): void {
    this.steps.push({ server: this.profile.message(message) });
  }

  /** A query that is not valid, and the error with which the server refuses it. */
  refused(message: object): void {
    this.client(message);
    const { id, error } = parseClientMessage(JSON.stringify(message)) as RefusedQuery;
    this.say({ type: "end", id, error: error.toJSON() });
  }

  greet(more: Pick<Welcome, "groups" | "recorded"> = {}): void {
    this.client({ type: "hello", client: "example 1.0" });
    this.say({ ...WELCOME, ...more });
  }

  reconnect(): void {
    this.#sentSchemas = new SentSchemas();
    this.greet();
  }

  rows({ messages, schemas }: Pick<ReturnType<Profile["rows"]>, "messages" | "schemas">): void {
    for (const { slot, schema } of this.#sentSchemas.missing(schemas)) {
      this.say({ type: "schema", slot, keys: schema!.keys, types: [...schema!.types] });
    }
    for (const server of messages) this.steps.push({ server });
  }

  records(id: number, records: readonly DomainStatsRecord[], numbers?: readonly number[]): void {
    const batch = new RowBatch();
    for (const [row, each] of records.entries()) batch.add(numbers?.[row], each);
    this.rows(this.profile.rows({ id }, batch));
  }
}

function sweep(subprotocol: Subprotocol): VectorSession {
  const writer = new Writer(subprotocol);
  writer.greet();
  writer.client({ type: "get", id: 1 });
  writer.say({ type: "begin", id: 1, domains: 3 });
  writer.records(1, [record(0, 2, 2n ** 64n - 1n), record(1, 3, 5_000_000_000n), record(2, 2_001, 0n, SILENT)]);
  const summary = { domains: 3, ok: 2, partial: 0, failed: 1, gone: 0, startedAt: WALL, tookMs: 2_001.5 };
  writer.say({ type: "end", id: 1, summary });
  return { name: `a sweep, ${subprotocol}`, subprotocol, steps: writer.steps };
}

function refused(subprotocol: Subprotocol): VectorSession {
  const writer = new Writer(subprotocol);
  writer.greet({ groups: ["state", "cpu-total"] });
  writer.refused({ type: "get", id: 1, groups: ["odd"] });
  writer.say({ type: "beat", host: "hv1,hv2" });
  return { name: `a query that is refused, ${subprotocol}`, subprotocol, steps: writer.steps };
}

function selected(subprotocol: Subprotocol): VectorSession {
  const writer = new Writer(subprotocol);
  writer.greet();
  writer.client({ type: "get", id: 1, names: ["web-[0-9]", "db-*"], hosts: ["hv?"] });
  writer.say({ type: "begin", id: 1, domains: 2 });
  writer.records(1, [record(0, 2, 1n), record(1, 3, 2n)]);
  const summary = { domains: 2, ok: 2, partial: 0, failed: 0, gone: 0, startedAt: WALL, tookMs: 4.5 };
  writer.say({ type: "end", id: 1, summary });
  writer.refused({ type: "get", id: 2, names: ["web-["] });
  return { name: `domains that patterns select, ${subprotocol}`, subprotocol, steps: writer.steps };
}

function moment(subprotocol: Subprotocol): VectorSession {
  const writer = new Writer(subprotocol);
  writer.greet({ recorded: { from: WALL - 60_000, to: WALL + 60_000, intervalMs: 1_000 } });
  writer.client({ type: "get", id: 1, at: WALL + 500 });
  writer.say({ type: "begin", id: 1, domains: 2 });
  writer.records(1, [record(0, 2, 1n), record(1, 3, 2n)]);
  const summary = { domains: 2, ok: 2, partial: 0, failed: 0, gone: 0, startedAt: WALL + 3_600_000, tookMs: 4.5 };
  writer.say({ type: "end", id: 1, summary });
  writer.refused({ type: "get", id: 2, at: -1 });
  return { name: `a moment of a recording, ${subprotocol}`, subprotocol, steps: writer.steps };
}

function watch(subprotocol: Subprotocol): VectorSession {
  const writer = new Writer(subprotocol);
  const channel = new ChannelEncoder(5, writer.profile);
  const pass = (message: ReturnType<ChannelEncoder["changes"]>): void => writer.rows(message!);
  writer.greet();
  writer.client({ type: "watch", id: 1, intervalMs: 1_000 });
  const first = [record(0, 0, 1_000_000_000n), record(1, 1, 2_000_000_000n)];
  const begin = { type: "begin", id: 1, channel: 5, resumed: false } as const;
  writer.say({ ...begin, sequence: 0, domains: 2, sync: syncToWire(syncOf(1, 2)), statuses: [], complete: true });
  writer.records(1, first, [0, 1]);
  // Counters that go on, and a domain that is new: in the binary profile differences, and a full row.
  const second = [record(0, 1_000, 1_250_000_000n), record(1, 1_001, 2_000_000_000n), record(2, 1_002, 7n)];
  for (const [number, each] of second.entries()) channel.add(number, each, first[number]);
  pass(channel.changes());
  pass(channel.sync(syncOf(2, 3), true));
  // A domain leaves; another one does not answer; the wall clock was set back by an hour meanwhile.
  channel.gone(1, DOMAINS[1]!);
  const stepped = { sampledAt: WALL + 2_000 - 3_600_000 };
  channel.add(0, record(0, 2_000, 1_500_000_000n, stepped), second[0]);
  channel.add(2, record(2, 2_000, 0n, { ...SILENT, ...stepped }), second[2]);
  pass(channel.changes());
  pass(channel.sync(syncOf(3, 2, 1), true));
  const error = new VirstreamError("connection-lost", "the daemon was stopped");
  pass(channel.status({ type: "status", state: "reconnecting", host: "hv1", error }));
  pass(channel.status({ type: "status", state: "connected", host: "hv1", error: undefined }));
  pass(channel.gap({ type: "gap", reason: "source", skipped: 4, host: "hv1" }));
  // The client was too slow: ticks 4 to 8 are skipped, and the domain that was gone is back by another number.
  const last = [record(0, 9_000, 3_000_000_000n), record(1, 9_001, 1n)];
  writer.say({ ...begin, sequence: 40, domains: 2, sync: syncToWire(syncOf(9, 2)), statuses: [], complete: true });
  writer.records(1, last, [0, 4]);
  writer.client({ type: "cancel", id: 1 });
  writer.say({ type: "end", id: 1 });
  return { name: `a watch, ${subprotocol}`, subprotocol, steps: writer.steps };
}

function resume(): VectorSession {
  const subprotocol = "virstream.v1";
  const writer = new Writer(subprotocol);
  const channel = new ChannelEncoder(5, writer.profile);
  writer.greet();
  const asked = { type: "watch", id: 1, intervalMs: 1_000 };
  writer.client(asked);
  const begin = { type: "begin", id: 1, channel: 5, sequence: 0 } as const;
  writer.say({ ...begin, resumed: false, domains: 0, statuses: [], complete: false });
  const partial = { status: "partial", reason: "timeout", missing: ["block"], error: SILENT.error } as const;
  const first = [record(0, 0, 5n, partial), record(1, 1, 6n)];
  for (const [number, each] of first.entries()) channel.add(number, each, undefined);
  writer.rows(channel.changes()!);
  writer.rows(channel.sync(syncOf(1, 2), true));
  // The connection is lost here. Meanwhile a record is whole again, a double changes, and the wall clock is set by 5 ms.
  const missed = [record(0, 1_000, 300n), record(1, 1_001, 6n, { sampledAt: WALL + 1_006 }, 0.75)];
  for (const [number, each] of missed.entries()) channel.add(number, each, first[number]);
  const kept = [channel.changes()!, channel.sync(syncOf(2, 2), true)];
  writer.reconnect();
  writer.client({ ...asked, since: { epoch: "e1", channel: 5, sequence: 2 } });
  writer.say({ ...begin, sequence: 2, resumed: true });
  for (const message of kept) writer.rows(message);
  return { name: "a watch that is resumed on a new connection", subprotocol, steps: writer.steps };
}

/** Twelve domains with parameters of every type, at a time. Their numbers need columns of every width. */
function many(time: number, differs: (domain: number) => boolean, from = 0): DomainStatsRecord[] {
  return Array.from({ length: 12 }, (_, i) => {
    const more = differs(i) ? time + i : 0;
    // The first one is known by its name only.
    const uuid = i === 0 ? NIL_UUID : uuidOf(100 + i);
    return new DomainStatsRecord({
      domain: new Domain(uuid, `vm-${i}`, i % 2 === 0 ? i + 1 : -1, i < 6 ? "hv1" : "hv2"),
      params: TypedParams.from([
        ["state.state", "int", i % 3 === 0 ? -5 : 1 + more],
        ["vcpu.current", "uint", 4_000_000_000 + i],
        ["balloon.current", "llong", BigInt(i - 6) * 10n ** 12n - BigInt(more)],
        ["cpu.time", "ullong", BigInt(i) * 10n ** 15n + BigInt(more)],
        ["block.0.rd.bytes", "ullong", BigInt(i) * 70_000n],
        ["block.0.wr.bytes", "ullong", BigInt(i) * 9_000_000n],
        ["net.0.rx.bytes", "ullong", BigInt(i) * 2_000_000_000n],
        ["net.0.tx.bytes", "ullong", BigInt(i) * 300_000_000_000n],
        ["vm.load", "double", differs(i) ? i / 4 : -0.5],
        ["vm.ratio", "double", i === 3 ? Number.NaN : Number.POSITIVE_INFINITY],
        ["vcpu.0.halted", "boolean", differs(i)],
        ["block.0.name", "string", i % 2 === 0 ? "vda" : "sdä"],
      ]),
      status: "ok",
      sampledAt: WALL + time + i,
      steadyAt: STEADY + time + i,
      tookMs: i + 0.125,
      index: i < 6 ? i + from : 2 ** 24 + i,
    });
  });
}

function columns(): VectorSession {
  const subprotocol = "virstream.v1";
  const writer = new Writer(subprotocol);
  const channel = new ChannelEncoder(9, writer.profile);
  writer.greet();
  writer.client({ type: "watch", id: 1, intervalMs: 1_000, credit: 1_048_576 });
  const begin = { type: "begin", id: 1, channel: 9, resumed: false, statuses: [], complete: false } as const;
  const first = many(0, () => false);
  writer.say({ ...begin, sequence: 0, domains: 12 });
  writer.records(1, first, [...first.keys()]);
  // Few rows change: sparse columns. A domain more on the host moves the positions of the others.
  const second = many(1_000, (i) => i === 4 || i === 9, 1);
  for (const [number, each] of second.entries()) channel.add(number, each, first[number]);
  writer.rows(channel.changes()!);
  writer.rows(channel.sync(syncOf(1, 12), false));
  // The server has started again for this watch, and does not know all domains yet: two of them do not come again.
  writer.say({ ...begin, sequence: 7, domains: 10, sync: syncToWire(syncOf(1, 12)) });
  writer.records(1, many(2_000, () => true, 1).slice(0, 10), [...second.keys()].slice(0, 10));
  // The numbers of this sync are written in the other ways that msgpack has: int64, uint64, int16, int8, float64 and float32.
  const text = (value: string): number[] => [0xa0 | value.length, ...Buffer.from(value)];
  const summary = [0x87, ...text("domains"), 0xd1, 0, 10, ...text("ok"), 0xd0, 10, ...text("partial"), 0xcc, 0];
  summary.push(...text("failed"), 0xcd, 0, 0, ...text("gone"), 0xce, 0, 0, 0, 0, ...text("startedAt"), 0xcb);
  summary.push(...new Uint8Array(new BigUint64Array([0x4278bcfe56800000n]).buffer).reverse());
  summary.push(...text("tookMs"), 0xca, 0x3f, 0xc0, 0, 0);
  const sync = [0x88, ...text("type"), ...text("sync"), ...text("channel"), 0xd2, 0, 0, 0, 9];
  sync.push(...text("sequence"), 0xcf, 0, 0, 0, 0, 0, 0, 0, 8, ...text("tick"), 0xd3, 0, 0, 0, 0, 0, 0, 0, 2);
  sync.push(...text("host"), 0xd9, 3, ...Buffer.from("hv1"), ...text("overrun"), 0xca, 0, 0, 0, 0);
  sync.push(...text("summary"), ...summary, ...text("complete"), 0xc3);
  writer.steps.push({ server: Uint8Array.from(sync) });
  writer.client({ type: "credit", id: 1, bytes: 4_096 });
  writer.client({ type: "cancel", id: 1 });
  writer.say({ type: "end", id: 1 });
  return { name: "a watch with parameters of every type, in columns of every kind", subprotocol, steps: writer.steps };
}

/** All sessions. */
export const SESSIONS: readonly VectorSession[] = [
  ...(["virstream.v1", "virstream.v1.json"] as const).flatMap((subprotocol) => [
    sweep(subprotocol),
    refused(subprotocol),
    selected(subprotocol),
    moment(subprotocol),
    watch(subprotocol),
  ]),
  resume(),
  columns(),
];
