/** @module-tag any-node */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StatsReader } from "../../../../src/drivers/libvirt/rpc/stats-reply.ts";
import { XdrReader } from "../../../../src/drivers/libvirt/rpc/xdr.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import type { ParamValue } from "../../../../src/model/params.ts";
import { ParamType, type ParamTypeName } from "../../../../src/model/schema.ts";
import { bytesInUse } from "../../../heap.ts";
import { domain, RUNNING, statsReply, text, uuidOf, words } from "./fake-daemon.ts";
import { StatsWriter } from "./stats-writer.ts";

const VM = domain("vm", uuidOf(1), 5);

function read(bytes: Buffer, stats = new StatsReader()) {
  return stats.read(new XdrReader(bytes));
}

type Params = readonly (readonly [key: string, typed: readonly [ParamTypeName, ParamValue]])[];

/** A reply with one record, written value by value. */
function replyOf(params: Params): Buffer {
  const writer = new StatsWriter();
  for (const [key, [type, value]] of params) {
    writer.string(key);
    writer.int(ParamType[type]);
    if (typeof value === "string") writer.string(value);
    else if (type === "llong" || type === "ullong") writer.hyper(BigInt(value));
    else if (type === "double") writer.double(Number(value));
    else if (type === "uint") writer.uint(Number(value));
    else writer.int(Number(value));
  }
  return Buffer.concat([words(1), VM, words(params.length), writer.take()]);
}

function readParams(params: Params, stats: StatsReader) {
  return read(replyOf(params), stats);
}

function param(key: string, type: number, ...value: number[]): Buffer {
  return Buffer.concat([text(key), words(type, ...value)]);
}

describe("A statistics reply", () => {
  it("gives every parameter with its key, its place, the type of the wire, and its value", () => {
    const bytes = statsReply({
      domain: VM,
      params: [
        param("a.int", 1, -5),
        param("a.uint", 2, 4_294_967_295),
        param("a.llong", 3, -1, -7),
        param("a.ullong", 4, 0x1fffff, 0xffffffff),
        param("a.large", 4, 0xffffffff, 0xffffffff),
        param("a.lowest", 3, 0x80000000, 0),
        param("a.double", 5, 0x3ff80000, 0),
        param("a.boolean", 6, 1),
        Buffer.concat([param("a.text", 7), text("größe")]),
        param("new.key", 4, 0, 7),
        param("new.key", 2, 8),
      ],
    });
    const [record] = read(bytes);
    expect(record!.domain).toEqual({ name: "vm", uuid: uuidOf(1), id: 5 });
    expect([...record!.params.list()]).toEqual([
      { key: "a.int", type: "int", value: -5 },
      { key: "a.uint", type: "uint", value: 4_294_967_295 },
      { key: "a.llong", type: "llong", value: -7n },
      { key: "a.ullong", type: "ullong", value: 9_007_199_254_740_991n },
      { key: "a.large", type: "ullong", value: 18_446_744_073_709_551_615n },
      { key: "a.lowest", type: "llong", value: -9_223_372_036_854_775_808n },
      { key: "a.double", type: "double", value: 1.5 },
      { key: "a.boolean", type: "boolean", value: true },
      { key: "a.text", type: "string", value: "größe" },
      { key: "new.key", type: "ullong", value: 7n },
      { key: "new.key", type: "uint", value: 8 },
    ]);
    expect([...record!.params.bigs!.keys()]).toEqual([4, 5]);
  });

  it("gives records of one shape the same schema, and only those", () => {
    const stats = new StatsReader();
    const shape = (...params: Buffer[]) => read(statsReply({ domain: VM, params }), stats)[0]!.params;
    const one = shape(RUNNING, param("cpu.time", 4, 0, 1));
    expect(shape(RUNNING, param("cpu.time", 4, 0, 2)).schema).toBe(one.schema);
    expect(shape(RUNNING).schema).not.toBe(one.schema);
    expect(shape(RUNNING, param("cpu.time", 3, 0, 2)).schema).not.toBe(one.schema);
    expect(shape(RUNNING, param("cpu.user", 4, 0, 2)).schema.keys).toEqual(["state.state", "cpu.user"]);
    const again = shape(RUNNING, param("cpu.time", 4, 0, 3));
    expect(again.schema).toBe(one.schema);
    expect(again.get("cpu.time")).toBe(3n);
  });

  const key = fc.constantFrom("a", "ab", "abc", "abcd", "abcde", "abd", "b", "", "abcdefgh", "abcdefgi", "ä");
  const int64 = (min: bigint, max: bigint) =>
    fc.oneof(fc.bigInt({ min, max }), fc.bigInt({ min: 2n ** 53n - 2n, max: 2n ** 53n + 2n }));
  const typed: fc.Arbitrary<[ParamTypeName, ParamValue]> = fc.oneof(
    fc.tuple(fc.constant("int" as const), fc.integer()),
    fc.tuple(fc.constant("uint" as const), fc.nat()),
    fc.tuple(fc.constant("llong" as const), int64(-(2n ** 63n), 2n ** 63n - 1n)),
    fc.tuple(fc.constant("ullong" as const), int64(0n, 2n ** 64n - 1n)),
    fc.tuple(fc.constant("double" as const), fc.double()),
    fc.tuple(fc.constant("boolean" as const), fc.boolean()),
    fc.tuple(fc.constant("string" as const), fc.string({ unit: "grapheme" })),
  );
  const record = fc.array(fc.tuple(key, typed), { maxLength: 5 });

  it("is read the same whether its keys are new, repeated or nearly those of records before", () => {
    fc.assert(
      fc.property(fc.array(record, { maxLength: 12 }), (records) => {
        const stats = new StatsReader();
        for (const params of [...records, ...records]) {
          const [read] = readParams(params, stats);
          expect([...read!.params.list()]).toEqual(params.map(([key, [type, value]]) => ({ key, type, value })));
        }
      }),
    );
  });

  it("damaged anywhere gives the same record, or the same error, to a reader that knows its keys and to a new one", () => {
    const outcome = (bytes: Buffer, stats: StatsReader): unknown => {
      try {
        return read(bytes, stats).map(({ domain, params }) => ({ domain, params: [...params.list()] }));
      } catch (error) {
        return (error as Error).message;
      }
    };
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 3 }),
        fc.nat(),
        fc.nat({ max: 255 }),
        fc.boolean(),
        (records, at, byte, cut) => {
          const stats = new StatsReader();
          for (const params of records) readParams(params, stats);
          let bytes = Buffer.concat([replyOf(records.at(-1)!)]);
          if (cut) bytes = bytes.subarray(0, at % bytes.length);
          else bytes[at % bytes.length] = byte;
          expect(outcome(bytes, stats)).toEqual(outcome(bytes, new StatsReader()));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it("does not mind what keys are padded with", () => {
    const padded = Buffer.from(RUNNING);
    padded[15] = 0xaa;
    const stats = new StatsReader();
    const [first] = read(statsReply({ domain: VM, params: [padded] }), stats);
    const [second] = read(statsReply({ domain: VM, params: [RUNNING] }), stats);
    expect(first!.params.schema).toBe(second!.params.schema);
    expect(second!.params.get("state.state")).toBe(1);
  });

  it("gives large records of one shape one schema, too", () => {
    const stats = new StatsReader();
    const large = statsReply({ domain: VM, params: Array.from({ length: 9_000 }, (_, i) => param(`k.${i}`, 1, i)) });
    const [one] = read(large, stats);
    expect(one!.params.size).toBe(9_000);
    expect(one!.params.getUnknown("k.8999")).toBe(8_999);
    expect(read(large, stats)[0]!.params.schema).toBe(one!.params.schema);
  });

  it("gives records of many shapes, in any order, one schema for each shape", () => {
    const stats = new StatsReader();
    const shape = (name: string) => read(statsReply({ domain: VM, params: [param(name, 1, 7)] }), stats)[0]!.params;
    const names = Array.from({ length: 20 }, (_, i) => `key.${i}`);
    const first = new Map(names.map((name) => [name, shape(name).schema]));
    for (const name of [...names.reverse(), ...names]) {
      expect(shape(name).schema).toBe(first.get(name));
      expect(shape(name).getUnknown(name)).toBe(7);
    }
  });

  it("may have no records, and records no parameters", () => {
    expect(read(words(0))).toEqual([]);
    expect(read(statsReply({ domain: VM, params: [] }))[0]!.params.size).toBe(0);
  });

  it("cut short at any byte is refused, with a known shape and with a new one", () => {
    const whole = statsReply(
      { domain: VM, params: [RUNNING, Buffer.concat([param("a", 7), text("xyz")])] },
      { domain: VM, params: [param("b", 4, 0, 1)] },
    );
    const stats = new StatsReader();
    for (let round = 0; round < 2; round++) {
      for (let length = 0; length < whole.length; length++) {
        expect(() => read(whole.subarray(0, length), stats)).toThrow(VirstreamError);
      }
      expect(read(whole, stats)).toHaveLength(2);
    }
  });

  it("with any byte changed is either read or refused as malformed, in no time", () => {
    const whole = statsReply({ domain: VM, params: [RUNNING, param("cpu.time", 4, 0, 1)] });
    const stats = new StatsReader();
    fc.assert(
      fc.property(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
        const bytes = Buffer.from(whole);
        bytes[at] = byte;
        try {
          read(bytes, stats);
        } catch (error) {
          expect(error).toMatchObject({ code: "protocol-error" });
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("with lying counts is refused before anything is allocated", () => {
    expect(() => read(words(16_385))).toThrow(/an array of 16385 items/);
    expect(() => read(words(16_384))).toThrow(/an array of 16384 items in the last 0 bytes/);
    const lying = (count: number) => Buffer.concat([words(1), VM, words(count)]);
    expect(() => read(lying(262_145))).toThrow(/an array of 262145 items/);
    expect(() => read(lying(262_144))).toThrow(/an array of 262144 items in the last 0 bytes/);
  });

  it("with a type that libvirt does not have is refused", () => {
    for (const type of [0, 8, -1]) {
      expect(() => read(statsReply({ domain: VM, params: [param("a", type, 0)] }))).toThrow(/unknown type/);
    }
  });

  it("of 262,144 parameters is read, also when others of new keys follow", () => {
    const stats = new StatsReader();
    for (const key of ["a", "b", "c", "d", "a"]) {
      const writer = new StatsWriter();
      writer.uint(1);
      writer.string("vm");
      writer.uuid(uuidOf(1));
      writer.int(1);
      writer.uint(262_144);
      for (let i = 0; i < 262_144; i++) {
        writer.string(key);
        writer.int(1);
        writer.int(i);
      }
      const [record] = read(writer.take(), stats);
      expect(record!.params.schema.keys[262_143]).toBe(key);
      expect(record!.params.at(262_143)).toBe(262_143);
    }
  });

  it.each([
    { length: 8, keys: 20_000, replies: 20 },
    { length: 1_000, keys: 1_000, replies: 100 },
    { length: 100_000, keys: 10, replies: 100 },
  ])("with new keys each time leaves less than 48 MB in memory (keys of $length bytes)", async (each) => {
    const stats = new StatsReader();
    const before = await bytesInUse();
    for (let reply = 0; reply < each.replies; reply++) {
      const keys = Array.from({ length: each.keys }, (_, i) => `${reply * each.keys + i}`.padStart(each.length, "k"));
      const [record] = readParams(
        keys.map((key) => [key, ["int", 7]]),
        stats,
      );
      // Makes the map from keys to their places, too.
      expect(record!.params.getUnknown(keys.at(-1)!)).toBe(7);
    }
    const kept = (await bytesInUse()) - before;
    expect(kept).toBeLessThan(48e6);
    // Still alive here.
    expect(read(words(0), stats)).toEqual([]);
  });
});
