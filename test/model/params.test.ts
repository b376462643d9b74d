import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { FIELDS, fieldOf } from "../../src/model/field/field.ts";
import { GROUPS } from "../../src/model/group.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import { PARAM_TYPES, ParamType, type ParamTypeName, Schema } from "../../src/model/schema.ts";
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
    expect(params.getUnknown("new.key")).toBe(0.5);
    expect(params.type("cpu.time")).toBe("ullong");
  });

  it("have types that follow the field table, and are open to keys it does not know", () => {
    expectTypeOf(params.get("cpu.time")).toEqualTypeOf<bigint | undefined>();
    expectTypeOf(params.get("vcpu.3.state")).toEqualTypeOf<number | undefined>();
    expectTypeOf(params.get("block.0.name")).toEqualTypeOf<string | undefined>();
    expectTypeOf(params.getUnknown("new.key")).toEqualTypeOf<ParamValue | undefined>();
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

  it("refuse an integer that is outside its type: a server could not send it", () => {
    const make = (type: ParamTypeName, value: number | bigint) => () => TypedParams.from([["x", type, value]]);
    for (const [type, least, greatest] of [
      ["int", -(2n ** 31n), 2n ** 31n - 1n],
      ["uint", 0n, 2n ** 32n - 1n],
      ["llong", -(2n ** 63n), 2n ** 63n - 1n],
      ["ullong", 0n, 2n ** 64n - 1n],
    ] as const) {
      for (const good of [least, greatest]) expect(Number(make(type, good)().getUnknown("x"))).toBe(Number(good));
      for (const bad of [least - 1n, greatest + 1n, -(2 ** 70), 2 ** 70]) {
        expect(make(type, bad)).toThrow(expect.objectContaining({ code: "invalid-argument" }));
      }
    }
  });

  it("keep every integer of 64 bits exactly, and their numbers as doubles", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }), (value) => {
        const one = TypedParams.from([["a", value < 0n ? "llong" : "ullong", value]]);
        expect(one.getUnknown("a")).toBe(value);
        expect(one.doubles[0]).toBe(Number(value));
        expect(one.doubles).toEqual([Number(value)]);
        expect(one.bigs === undefined).toBe(Number.isSafeInteger(Number(value)));
        expect(Object.values(one.toJSON())).toEqual([one.bigs === undefined ? Number(value) : String(value)]);
      }),
    );
  });

  it("keep every double as it is, and no negative zero among integers", () => {
    for (const double of [Number.NaN, Number.NEGATIVE_INFINITY, -0, 5e-324, 2 ** 60]) {
      expect(TypedParams.from([["a", "double", double]]).getUnknown("a")).toBe(double);
    }
    expect(TypedParams.from([["a", "int", -0]]).getUnknown("a")).toBe(0);
    expect(TypedParams.from([["a", "llong", -0]]).doubles).toEqual([0]);
  });

  it("keep numbers and texts apart: a double for each parameter, and the texts beside them", () => {
    expect(params.doubles).toEqual([1, 5, 2 ** 64, 1, 1, 0, 2 ** 53, 7, 0.5, -(2 ** 63)]);
    expect(params.texts).toEqual(["vda"]);
    expect([...params.bigs!]).toEqual([
      [2, 2n ** 64n - 1n],
      [6, 2n ** 53n],
      [9, -(2n ** 63n)],
    ]);
    const texts = TypedParams.from([
      ["a", "string", "one"],
      ["b", "int", 3],
      ["c", "string", ""],
    ]);
    expect(texts.schema.textPositions).toEqual([0, 2]);
    expect(texts.doubles).toEqual([0, 3, 1]);
    expect([...texts].map(([, value]) => value)).toEqual(["one", 3, ""]);
  });

  it("of the same keys and types share a schema, whatever was made in between", () => {
    const made = (key: string, type: "int" | "ullong") => TypedParams.from([[key, type, 1]]).schema;
    const schema = made("some.key", "int");
    expect(made("other.key", "int")).not.toBe(schema);
    expect(made("some.key", "ullong")).not.toBe(schema);
    expect(made("some.key", "int")).toBe(schema);
  });

  it("are refused when a value is none of its type, or there are not as many values as keys", () => {
    const wrong: [ParamTypeName, ParamValue][] = [
      ["int", "1"],
      ["ullong", 0.5],
      ["double", 1n],
      ["boolean", 1],
      ["string", 1],
    ];
    for (const [type, value] of wrong) {
      expect(() => TypedParams.from([["a", type, value]]), type).toThrow(/^a is .* which is no /);
    }
    expect(() => TypedParams.of(params.schema, [1])).toThrow("1 values for 10 keys");
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
    expect(fieldOf("cpu.energy.monitor.0.pkg.1.core_energy")).toMatchObject({ types: ["double"], unit: "J" });
    expect(fieldOf("cpu.energy.monitor.0.pkg.1.activity")).toMatchObject({ types: ["double"], unit: "F" });
    expect(fieldOf("perf.cpu_clock")).toMatchObject({ unit: "ns", kind: "counter" });
    expect(fieldOf("perf.task_clock")).toMatchObject({ unit: "ns", kind: "counter" });
    expect(fieldOf("dirtyrate.calc_start_time")!.description).toMatch(/boot of the host/);
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

  it("tells shapes apart whatever characters their keys have", () => {
    const table = new SchemaTable();
    const types = Uint8Array.of(1, 1);
    const one = table.schemaOf(["a", 'b","c'], types);
    expect(table.schemaOf(['a","b', "c"], types)).not.toBe(one);
    expect(table.schemaOf(["a", 'b","c'], types)).toBe(one);
  });

  it("starts again when its schemas have too many keys together, so that made-up keys do not fill the memory", () => {
    const table = new SchemaTable();
    const small = () => table.schemaOf(["a"], Uint8Array.of(1));
    const large = (name: string) =>
      table.schemaOf(
        Array.from({ length: 150_000 }, (_, i) => `${name}.${i}`),
        new Uint8Array(150_000).fill(1),
      );
    const schema = small();
    large("b");
    expect(small()).toBe(schema);
    large("c");
    expect(small()).not.toBe(schema);
    expect(small()).toBe(small());
  });

  it("finds the first of two equal keys", () => {
    expect(new Schema(["a", "b", "a"], Uint8Array.of(1, 1, ParamType.string)).position("a")).toBe(0);
  });
});
