import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { pack } from "../../src/wire/pack.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { codeOf } from "./decoding.ts";

const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: "small", maxDepth: 5 },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double({ noDefaultInfinity: true, noNaN: true }),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
    fc.string({ unit: "grapheme", maxLength: 70 }),
    fc.string({ unit: "grapheme-ascii", maxLength: 300 }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 20 }),
    fc.dictionary(fc.string({ maxLength: 20 }), tie("value"), { maxKeys: 20, noNullPrototype: true }),
  ),
}));

/** A value in a form that can be compared: maps without their prototypes, bytes as lists, and no -0, which the library packs as 0. */
function plain(each: unknown): unknown {
  if (each instanceof Uint8Array) return { bytes: [...each] };
  if (Array.isArray(each)) return each.map(plain);
  if (typeof each === "object" && each !== null) return Object.entries(each).map(([key, value]) => [key, plain(value)]);
  return each === 0 ? 0 : each;
}

describe("A reader of msgpack", () => {
  it("reads every value as the library packed it", () => {
    fc.assert(
      fc.property(value, (packed) => {
        expect(plain(unpack(pack(packed)))).toEqual(plain(packed));
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    [
      "the smallest and the largest of each size",
      [0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1],
    ],
    ["the same below zero", [-1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53) + 1]],
    ["floats", [0.5, 5e-324, Number.MAX_VALUE, Number.POSITIVE_INFINITY, Number.NaN]],
    ["texts with a byte order mark, an emoji and a zero", ["\ufeffx", "🐏".repeat(9), "a\0b", "é"]],
  ])("keeps %s", (_, values) => {
    expect(unpack(pack(values))).toEqual(values);
  });

  it("gives integers beyond 2^53 − 1 as bigints, also where a sender writes a small one in eight bytes", () => {
    expect(unpack(Uint8Array.of(0xcf, 0, 0, 0, 0, 0, 0, 0, 7))).toBe(7);
    expect(unpack(Uint8Array.of(0xd3, 255, 255, 255, 255, 255, 255, 255, 255))).toBe(-1);
    expect(unpack(Uint8Array.of(0xcf, 0, 32, 0, 0, 0, 0, 0, 0))).toBe(2n ** 53n);
    expect(unpack(Uint8Array.of(0xca, 0x3f, 0, 0, 0))).toBe(0.5);
  });

  it("refuses a text that is not UTF-8", () => {
    expect(codeOf(() => unpack(Uint8Array.of(0xa2, 0xc3, 0x28)))).toBe("protocol-error");
  });
});
