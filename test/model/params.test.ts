import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { FIELDS, fieldOf } from "../../src/model/field.ts";
import { GROUPS } from "../../src/model/group.ts";
import { integerCell, PARAM_TYPES, ParamType, type ParamValue, Schema, TypedParams } from "../../src/model/params.ts";
import { SchemaTable } from "../../src/model/schema-table.ts";

const params = TypedParams.from([
  ["state.state", "int", 1],
  ["cpu.time", "ullong", 5n],
  ["vcpu.0.time", "ullong", 2n ** 64n - 1n],
  ["vcpu.0.halted", "boolean", true],
  ["block.count", "uint", 1],
  ["block.0.name", "string", "vda"],
  ["block.0.rd.bytes", "ullong", 2n ** 53n],
  ["block.0.rd", "int", 7],
  ["new.key", "double", 0.5],
  ["dirtyrate.megabytes_per_second", "llong", -(2n ** 63n)],
]);

describe("typed parameters", () => {
  it("give a value in its declared type, whatever its size", () => {
    expect(params.get("cpu.time")).toBe(5n);
    expect(params.get("vcpu.0.time")).toBe(18446744073709551615n);
    expect(params.get("dirtyrate.megabytes_per_second")).toBe(-9223372036854775808n);
    expect(params.get("state.state")).toBe(1);
    expect(params.get("vcpu.0.halted")).toBe(true);
    expect(params.get("block.0.name")).toBe("vda");
    expect(params.get("new.key")).toBe(0.5);
    expect(params.type("cpu.time")).toBe("ullong");
  });

  it("have types that follow the field table, and are open to keys it does not know", () => {
    expectTypeOf(params.get("cpu.time")).toEqualTypeOf<bigint | undefined>();
    expectTypeOf(params.get("vcpu.3.state")).toEqualTypeOf<number | undefined>();
    expectTypeOf(params.get("block.0.name")).toEqualTypeOf<string | undefined>();
    expectTypeOf(params.get("new.key")).toEqualTypeOf<ParamValue | undefined>();
    const index = 2 as number;
    expectTypeOf(params.get(`net.${index}.rx.bytes`)).toEqualTypeOf<bigint | undefined>();
  });

  it("say nothing of a key that is missing: it is never zero", () => {
    expect(params.get("cpu.user")).toBeUndefined();
    expect(params.number("cpu.user")).toBeUndefined();
    expect(params.type("cpu.user")).toBeUndefined();
    expect(params.has("cpu.user")).toBe(false);
  });

  it("give floats for arithmetic, and none for text", () => {
    expect(params.number("cpu.time")).toBe(5);
    expect(params.number("vcpu.0.time")).toBe(2 ** 64);
    expect(params.number("vcpu.0.halted")).toBe(1);
    expect(params.number("block.0.name")).toBeUndefined();
  });

  it("make a hierarchy along the dots, also where a key is a value and a beginning", () => {
    const { block, vcpu } = params.tree() as Record<string, Record<string, Record<string, unknown>>>;
    expect(vcpu!["0"]!["time"]).toBe(18446744073709551615n);
    expect(block!["count"]).toBe(1);
    expect(block!["0"]!["rd"]).toEqual({ "": 7, bytes: 2n ** 53n });
    const hostile = TypedParams.from([["__proto__.polluted", "int", 1]]).tree();
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    expect(Object.entries(hostile)).toEqual([["__proto__", expect.objectContaining({ polluted: 1 })]]);
  });

  it("become JSON without losing a digit", () => {
    const json = JSON.parse(JSON.stringify(params));
    expect(json["cpu.time"]).toBe(5);
    expect(json["vcpu.0.time"]).toBe("18446744073709551615");
    expect(json["block.0.rd.bytes"]).toBe("9007199254740992");
  });

  it("keep every integer of 64 bits exactly", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        expect(TypedParams.from([["a", value < 0n ? "llong" : "ullong", value]]).get("a")).toBe(value);
        expect(typeof integerCell(value)).toBe(
          value >= -(2n ** 53n) && value <= 2n ** 53n && Number.isSafeInteger(Number(value)) ? "number" : "bigint",
        );
      }),
    );
  });
});

describe("the field table", () => {
  it("knows every group, and only types that there are", () => {
    for (const group of GROUPS) expect(FIELDS.some((field) => field.group === group)).toBe(true);
    for (const field of FIELDS) {
      for (const type of field.types) expect(PARAM_TYPES).toContain(type);
      expect(field.description).not.toBe("");
      expect(field.kind).toMatch(/^(counter|gauge|label|timestamp)$/);
    }
  });

  it("finds the field of a concrete key, and none for a key that is newer than it", () => {
    expect(fieldOf("vcpu.12.time")).toMatchObject({ pattern: "vcpu.<num>.time", unit: "ns", kind: "counter" });
    expect(fieldOf("block.0.rd.bytes")).toMatchObject({ group: "block", unit: "bytes" });
    expect(fieldOf("vcpu.1.halt_exits.sum")?.pattern).toBe("vcpu.<num>.<name>.sum");
    expect(fieldOf("vm.remote_tlb_flush.sum")?.group).toBe("vm");
    expect(fieldOf("block.0.new_thing")).toBeUndefined();
    for (const field of FIELDS) {
      const concrete = field.pattern.replaceAll("<name>", "some_name").replaceAll(/<\w+>/g, "7");
      expect([concrete, fieldOf(concrete)?.pattern]).toEqual([concrete, field.pattern]);
    }
  });
});

describe("the schema table", () => {
  const shape = fc.array(fc.tuple(fc.constantFrom("a", "b", "c.0", "c.1"), fc.integer({ min: 1, max: 7 })), {
    maxLength: 6,
  });

  it("gives records of one shape one schema, and records of different shapes different ones", () => {
    fc.assert(
      fc.property(fc.array(shape, { maxLength: 20 }), (shapes) => {
        const table = new SchemaTable();
        const seen = new Map<string, Schema>();
        for (const keys of shapes) {
          const schema = table.schemaOf(
            keys.map(([key]) => key),
            Uint8Array.from(keys, ([, type]) => type),
          );
          const text = JSON.stringify(keys);
          expect(seen.get(text) ?? schema).toBe(schema);
          for (const [other, known] of seen) if (other !== text) expect(known).not.toBe(schema);
          seen.set(text, schema);
          expect(schema.keys).toEqual(keys.map(([key]) => key));
          expect([...schema.types]).toEqual(keys.map(([, type]) => type));
        }
      }),
    );
  });

  it("finds the first of two equal keys", () => {
    expect(new Schema(["a", "b", "a"], Uint8Array.of(1, 1, ParamType.string)).position("a")).toBe(0);
  });
});
