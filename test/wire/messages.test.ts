import fc from "fast-check";
import { pack, unpack } from "msgpackr";
import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import type { Group } from "../../src/model/group.ts";
import { ParamType, Schema, TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord, RECORD_REASONS, RECORD_STATUSES, type RecordInit } from "../../src/model/record.ts";
import { integerCell, type ParamCell } from "../../src/wire/cells.ts";
import { MessageDecoder, type ServerMessage } from "../../src/wire/message-decoder.ts";
import { MessageEncoder, type WireMessage } from "../../src/wire/message-encoder.ts";
import { MsgpackReader } from "../../src/wire/msgpack-reader.ts";
import { MsgpackWriter } from "../../src/wire/msgpack-writer.ts";
import { LIMITS, MessageType, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { utf8Length } from "../../src/wire/text.ts";
import { cellsOf } from "../model/cells.ts";

const STARTED = 1_700_000_000_000;
const owner = {};

const cellOf = (type: number): fc.Arbitrary<ParamCell> => {
  switch (type) {
    case ParamType.int:
      return fc.integer({ min: -0x80000000, max: 0x7fffffff });
    case ParamType.uint:
      return fc.integer({ min: 0, max: 0xffffffff });
    case ParamType.llong:
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(integerCell);
    case ParamType.ullong:
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(integerCell);
    case ParamType.double:
      // Negative zero is not kept, as the protocol says.
      return fc.double().map((value) => (value === 0 ? 0 : value));
    case ParamType.boolean:
      return fc.boolean();
    default:
      return fc.string({ unit: "binary", maxLength: 300 });
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
        cells: fc.tuple(...[...schema.types].map(cellOf)) as fc.Arbitrary<ParamCell[]>,
        schema: fc.constant(schema),
        uuid: fc.uuid(),
        name: fc.string({ unit: "grapheme", maxLength: 40 }),
        id: fc.integer({ min: -1, max: 100_000 }),
        host: fc.constantFrom("hv1", "hv2", "host with ümlaut"),
        index: fc.nat(2_000_000),
        sampledAt: fc.integer({ min: STARTED - 1_000_000, max: STARTED + 1_000_000 }),
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
        params: TypedParams.of(row.schema, row.cells),
        status: row.status,
        index: row.index,
        sampledAt: row.sampledAt,
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

/** A record as plain data, for comparison by value. */
function plain(record: DomainStatsRecord): unknown {
  const { domain, status, reason, missing, sampledAt, tookMs, index, params, error } = record;
  return {
    domain: { uuid: domain.uuid, name: domain.name, id: domain.id, host: domain.host },
    head: { status, reason, missing: [...missing], sampledAt, tookMs, index },
    keys: params.schema.keys,
    types: [...params.schema.types],
    cells: cellsOf(params),
    error: error && { code: error.code, message: error.message, retryable: error.retryable, libvirt: error.libvirt },
  };
}

function encode(
  encoder: MessageEncoder,
  id: number,
  records: readonly DomainStatsRecord[],
  perFrame = 7,
): { messages: WireMessage[]; credit: number } {
  const messages = [...encoder.sweep(id, STARTED, records.length)];
  const frame = encoder.frame(id, STARTED);
  let credit = 0;
  const flush = (): void => {
    const flushed = encoder.records(frame);
    messages.push(...flushed.messages);
    credit += flushed.credit;
  };
  for (const record of records) {
    if (!frame.fits(record) || frame.rows >= perFrame) flush();
    frame.add(record);
  }
  if (frame.rows > 0) flush();
  return { messages, credit };
}

function decodeAll(decoder: MessageDecoder, messages: readonly WireMessage[]): ServerMessage[] {
  return messages.map((message) => decoder.decode(message));
}

function recordsOf(messages: readonly ServerMessage[]): DomainStatsRecord[] {
  return messages.flatMap((message) => (message.type === "records" ? message.records : []));
}

function errorCodeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof VirstreamError) return error.code;
    throw error;
  }
  return "none";
}

describe.each(SUBPROTOCOLS)("%s", (subprotocol) => {
  it("gives back every record with the same keys, types, values and status", () => {
    fc.assert(
      fc.property(sweep, (records) => {
        const { messages, credit } = encode(new MessageEncoder(subprotocol), 1, records);
        const decoded = decodeAll(new MessageDecoder(owner), messages);
        expect(recordsOf(decoded).map(plain)).toEqual(records.map(plain));
        const bytes = decoded.reduce((sum, message) => sum + (message.type === "records" ? message.bytes : 0), 0);
        expect(bytes).toBe(credit);
      }),
      { numRuns: 200 },
    );
  });

  it("cuts a record larger than a message and joins it again, whatever makes it large", () => {
    const keys = Array.from({ length: 60_000 }, (_, i) => `vm.counter-${i}.sum`);
    const many = TypedParams.of(
      new Schema(keys, new Uint8Array(keys.length).fill(ParamType.ullong)),
      keys.map((_, i) => i * 1_000_003),
    );
    const long = TypedParams.from([["block.0.path", "string", 'päth \u{1f600}\\"'.repeat(100_000)]]);
    for (const params of [many, long]) {
      const record = new DomainStatsRecord({
        domain: new Domain("00000000-0000-4000-8000-000000000001", "huge", 1, "hv1"),
        params,
        status: "ok",
        index: 0,
        sampledAt: STARTED,
        tookMs: 1,
      });
      const { messages } = encode(new MessageEncoder(subprotocol), 1, [record]);
      expect(messages.length).toBeGreaterThan(3);
      for (const message of messages) {
        expect(typeof message === "string" ? utf8Length(message) : message.length).toBeLessThanOrEqual(LIMITS.message);
      }
      const [decoded] = recordsOf(decodeAll(new MessageDecoder(owner), messages));
      expect(plain(decoded!)).toEqual(plain(record));
    }
  });

  it("keeps both ends' windows of schemas alike while thousands of shapes pass", () => {
    const encoder = new MessageEncoder(subprotocol);
    const decoder = new MessageDecoder(owner);
    const records = Array.from({ length: 5_000 }, (_, i) => {
      // Every shape comes again much later, after it has left the window, and some come back soon.
      const shapeNumber = i % 3 === 0 ? i % 50 : i % 2_500;
      return new DomainStatsRecord({
        domain: new Domain("00000000-0000-4000-8000-000000000001", `d${i}`, i, "hv1"),
        params: TypedParams.of(shapes[shapeNumber]!, [i]),
        status: "ok",
        index: i,
        sampledAt: STARTED,
        tookMs: 0,
      });
    });
    const { messages } = encode(encoder, 1, records, 700);
    expect(recordsOf(decodeAll(decoder, messages)).map(plain)).toEqual(records.map(plain));
  });

  it("answers a message that is cut at any place with protocol-error and nothing else", () => {
    fc.assert(
      fc.property(sweep, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (records, where) => {
        const { messages } = encode(new MessageEncoder(subprotocol), 1, records, 1_000);
        const last = messages.pop()!;
        const decoder = new MessageDecoder(owner);
        decodeAll(decoder, messages);
        const end = Math.floor(where * last.length);
        const cut = typeof last === "string" ? last.slice(0, end) : last.subarray(0, end);
        expect(errorCodeOf(() => decoder.decode(cut))).toBe("protocol-error");
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
          const { messages } = encode(new MessageEncoder(subprotocol), 1, records, 1_000);
          const decoder = new MessageDecoder(owner);
          for (const message of messages) {
            const bytes = typeof message === "string" ? Buffer.from(message) : Uint8Array.from(message);
            for (const [at, value] of damage) bytes[at % bytes.length] = value;
            const damaged = typeof message === "string" ? Buffer.from(bytes).toString() : bytes;
            let decoded: ServerMessage;
            try {
              decoded = decoder.decode(damaged);
            } catch (error) {
              expect(error).toBeInstanceOf(VirstreamError);
              expect((error as VirstreamError).code).toBe("protocol-error");
              return;
            }
            if (decoded.type === "records") for (const record of decoded.records) expectDeclaredTypes(record);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("sends of a string only how it goes on from the one before, and of an equal value nothing", () => {
    const schema = new Schema(["block.0.path", "block.0.capacity"], Uint8Array.of(ParamType.string, ParamType.ullong));
    const paths = [
      "/var/lib/images/a.qcow2",
      "/var/lib/images/b.qcow2",
      "/var/lib/images/",
      "/var/lib/images/ü",
      "/var",
      "x",
    ];
    const records = paths.map(
      (path, i) =>
        new DomainStatsRecord({
          domain: new Domain("00000000-0000-4000-8000-000000000001", "web", i, "hv1"),
          params: TypedParams.of(schema, [path, 10]),
          status: "ok",
          index: i,
          sampledAt: STARTED,
          tookMs: 0,
        }),
    );
    const { messages } = encode(new MessageEncoder(subprotocol), 1, records);
    expect(recordsOf(decodeAll(new MessageDecoder(owner), messages)).map(plain)).toEqual(records.map(plain));
    const last = messages.at(-1)!;
    const rows = (typeof last === "string" ? JSON.parse(last) : new MsgpackReader(last).value(9))[2] as unknown[][];
    expect(rows.map((row) => row.slice(9))).toEqual([
      [paths[0], 10],
      [[16, "b.qcow2"], null],
      [[16, ""], null],
      [[16, "ü"], null],
      ["/var", null],
      ["x", null],
    ]);
  });

  it("refuses values that are not of their declared type, a status that is none, and pieces within pieces", () => {
    const row = (type: number, cell: unknown, status: unknown = 0): unknown[] => [
      [MessageType.sweep, 1, STARTED, null],
      [MessageType.host, 0, "hv1"],
      [MessageType.schema, 1, ["key"], [type]],
      [MessageType.records, 1, [[UUID, "web", 1, 0, 0, 1, 0, 0, status, cell]]],
    ];
    const UUID = subprotocol === "virstream.v1" ? new Uint8Array(16) : "00000000-0000-0000-0000-000000000000";
    const write = (message: unknown): WireMessage => {
      if (subprotocol !== "virstream.v1") return JSON.stringify(message);
      const writer = new MsgpackWriter(64);
      writer.value(message as never);
      return writer.take();
    };
    const read = (messages: unknown[]): string =>
      errorCodeOf(() => decodeAll(new MessageDecoder(owner), messages.map(write)));
    expect(read(row(ParamType.uint, 1))).toBe("none");
    for (const [type, cell] of [
      [ParamType.int, 2 ** 31],
      [ParamType.uint, -1],
      [ParamType.llong, 0.5],
      [ParamType.ullong, -5],
      [ParamType.boolean, 1],
      [ParamType.string, 7],
      [ParamType.double, true],
      [ParamType.int, null],
      [ParamType.string, [3, "x"]],
      [ParamType.string, [0]],
      [ParamType.string, [0, "x", "y"]],
    ]) {
      expect([type, cell, read(row(type as number, cell))]).toEqual([type, cell, "protocol-error"]);
    }
    if (subprotocol === "virstream.v1.json") {
      expect(read(row(ParamType.ullong, "99999999999999999999"))).toBe("protocol-error");
    }
    for (const status of [
      4,
      -1,
      ["length", 0, 0, null],
      ["map", 0, 0, null],
      [1, 0, -1, null],
      [1, "x", 0, null],
      [1],
    ]) {
      expect([status, read(row(ParamType.uint, 1, status))]).toEqual([status, "protocol-error"]);
    }
    const inner = write([MessageType.piece, true, write([64])]);
    expect(read([[MessageType.piece, true, inner]])).toBe("protocol-error");
    expect(read([[MessageType.piece, true, write([64])]])).toBe("none");
  });

  it("refuses a server that begins sweeps without end", () => {
    const encoder = new MessageEncoder(subprotocol);
    const decoder = new MessageDecoder(owner);
    const begin = () => {
      for (let id = 1; id <= 70_000; id++) decodeAll(decoder, encoder.sweep(id, STARTED, undefined));
    };
    expect(errorCodeOf(begin)).toBe("protocol-error");
  });

  it("refuses what lies about its size before it makes room for it", () => {
    const decoder = new MessageDecoder(owner);
    if (subprotocol === "virstream.v1") {
      for (const hostile of [
        [0xdd, 0xff, 0xff, 0xff, 0xff],
        [0x92, 0x02, 0xdf, 0xff, 0xff, 0xff, 0xff],
        [0x92, 0x01, 0xdb, 0xff, 0xff, 0xff, 0xff],
        [0x94, 0x02, 0x01, 0xdd, 0x7f, 0xff, 0xff, 0xff],
        Array(5_000).fill(0x91),
        [0xc1],
        [0xd4, 0x00, 0x00],
        [],
      ]) {
        expect(errorCodeOf(() => decoder.decode(Uint8Array.from(hostile)))).toBe("protocol-error");
      }
    } else {
      for (const hostile of ["", "{}", "[", "[5]", "[99e99]", `[1,${"[".repeat(5_000)}${"]".repeat(5_000)}]`]) {
        expect(errorCodeOf(() => decoder.decode(hostile))).toBe("protocol-error");
      }
    }
    const tooLong =
      subprotocol === "virstream.v1" ? new Uint8Array(LIMITS.message + 1) : " ".repeat(LIMITS.message + 1);
    expect(errorCodeOf(() => decoder.decode(tooLong))).toBe("protocol-error");
  });
});

const shapes = Array.from({ length: 2_500 }, (_, i) => new Schema([`key.${i}`], Uint8Array.of(ParamType.ullong)));

function expectDeclaredTypes(record: DomainStatsRecord): void {
  for (const { type, value } of record.params.list()) {
    const expected =
      type === "string" ? "string" : type === "boolean" ? "boolean" : type.endsWith("llong") ? "bigint" : "number";
    expect(typeof value).toBe(expected);
  }
}

describe("the msgpack codec", () => {
  const value: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constant(null),
      fc.boolean(),
      fc.double({ noNaN: true }).map((number) => (number === 0 ? 0 : number)),
      fc.maxSafeInteger(),
      fc.string({ unit: "binary", maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(tie("value"), { maxLength: 20 }),
      fc.dictionary(
        fc.string({ maxLength: 8 }).filter((key) => key !== "__proto__"),
        tie("value"),
        { maxKeys: 20, noNullPrototype: true },
      ),
    ),
  }))["value"]!;

  it("writes what another msgpack implementation reads, and reads what that one writes", () => {
    fc.assert(
      fc.property(value, (given) => {
        const writer = new MsgpackWriter(16);
        writer.value(given as never);
        const normal = (read: unknown): unknown => JSON.parse(JSON.stringify(read, plainBytes));
        const ours = writer.take();
        expect(normal(unpack(ours))).toEqual(normal(given));
        expect(normal(new MsgpackReader(pack(given)).value(100))).toEqual(normal(given));
        expect(normal(new MsgpackReader(ours).value(100))).toEqual(normal(given));
      }),
      { numRuns: 500 },
    );
  });

  it("carries every integer of 64 bits exactly, in its shortest form", () => {
    const sizes: [bigint, number][] = [
      [0n, 1],
      [127n, 1],
      [128n, 2],
      [255n, 2],
      [256n, 3],
      [65_535n, 3],
      [65_536n, 5],
      [4_294_967_295n, 5],
      [4_294_967_296n, 9],
      [2n ** 53n - 1n, 9],
      [2n ** 53n, 9],
      [2n ** 64n - 1n, 9],
      [-1n, 1],
      [-32n, 1],
      [-33n, 2],
      [-128n, 2],
      [-129n, 3],
      [-32_768n, 3],
      [-32_769n, 5],
      [-2_147_483_648n, 5],
      [-2_147_483_649n, 9],
      [-(2n ** 53n), 9],
      [-(2n ** 63n), 9],
    ];
    for (const [integer, size] of sizes) {
      const writer = new MsgpackWriter(16);
      writer.cells([integerCell(integer)], undefined);
      const bytes = writer.take();
      expect([integer, bytes.length]).toEqual([integer, size]);
      const type = Uint8Array.of(integer < 0n ? ParamType.llong : ParamType.ullong);
      expect(new MsgpackReader(bytes).cells(type, undefined)).toEqual([integerCell(integer)]);
    }
  });
});

function plainBytes(this: unknown, _key: string, value: unknown): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value !== null && typeof value === "object" && (value as { type?: unknown }).type === "Buffer") {
    return { bytes: (value as unknown as { data: number[] }).data };
  }
  if (value instanceof Uint8Array) return { bytes: [...value] };
  return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
}
