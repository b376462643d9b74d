import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { STRING_MAX, XdrReader, XdrWriter } from "../../../../src/drivers/libvirt/rpc/xdr.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { StatsWriter } from "./stats-writer.ts";

type Value =
  | { type: "int"; value: number }
  | { type: "uint"; value: number }
  | { type: "uhyper"; value: number }
  | { type: "string"; value: string }
  | { type: "uuid"; value: string }
  | { type: "optionalString"; value: string | undefined };

const value: fc.Arbitrary<Value> = fc.oneof(
  fc.record({ type: fc.constant("int" as const), value: fc.integer() }),
  fc.record({ type: fc.constant("uint" as const), value: fc.nat({ max: 0xffffffff }) }),
  fc.record({ type: fc.constant("uhyper" as const), value: fc.maxSafeNat() }),
  fc.record({ type: fc.constant("string" as const), value: fc.string({ unit: "grapheme" }) }),
  fc.record({ type: fc.constant("uuid" as const), value: fc.uuid() }),
  fc.record({ type: fc.constant("optionalString" as const), value: fc.option(fc.string(), { nil: undefined }) }),
);

function write(values: readonly Value[]): Buffer {
  const writer = new StatsWriter();
  for (const { type, value } of values) {
    if (type === "uhyper") writer.hyper(BigInt(value));
    else (writer[type] as (value: unknown) => void).call(writer, value);
  }
  return writer.take();
}

function read(reader: XdrReader, { type }: Value): unknown {
  return type === "optionalString" ? reader.optional(() => reader.string()) : reader[type]();
}

describe("XDR", () => {
  it("reads back what it wrote, in whole words", () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), (values) => {
        const bytes = write(values);
        expect(bytes.length % 4).toBe(0);
        const reader = new XdrReader(bytes);
        for (const entry of values) {
          expect(read(reader, entry)).toStrictEqual(entry.value);
        }
        expect(reader.remaining).toBe(0);
      }),
    );
  });

  it("refuses any message that is cut short, wherever it is cut", () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 6 }), (values) => {
        const bytes = write(values);
        for (let length = 0; length < bytes.length; length++) {
          const reader = new XdrReader(bytes.subarray(0, length));
          expect(() => {
            for (const entry of values) read(reader, entry);
          }).toThrow(VirstreamError);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("pads strings with zeros", () => {
    expect(write([{ type: "string", value: "abcde" }]).toString("hex")).toBe("00000005" + "6162636465000000");
    expect(write([{ type: "string", value: "ü" }]).toString("hex")).toBe("00000002" + "c3bc0000");
  });

  it("refuses lengths that lie, before it allocates anything for them", () => {
    const lying = (bytes: string) => new XdrReader(Buffer.from(bytes, "hex"));
    expect(() => lying("ffffffff").string()).toThrow(/a string of 4294967295 bytes, at most 4194304/);
    const long = Buffer.alloc(STRING_MAX + 8);
    long.writeUInt32BE(STRING_MAX);
    expect(new XdrReader(long).string()).toHaveLength(STRING_MAX);
    long.writeUInt32BE(STRING_MAX + 1);
    expect(() => new XdrReader(long).string()).toThrow(/a string of 4194305 bytes, at most 4194304/);
    expect(() => lying("0040000061626364").string()).toThrow(/ends within a string/);
    expect(() => lying("0000000561626364").string()).toThrow(/ends within a string/);
    expect(() => lying("00004001").count(16_384, 4)).toThrow(/an array of 16385 items, at most 16384/);
    expect(() => lying("0000000300000000").count(16_384, 4)).toThrow(/an array of 3 items in the last 4 bytes/);
    expect(() => lying("00000002").optional(() => 0)).toThrow(/the flag of an optional value is 2/);
    expect(() => lying("")).not.toThrow();
  });

  it("refuses to write what does not fit the protocol", () => {
    const writer = new XdrWriter();
    expect(() => writer.string("x".repeat(STRING_MAX + 1))).toThrow(/too long/);
    expect(() => writer.uuid("no uuid")).toThrow(/is not a uuid/);
  });

  it("shows bytes that are no UTF-8 as replacement characters", () => {
    expect(new XdrReader(Buffer.from("00000003ff414200", "hex")).string()).toBe("\ufffdAB");
  });
});
