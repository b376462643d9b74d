import fc from "fast-check";
import { addExtension, Packr } from "msgpackr";
import { afterEach, describe, expect, it, vi } from "vitest";
import { pack } from "../../src/wire/pack.ts";
import { LIMITS } from "../../src/wire/protocol.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { codeOf, decoderOf } from "./decoding.ts";

/**
 * What hostile bytes do to a general msgpack library: it builds objects of classes, compiles functions, or is busy for
 * minutes. None of that may happen to a client of a hostile server. Its own reader refuses what would take long by counts: of
 * values, of bytes that are left, of levels.
 */

afterEach(() => {
  vi.unstubAllGlobals();
});

const decode = (bytes: Uint8Array): string => codeOf(() => decoderOf().decode(bytes));

/** A map of two members: the type of a beat, and `x`. */
const BEAT = [0x82, 0xa4, ...Buffer.from("type"), 0xa4, ...Buffer.from("beat"), 0xa1, 0x78];

/** A message with these bytes as the value of a member that a client does not know. */
function carrying(...value: number[]): Uint8Array {
  return Uint8Array.from([...BEAT, ...value]);
}

function filled(head: readonly number[], byte: number, length: number): Uint8Array {
  const bytes = new Uint8Array(head.length + length).fill(byte, head.length);
  bytes.set(head);
  return bytes;
}

describe("a client", () => {
  it("reads a message with a member that it does not know, which the cases below have", () => {
    expect(decode(carrying(0x01))).toBe("none");
  });

  it("refuses dates, errors, regular expressions, sets, typed arrays, big integers, bundled strings, and the byte c1", () => {
    const everything = new Packr({ moreTypes: true, structuredClone: true });
    for (const value of [new Date(5), new Error("x"), /x/g, new Set([1]), new Float64Array([1, 2]), 2n ** 70n]) {
      const bytes = everything.pack([value]);
      expect(decode(carrying(...bytes))).toBe("protocol-error");
    }
    for (let type = 0; type < 256; type++) {
      expect(decode(carrying(0xd4, type, 0))).toBe("protocol-error");
      expect(decode(carrying(0xc7, 1, type, 0))).toBe("protocol-error");
    }
    expect(decode(carrying(0xc1))).toBe("protocol-error");
  });

  it("refuses a definition of a record structure and reads of it, and compiles no function", () => {
    const compile = vi.fn();
    vi.stubGlobal("Function", compile);
    const definition = [0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01];
    expect(decode(carrying(0x94, ...definition, 0x40, 0x01, 0x40, 0x02, 0x40, 0x03))).toBe("protocol-error");
    expect(compile).not.toHaveBeenCalled();
  });

  it("takes a key __proto__ for a key like any other", () => {
    const key = [...Buffer.from("__proto__")];
    const message = carrying(0x81, 0xa9, ...key, 0x81, 0xa5, ...Buffer.from("admin"), 0xc3);
    expect(decode(message)).toBe("none");
    expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
    expect((unpack(message) as { x: Record<string, unknown> }).x["admin"]).toBeUndefined();
  });

  it("refuses an extension that the application registered with the same library", () => {
    const read = vi.fn();
    addExtension({ type: 0x2a, read });
    expect(decode(carrying(0xd4, 0x2a, 0x00))).toBe("protocol-error");
    expect(read).not.toHaveBeenCalled();
  });

  it("refuses references to parts of the same message", () => {
    // Each level holds the one before it twice: 30 levels stand for a thousand million values.
    const levels = Array.from({ length: 30 }, (_, i) => [
      ...[0xd6, 0x69, 0, 0, 0, i + 1, 0x92],
      ...[0xd6, 0x70, 0, 0, 0, i],
      ...[0xd6, 0x70, 0, 0, 0, i],
    ]);
    expect(decode(carrying(0xdc, 0, 30, ...levels.flat()))).toBe("protocol-error");
    expect(decode(carrying(0xd6, 0x69, 0, 0, 0, 1, 0x01, 0x00))).toBe("protocol-error");
  });

  it.each([
    ["an array", 0xdd],
    ["a map", 0xdf],
    ["bytes", 0xc6],
    ["a text", 0xdb],
  ])("refuses %s of four thousand million parts of which none is there", (_, head) => {
    expect(decode(Uint8Array.of(head, 0xff, 0xff, 0xff, 0xff))).toBe("protocol-error");
    expect(decode(carrying(head, 0xff, 0xff, 0xff, 0xff))).toBe("protocol-error");
  });

  it("refuses arrays within arrays, however they are written", () => {
    expect(decode(Uint8Array.from(Array.from({ length: 87_000 }, () => [0xdc, 0xff, 0xff]).flat()))).toBe(
      "protocol-error",
    );
    expect(decode(new Uint8Array(262_144).fill(0x91))).toBe("protocol-error");
    const nested = (depth: number): Uint8Array => carrying(...new Array<number>(depth - 1).fill(0x91), 0x01);
    expect(decode(nested(LIMITS.depth))).toBe("none");
    expect(decode(nested(LIMITS.depth + 1))).toBe("protocol-error");
  });

  it.each([262_144, 16_777_216, 134_217_728])("refuses %i bytes of empty maps", (length) => {
    const head = [0xdd, ...new Uint8Array(Uint32Array.of(length).buffer).reverse()];
    expect(decode(filled(head, 0x80, length))).toBe("protocol-error");
  });

  it("refuses a large array and one byte more than it", () => {
    const length = 4_194_304;
    const head = [0xdd, ...new Uint8Array(Uint32Array.of(length).buffer).reverse()];
    expect(decode(filled(head, 0x01, length + 1))).toBe("protocol-error");
    // The map, its keys, the type and the array itself are five values more.
    const values = LIMITS.values - 5;
    const allowed = [...BEAT, 0xdd];
    const size = [...new Uint8Array(Uint32Array.of(values).buffer).reverse()];
    expect(decode(filled([...allowed, ...size], 0x01, values))).toBe("none");
    expect(decode(filled([...allowed, ...size], 0x01, values + 1))).toBe("protocol-error");
  });

  it("allocates no more items than a message may have values, however many its arrays within each other say", () => {
    const bytes = new Uint8Array(4_194_304).fill(0x01);
    const view = new DataView(bytes.buffer);
    for (let level = 0; level < LIMITS.depth; level++) {
      view.setUint8(5 * level, 0xdd);
      view.setUint32(5 * level + 1, bytes.length - 5 * (level + 1));
    }
    let items = 0;
    const construct = (target: ArrayConstructor, [size]: [number]): unknown[] => {
      items += size;
      return new target(size);
    };
    vi.stubGlobal("Array", new Proxy(Array, { construct }));
    expect(codeOf(() => unpack(bytes))).toBe("protocol-error");
    expect(items).toBeLessThanOrEqual(LIMITS.values);
  });

  it("refuses an integer of 256 KiB", () => {
    expect(decode(filled([0xc9, 0, 4, 0, 0, 0x42], 0xff, 262_144))).toBe("protocol-error");
  });

  it("refuses a map whose keys are not text, and anything after the message", () => {
    expect(decode(carrying(0x81, 0x01, 0x01))).toBe("protocol-error");
    expect(decode(Uint8Array.from([...pack({ type: "beat" }), 0x00]))).toBe("protocol-error");
    expect(decode(new Uint8Array(0))).toBe("protocol-error");
    for (const value of [null, 5, "beat", [], [1], { type: 5 }, {}]) expect(decode(pack(value))).toBe("protocol-error");
  });

  it("refuses, or reads, valid messages with any of their bytes changed, and does nothing else", () => {
    const valid = [
      pack({ type: "schema", slot: 3, keys: ["cpu.time", "block.0.path"], types: [4, 7] }),
      pack({
        type: "records",
        id: 1,
        at: [1_700_000_000_000, 5],
        blocks: [
          [0, 1, new Uint8Array(16), new Uint8Array(1), new Uint8Array(0), [], new Uint8Array(0), ["a", "h"], [], []],
        ],
      }),
      pack({ type: "end", id: 1, error: { code: "internal", message: "x", retryable: false } }),
      pack({
        type: "welcome",
        epoch: "e",
        server: "s",
        host: "h",
        hypervisor: "q",
        beatMs: 5,
        minIntervalMs: 10,
        steadyMs: 0.5,
      }),
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...valid),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        (message, changes) => {
          const bytes = Uint8Array.from(message);
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          expect(["none", "protocol-error"]).toContain(decode(bytes));
        },
      ),
      { numRuns: 6_000 },
    );
  });
});

describe("a message of columns", () => {
  const block = (rows: number, keys: number, texts: unknown[] = ["a", "h"]): unknown[] => {
    const present = new Uint8Array((6 + keys + 7) >> 3);
    return [0, rows, new Uint8Array(16 * rows), present, new Uint8Array(0), [], new Uint8Array(0), texts, [], []];
  };
  const read = (keys: number, ...blocks: unknown[][]): string => {
    const decoder = decoderOf();
    const names = Array.from({ length: keys }, (_, i) => `k${i}`);
    decoder.decode(pack({ type: "schema", slot: 0, keys: names, types: new Array<number>(keys).fill(1) }));
    return codeOf(() => decoder.decode(pack({ type: "records", id: 1, at: [0, 0], blocks })));
  };

  it("is refused when it stands for more rows or cells than its bound, in one block or in many", () => {
    expect(read(0, block(LIMITS.rows, 0))).toBe("none");
    expect(read(0, block(LIMITS.rows + 1, 0))).toBe("protocol-error");
    const rows = 1_024;
    const columns = LIMITS.cells / rows;
    expect(read(columns - 6, block(rows, columns - 6))).toBe("none");
    expect(read(columns - 5, block(rows, columns - 5))).toBe("protocol-error");
    expect(read(columns / 2 - 6, block(rows, columns / 2 - 6), block(rows, columns / 2 - 6))).toBe("none");
    expect(read(columns / 2 - 5, block(rows, columns / 2 - 5), block(rows, columns / 2 - 5))).toBe("protocol-error");
  });

  it("is refused when the position of a large integer is the name of a member of its schema's types", () => {
    const keys = 4;
    const present = new Uint8Array(2);
    const large = (position: unknown): string => {
      const decoder = decoderOf();
      decoder.decode(pack({ type: "schema", slot: 0, keys: ["a", "b", "c", "d"], types: [4, 4, 4, 4] }));
      const columns = [present, new Uint8Array(0), [], new Uint8Array(0)];
      const block = [0, 1, new Uint8Array(16), ...columns, ["a", "h"], [[0, position, 5n]], []];
      return codeOf(() => decoder.decode(pack({ type: "records", id: 1, at: [0, 0], blocks: [block] })));
    };
    for (let position = 0; position < keys; position++) expect(large(position)).toBe("none");
    for (const position of ["length", "0", keys, -1, null]) expect(large(position)).toBe("protocol-error");
  });

  it("is refused when its texts come to more characters than their bound, also where all rows share a part", () => {
    const rows = 4_096;
    const shared = LIMITS.characters / rows;
    const middles = new Array<string>(rows).fill("");
    const names = (length: number): unknown[] => [["x".repeat(length), "", middles], ""];
    expect(read(0, block(rows, 0, names(shared)))).toBe("none");
    expect(read(0, block(rows, 0, names(shared + 1)))).toBe("protocol-error");
    expect(read(0, block(rows, 0, names(shared / 2)), block(rows, 0, names(shared / 2 + 1)))).toBe("protocol-error");
  });
});
