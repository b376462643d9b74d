/** @module-tag any-node */

import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import type { Group } from "../../src/model/group.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import {
  Domain,
  DomainStatsRecord,
  plainRecord,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordInit,
} from "../../src/model/record.ts";
import { ParamType, Schema } from "../../src/model/schema.ts";
import { RowBatch } from "../../src/wire/columns/row-batch.ts";
import { type DecodedMessage, MessageDecoder } from "../../src/wire/message-decoder.ts";
import { pack } from "../../src/wire/pack.ts";
import { profileOf } from "../../src/wire/profile.ts";
import { LIMITS } from "../../src/wire/protocol.ts";
import { ServerClock } from "../../src/wire/server-clock.ts";
import { uuidOf } from "../sampling/sample.ts";
import { codeOf, decoderOf, expectDeclaredTypes } from "./decoding.ts";
import { ServerEnd } from "./server-end.ts";

// Thousands of random sweeps, and records of hundreds of thousands of parameters: on a loaded machine they take their time.
vi.setConfig({ testTimeout: 180_000 });

const STARTED = 1_700_000_000_000;
const owner = {};

const valueOfType = (type: number): fc.Arbitrary<ParamValue> => {
  switch (type) {
    case ParamType.int:
      return fc.integer({ min: -0x80000000, max: 0x7fffffff });
    case ParamType.uint:
      return fc.integer({ min: 0, max: 0xffffffff });
    case ParamType.llong:
      return fc.oneof(
        fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
        fc.bigInt({ min: -(2n ** 40n), max: 2n ** 40n }),
        fc.constantFrom(2n ** 53n, -(2n ** 53n), 2n ** 53n - 1n, -(2n ** 53n) + 1n),
      );
    case ParamType.ullong:
      return fc.oneof(
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.bigInt({ min: 0n, max: 2n ** 40n }),
        fc.constantFrom(2n ** 53n, 2n ** 53n - 1n),
      );
    case ParamType.double:
      return fc.double();
    case ParamType.boolean:
      return fc.boolean();
    default:
      return fc.oneof(
        fc.string({ unit: "binary", maxLength: 300 }),
        fc.string({ unit: "grapheme", maxLength: 9 }).map((middle) => `/var/lib/libvirt/images/${middle}-disk.qcow2`),
      );
  }
};

const shape = fc.array(fc.tuple(fc.string({ minLength: 1, maxLength: 12 }), fc.integer({ min: 1, max: 7 })), {
  maxLength: 12,
});

/** A few schemas, and rows that refer to them in any order, so that schemas repeat and alternate. */
const sweep = fc
  .array(shape, { minLength: 1, maxLength: 4 })
  .chain((shapes) => {
    const schemas = shapes.map(
      (keys) =>
        new Schema(
          keys.map(([key]) => key),
          Uint8Array.from(keys, ([, type]) => type),
        ),
    );
    const row = fc.nat(schemas.length - 1).chain((i) => {
      const schema = schemas[i]!;
      return fc.record({
        values: fc.tuple(...[...schema.types].map(valueOfType)) as fc.Arbitrary<ParamValue[]>,
        schema: fc.constant(schema),
        uuid: fc.uuid(),
        name: fc.string({ unit: "grapheme", maxLength: 40 }),
        id: fc.integer({ min: -1, max: 100_000 }),
        host: fc.constantFrom("hv1", "hv2", "host with ümlaut"),
        index: fc.nat(2_000_000),
        sampledAt: fc.integer({ min: STARTED - 1_000_000, max: STARTED + 1_000_000 }),
        steadyAt: fc.integer({ min: 0, max: 2_000_000 }),
        tookMicros: fc.nat(100_000_000),
        status: fc.constantFrom(...RECORD_STATUSES),
        reason: fc.option(fc.constantFrom(...RECORD_REASONS), { nil: undefined }),
        missing: fc.subarray<Group>(["state", "block", "vm", "group-31"]),
        failed: fc.boolean(),
      });
    });
    return fc.array(row, { minLength: 1, maxLength: 30 });
  })
  .map((rows) =>
    rows.map((row) => {
      const bad = row.status !== "ok";
      const init: RecordInit = {
        domain: new Domain(row.uuid, row.name, row.id, row.host),
        params: TypedParams.of(row.schema, row.values),
        status: row.status,
        index: row.index,
        sampledAt: row.sampledAt,
        steadyAt: row.steadyAt,
        tookMs: row.tookMicros / 1000,
        reason: bad ? row.reason : undefined,
        missing: bad ? row.missing : [],
        error:
          bad && row.failed
            ? new VirstreamError("hypervisor-error", "it said no", { libvirt: { code: 38, domain: 10 } })
            : undefined,
      };
      return new DomainStatsRecord(init);
    }),
  );

/** A record as plain data, for comparison by value. Text is as a strict decoder takes it. */
function plain(record: DomainStatsRecord): unknown {
  const { domain, status, reason, missing, sampledAt, steadyAt, tookMs, index, params, error } = record;
  return {
    domain: { uuid: domain.uuid, name: wellFormed(domain.name), id: domain.id, host: domain.host },
    head: { status, reason, missing: [...missing], sampledAt, steadyAt, tookMs, index },
    params: [...params.list()].map(({ key, type, value }) => [
      wellFormed(key),
      type,
      typeof value === "string" ? wellFormed(value) : value,
    ]),
    error: error && { code: error.code, message: error.message, retryable: error.retryable, libvirt: error.libvirt },
  };
}

function wellFormed(text: string): string {
  return Buffer.from(text).toString();
}

/** The records in the order of their places, as rows of several schemas change theirs in a message. */
function inOrder(records: readonly DomainStatsRecord[]): unknown[] {
  return records
    .map(plain)
    .map((record) => JSON.stringify(record, (_, value) => (typeof value === "bigint" ? `${value}n` : special(value))))
    .sort();
}

function special(value: unknown): unknown {
  if (Object.is(value, -0)) return "-0";
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}

function encode(
  end: ServerEnd,
  id: number,
  records: readonly DomainStatsRecord[],
  perMessage = 7,
): { messages: Uint8Array[]; bytes: number } {
  const messages = end.say({ type: "begin", id, domains: records.length });
  let bytes = 0;
  for (let at = 0; at < records.length; at += perMessage) {
    const rows = end.rows(id, records.slice(at, at + perMessage));
    messages.push(...rows.messages);
    bytes += rows.bytes;
  }
  return { messages, bytes };
}

function decodeAll(reader: MessageDecoder, messages: readonly Uint8Array[]): DecodedMessage[] {
  return messages.map((message) => reader.decode(message));
}

function recordsOf(messages: readonly DecodedMessage[]): DomainStatsRecord[] {
  return messages.flatMap((message) => (message.type === "records" ? message.records : []));
}

function record(params: TypedParams, index = 0): DomainStatsRecord {
  const uuid = uuidOf(index);
  const domain = new Domain(uuid, `d${index}`, index, "hv1");
  return new DomainStatsRecord({ domain, params, status: "ok", index, sampledAt: STARTED, steadyAt: 5, tookMs: 1 });
}

describe("the binary profile", () => {
  it("gives back every record with the same keys, types, values, times and status", () => {
    fc.assert(
      fc.property(sweep, (records) => {
        const { messages, bytes } = encode(new ServerEnd(), 1, records);
        const decoded = decodeAll(decoderOf(), messages);
        expect(inOrder(recordsOf(decoded))).toEqual(inOrder(records));
        const counted = decoded.reduce((sum, message) => sum + (message.type === "records" ? message.bytes : 0), 0);
        expect(counted).toBe(bytes);
      }),
      { numRuns: 200 },
    );
  });

  it("carries a column of any width exactly, at its bounds", () => {
    const schema = new Schema(["a"], Uint8Array.of(ParamType.llong));
    const rows = 20;
    for (let bits = 0; bits <= 53; bits++) {
      const span = bits === 53 ? 2 ** 53 - 1 : 2 ** bits;
      for (const least of [0, -5, -(2 ** 53) + 1]) {
        for (const offset of [span - 1, span]) {
          const values = Array.from({ length: rows }, (_, i) => least + (i === 7 ? offset : i === 9 ? 1 : 0));
          const records = values.map((value, i) => record(TypedParams.of(schema, [value]), i));
          const decoded = recordsOf(decodeAll(decoderOf(), encode(new ServerEnd(), 1, records, rows).messages));
          expect(decoded.map(({ params }) => Number(params.getUnknown("a")))).toEqual(values);
        }
      }
    }
  });

  it("carries a record of 200,000 parameters in one message", () => {
    const keys = Array.from({ length: 200_000 }, (_, i) => `vm.counter-${i}.sum`);
    const many = TypedParams.of(
      new Schema(keys, new Uint8Array(keys.length).fill(ParamType.ullong)),
      keys.map((_, i) => i * 1_000_003),
    );
    const long = TypedParams.from([["block.0.path", "string", 'päth \u{1f600}\\"'.repeat(100_000)]]);
    for (const params of [many, long]) {
      const { messages } = encode(new ServerEnd(), 1, [record(params)]);
      const [decoded] = recordsOf(decodeAll(decoderOf(), messages));
      expect(inOrder([decoded!])).toEqual(inOrder([record(params)]));
    }
  });

  it("replaces a record that is larger than a message by a failed one, and sends the others", () => {
    const huge = TypedParams.from([["block.0.path", "string", "x".repeat(LIMITS.message)]]);
    const small = TypedParams.from([["cpu.time", "ullong", 5n]]);
    const given = [record(small, 0), record(huge, 1), record(small, 2)];
    const { messages } = encode(new ServerEnd(), 1, given);
    const decoded = recordsOf(decodeAll(decoderOf(), messages)).sort((a, b) => a.index - b.index);
    expect(decoded.map(({ domain, status, error }) => [domain.name, status, error?.code])).toEqual([
      ["d0", "ok", undefined],
      ["d1", "failed", "message-too-big"],
      ["d2", "ok", undefined],
    ]);
  });

  it("replaces a record that has no room in a message beside others by a failed one, and sends the others", () => {
    const text = (length: number) => TypedParams.from([["block.0.path", "string", "x".repeat(length)]]);
    const given = [record(text(10_000), 0), record(text(LIMITS.message - 5_000), 1), record(text(10_001), 2)];
    const outcomes = (records: readonly DomainStatsRecord[]) =>
      records.map(({ domain, status, error }) => [domain.name, status, error?.code]).sort();
    const { messages } = encode(new ServerEnd(), 1, given);
    expect(outcomes(recordsOf(decodeAll(decoderOf(), messages)))).toEqual([
      ["d0", "ok", undefined],
      ["d1", "failed", "message-too-big"],
      ["d2", "ok", undefined],
    ]);
    const alone = encode(new ServerEnd(), 1, given, 1).messages;
    expect(outcomes(recordsOf(decodeAll(decoderOf(), alone)))[1]).toEqual(["d1", "ok", undefined]);
  });

  it("replaces a record of a domain whose uuid is none by a failed one that says so", () => {
    const domain = new Domain("not-a-uuid", "odd", 1, "hv1");
    const params = TypedParams.from([["cpu.time", "ullong", 5n]]);
    const odd = new DomainStatsRecord({ domain, params, status: "ok", index: 0, sampledAt: STARTED, tookMs: 1 });
    const decoded = recordsOf(decodeAll(decoderOf(), encode(new ServerEnd(), 1, [odd, record(params, 1)]).messages));
    expect(decoded.map(({ domain: { name }, status }) => [name, status]).sort()).toEqual([
      ["d1", "ok"],
      ["odd", "failed"],
    ]);
  });

  it("defines a schema again when another one took its slot, while thousands of shapes pass", () => {
    const shapes = Array.from({ length: 2_500 }, (_, i) => new Schema([`key.${i}`], Uint8Array.of(ParamType.ullong)));
    const records = Array.from({ length: 5_000 }, (_, i) => {
      // Every shape comes again much later, after it has lost its slot, and some come back soon.
      const shapeNumber = i % 3 === 0 ? i % 50 : i % 2_500;
      return record(TypedParams.of(shapes[shapeNumber]!, [i]), i);
    });
    const { messages } = encode(new ServerEnd(), 1, records, 100);
    expect(inOrder(recordsOf(decodeAll(decoderOf(), messages)))).toEqual(inOrder(records));
  });

  it("keeps the keys of a connection's schemas below their bound by emptying slots", () => {
    const end = new ServerEnd();
    const reader = decoderOf();
    for (let i = 0; i < 8; i++) {
      const keys = Array.from({ length: 300_000 }, (_, k) => `s${i}.k${k}`);
      const params = TypedParams.of(
        new Schema(keys, new Uint8Array(keys.length).fill(1)),
        new Array<number>(keys.length).fill(i),
      );
      // The decoder refuses more than the bound; it does not have to.
      const [decoded] = recordsOf(decodeAll(reader, end.rows(1, [record(params, i)]).messages));
      expect(decoded!.params.getUnknown(`s${i}.k299999`)).toBe(i);
    }
  });

  it("refuses schemas whose keys are too long together, although each message is small and each slot is valid", () => {
    const reader = decoderOf();
    let characters = 0;
    const define = (slot: number) => {
      const keys = Array.from({ length: 100 }, (_, i) => `${i}.${"k".repeat(10_000)}`);
      reader.decode(pack({ type: "schema", slot, keys, types: keys.map(() => 1) }));
      characters += keys.join("").length;
    };
    expect(codeOf(() => Array.from({ length: LIMITS.slots }, (_, slot) => define(slot)))).toBe("protocol-error");
    expect(characters).toBeLessThanOrEqual(LIMITS.schemaSize);
  });

  it("sends a schema once to each connection of a view, and gives all of them the same bytes", () => {
    const profile = profileOf("virstream.v1");
    const [one, other] = [new ServerEnd(profile), new ServerEnd(profile)];
    const params = TypedParams.from([["cpu.time", "ullong", 5n]]);
    const first = one.rows(1, [record(params)]).messages;
    expect(first).toHaveLength(2);
    expect(one.rows(1, [record(params)]).messages).toEqual([first[1]]);
    expect(other.rows(1, [record(params)]).messages).toEqual(first);
  });

  it("answers a message that is cut at any place with protocol-error and nothing else", () => {
    fc.assert(
      fc.property(sweep, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (records, where) => {
        const { messages } = encode(new ServerEnd(), 1, records, 1_000);
        const last = messages.pop()!;
        const reader = decoderOf();
        decodeAll(reader, messages);
        expect(codeOf(() => reader.decode(last.subarray(0, Math.floor(where * last.length))))).toBe("protocol-error");
      }),
      { numRuns: 200 },
    );
  });

  it("answers damaged bytes with records of the declared types or with protocol-error", () => {
    fc.assert(
      fc.property(
        sweep,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (records, damage) => {
          const { messages } = encode(new ServerEnd(), 1, records, 1_000);
          const reader = decoderOf();
          for (const message of messages) {
            const bytes = Uint8Array.from(message);
            for (const [at, value] of damage) bytes[at % bytes.length] = value;
            let decoded: DecodedMessage;
            try {
              decoded = reader.decode(bytes);
            } catch (error) {
              expect((error as VirstreamError).code).toBe("protocol-error");
              return;
            }
            if (decoded.type === "records") for (const each of decoded.records) expectDeclaredTypes(each.params);
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it("refuses values that are not of their declared type, and parts of a block that do not fit", () => {
    const block = (type: number, changes: Record<number, unknown> = {}): unknown[] => {
      const text = type === ParamType.string;
      const full: unknown[] = [
        3,
        2,
        new Uint8Array(32),
        Uint8Array.of(text ? 0 : 0x40),
        text ? new Uint8Array(0) : Uint8Array.of(1),
        text ? [] : [0],
        text ? new Uint8Array(0) : Uint8Array.of(0, 1),
        text ? ["web", "hv1", ["", "", ["a", "b"]]] : ["web", "hv1"],
        [],
        [],
      ];
      for (const [item, value] of Object.entries(changes)) full[Number(item)] = value;
      return full;
    };
    const read = (type: number, changes?: Record<number, unknown>, message: object = {}): string =>
      codeOf(() =>
        decodeAll(
          decoderOf(),
          [
            { type: "schema", slot: 3, keys: ["key"], types: [type] },
            { type: "records", id: 1, at: [STARTED, 0], blocks: [block(type, changes)], ...message },
          ].map(pack),
        ),
      );
    for (let type = 1; type <= 7; type++) expect([type, read(type)]).toEqual([type, "none"]);
    const float = (value: number): Record<number, unknown> => {
      const body = new Uint8Array(16);
      new DataView(body.buffer).setFloat64(8, value, true);
      return { 4: Uint8Array.of(8), 5: [0], 6: body };
    };
    expect(read(ParamType.double, float(Number.NaN))).toBe("none");
    expect(read(ParamType.ullong, float(2 ** 53 - 1))).toBe("none");
    const refused: [type: number, changes: Record<number, unknown>][] = [
      [ParamType.int, { 4: Uint8Array.of(0), 5: [2 ** 31], 6: new Uint8Array(0) }],
      [ParamType.int, { 5: [2 ** 31 - 1] }],
      [ParamType.uint, { 5: [-1] }],
      [ParamType.llong, { 5: [0.5] }],
      [ParamType.ullong, { 5: [-5] }],
      [ParamType.ullong, float(2 ** 53)],
      [ParamType.ullong, float(Number.NaN)],
      [ParamType.boolean, { 5: [1] }],
      [ParamType.int, { 5: ["1"] }],
      [ParamType.int, { 5: [null] }],
      [ParamType.int, { 5: [] }],
      [ParamType.int, { 5: [0, 0] }],
      [ParamType.int, { 0: "3" }],
      [ParamType.int, { 0: 3, 1: 0 }],
      [ParamType.int, { 1: 3 }],
      [ParamType.int, { 1: "2" }],
      [ParamType.int, { 2: new Uint8Array(31) }],
      [ParamType.int, { 2: "uuid" }],
      [ParamType.int, { 3: Uint8Array.of(0x40, 0) }],
      [ParamType.int, { 3: Uint8Array.of(0) }],
      [ParamType.int, { 3: [1] }],
      [ParamType.int, { 4: Uint8Array.of(9) }],
      [ParamType.int, { 4: Uint8Array.of(2) }],
      [ParamType.int, { 4: Uint8Array.of(0) }],
      [ParamType.int, { 4: Uint8Array.of(32) }],
      [ParamType.int, { 6: Uint8Array.of(0, 1, 2) }],
      [ParamType.int, { 6: "body" }],
      [ParamType.int, { 7: ["web"] }],
      [ParamType.int, { 7: ["web", 5] }],
      [ParamType.int, { 7: ["web", ["", "", ["a"]]] }],
      [ParamType.int, { 7: ["web", ["", "", ["a", 5]]] }],
      [ParamType.string, { 7: ["web", "hv1"] }],
      [ParamType.string, { 3: Uint8Array.of(0x40), 4: Uint8Array.of(0), 5: [1] }],
      [ParamType.int, { 8: [[0, 0, 2n ** 60n]] }],
      [ParamType.ullong, { 8: [[2, 0, 2n ** 60n]] }],
      [ParamType.ullong, { 8: [[0, 1, 2n ** 60n]] }],
      [ParamType.ullong, { 8: [[0, 0, -(2n ** 60n)]] }],
      [ParamType.ullong, { 8: [[0, 0]] }],
      [ParamType.int, { 9: [[2, { status: "partial" }]] }],
      [ParamType.int, { 9: [[0, { status: "odd" }]] }],
      [ParamType.int, { 9: [[0, { status: "ok" }]] }],
      [ParamType.int, { 9: [[0, { status: "partial", missing: [5] }]] }],
      [ParamType.int, { 9: [[0, { status: "failed", error: { code: 5 } }]] }],
      [ParamType.int, { 9: null }],
    ];
    for (const [type, changes] of refused)
      expect([type, changes, read(type, changes)]).toEqual([type, changes, "protocol-error"]);
    expect(read(ParamType.ullong, { 8: [[1, 0, 2n ** 64n - 1n]] })).toBe("none");
    // A reader of msgpack that gives 2^53 as a number has still read it exactly.
    expect(read(ParamType.ullong, { 8: [[1, 0, 2 ** 53]] })).toBe("none");
    for (const message of [
      { at: [STARTED] },
      { at: [0.5, 0] },
      { at: null },
      { blocks: {} },
      { blocks: [[]] },
      { id: -1 },
    ]) {
      expect([message, read(ParamType.int, {}, message)]).toEqual([message, "protocol-error"]);
    }
  });

  it("refuses schemas that are none", () => {
    const define = (message: object): string =>
      codeOf(() => decoderOf().decode(pack({ type: "schema", slot: 0, keys: ["a"], types: [1], ...message })));
    expect(define({})).toBe("none");
    for (const message of [
      { slot: 1_024 },
      { slot: -1 },
      { keys: [5] },
      { keys: "a" },
      { types: [0] },
      { types: [8] },
      { types: [1, 1] },
      { types: [1.5] },
    ]) {
      expect([message, define(message)]).toEqual([message, "protocol-error"]);
    }
  });

  it("ignores messages and members that it does not know, and takes a reason that it does not know for an error", () => {
    const reader = decoderOf();
    expect(reader.decode(pack({ type: "novelty", what: 1 })).type).toBe("none");
    expect(reader.decode(pack({ type: "beat", extra: [1, 2] }))).toEqual({ type: "beat", host: undefined });
    const row = [0, 1, new Uint8Array(16), Uint8Array.of(0), new Uint8Array(0), [], new Uint8Array(0), ["a", "h"], []];
    const block = [...row, [[0, { status: "partial", reason: "novel", missing: [], more: 1 }]], "more"];
    const decoded = reader.decode(pack({ type: "records", id: 1, at: [0, 0], blocks: [block], more: true }));
    expect(recordsOf([decoded])[0]).toMatchObject({ status: "partial", reason: "error" });
  });

  it("puts the server's steady times onto the client's clock, by one distance for each start of the server", () => {
    let now = 1_000;
    const clock = new ServerClock(() => now);
    const welcome = { server: "s", host: "h", hypervisor: "q", beatMs: 5_000, minIntervalMs: 10 };
    const steadyOf = (epoch: string, steadyMs: number): number => {
      const reader = new MessageDecoder(owner, clock);
      reader.decode(pack({ type: "welcome", ...welcome, epoch, steadyMs }));
      const rows = new ServerEnd().rows(1, [record(TypedParams.EMPTY)]).messages;
      return recordsOf(decodeAll(reader, rows))[0]!.steadyAt;
    };
    // The record was sampled at 5 on the server's clock.
    expect(steadyOf("e1", 400)).toBe(605);
    now = 9_000;
    // A connection that is made again, over a slower way: the distance stays.
    expect(steadyOf("e1", 8_000)).toBe(605);
    expect(steadyOf("e2", 0)).toBe(9_005);
  });
});

describe("the JSON profile", () => {
  it("has each record as an object, in a message of its own, with exact integers", () => {
    fc.assert(
      fc.property(sweep, (records) => {
        const batch = new RowBatch();
        for (const each of records) batch.add(undefined, each);
        const { messages, bytes, schemas } = profileOf("virstream.v1.json").rows({ id: 4 }, batch);
        expect(schemas).toEqual([]);
        expect(bytes).toBe(messages.reduce((sum, message) => sum + Buffer.byteLength(message as string), 0));
        const read = messages.map((message) => JSON.parse(message as string));
        for (const message of read) expect([message.type, message.id]).toEqual(["record", 4]);
        const order = (all: unknown[]): string[] => all.map((each) => JSON.stringify(each)).sort();
        expect(order(read.map((message) => message.record))).toEqual(order(records.map(plainRecord)));
      }),
      { numRuns: 100 },
    );
    const params = TypedParams.from([
      ["big", "ullong", 2n ** 64n - 1n],
      ["small", "llong", -5n],
      ["nan", "double", Number.NaN],
    ]);
    const batch = new RowBatch();
    batch.add(undefined, record(params));
    const [message] = profileOf("virstream.v1.json").rows({ id: 1 }, batch).messages;
    expect(JSON.parse(message as string).record.params).toEqual({ big: "18446744073709551615", small: -5, nan: "NaN" });
  });
});
