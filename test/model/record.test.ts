import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { VirstreamError } from "../../src/model/error.ts";
import { type ParamValue, TypedParams } from "../../src/model/params.ts";
import "../../src/inspect.ts";
import { Domain, type RecordInit } from "../../src/model/record.ts";
import { DomainStatsRecord } from "../../src/model/record-json.ts";
import { PARAM_TYPES, type ParamTypeName } from "../../src/model/schema.ts";

const domain = new Domain("5c2e1a60-3f64-4c9e-9a68-0d6f6d1c9f11", "web-1", 7, "hv1");
const BASE = { domain, sampledAt: 1_700_000_000_002.5, steadyAt: 86_400_002, tookMs: 0.125, index: 3 };

const VALUES: Record<ParamTypeName, fc.Arbitrary<ParamValue>> = {
  int: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  uint: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  llong: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ullong: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  double: fc.double().map((double) => double + 0),
  boolean: fc.boolean(),
  string: fc.oneof(fc.string(), fc.constantFrom("NaN", "18446744073709551615")),
};
const parameter = fc
  .constantFrom(...PARAM_TYPES)
  .chain((type) =>
    fc.tuple(fc.oneof(fc.string(), fc.constantFrom("__proto__", "7", "cpu.time")), fc.constant(type), VALUES[type]),
  );
const params = fc.uniqueArray(parameter, { selector: ([key]) => key }).map((list) => TypedParams.from(list));

function all(record: DomainStatsRecord): object {
  const { params, error, ...rest } = record;
  const { code, message, retryable, libvirt } = error ?? {};
  const cells = [...params.list()].sort((one, other) => (one.key < other.key ? -1 : 1));
  return { ...rest, cells, error: { code, message, retryable, libvirt } };
}

describe("a record", () => {
  it("has the same values in the same types after JSON, and after a structured clone", () => {
    const error = new VirstreamError("denied", "no", { retryable: true, libvirt: { code: 88, domain: 10 } });
    const states: Partial<RecordInit>[] = [
      { status: "ok" },
      { status: "partial", reason: "timeout", missing: ["block", "group-20"], error },
      { status: "failed", reason: "denied", error },
      { status: "gone", reason: "unknown", error: new VirstreamError("unknown-domain", "none") },
    ];
    fc.assert(
      fc.property(params, fc.constantFrom(...states), (params, state) => {
        const record = new DomainStatsRecord({ ...BASE, status: "ok", params, ...state });
        for (const json of [JSON.parse(JSON.stringify(record)), structuredClone(record.toJSON())]) {
          const copy = DomainStatsRecord.fromJSON(json);
          expect(copy).toBeInstanceOf(DomainStatsRecord);
          expect(all(copy)).toEqual(all(record));
          expect(JSON.stringify(copy)).toBe(JSON.stringify(record));
        }
      }),
    );
  });

  it("is refused with a clear error when the JSON is not a record's", () => {
    const params = TypedParams.from([["cpu.time", "ullong", 5n]]);
    const good = new DomainStatsRecord({ ...BASE, params, status: "ok" }).toJSON();
    const bad: [why: RegExp, json: unknown][] = [
      [/a record in JSON must be an object/, "x"],
      [/a record in JSON must be an object/, null],
      [/domain in JSON/, { ...good, domain: [] }],
      [/uuid of a record/, { ...good, domain: { name: "x" } }],
      [/types of a record in JSON must be a string/, { ...good, types: undefined }],
      [/types has 2 digits for 1 params/, { ...good, types: "44" }],
      [/no type from 1 to 7/, { ...good, types: "8" }],
      [/params has an object/, { ...good, params: { x: Object.create(null) } }],
      [/no int/, { ...good, params: { x: "5" }, types: "1" }],
      [/no ullong/, { ...good, params: { x: "-1" }, types: "4" }],
      [/no ullong/, { ...good, params: { x: "9".repeat(1_000_000) }, types: "4" }],
      [/no status "odd"/, { ...good, status: "odd" }],
      [/no reason/, { ...good, reason: "odd" }],
      [/missing must be/, { ...good, missing: [1] }],
      [/no error code/, { ...good, status: "failed", error: { code: "toString" } }],
      [/sampledAt of a record/, { ...good, sampledAt: "x" }],
      [/a record that is ok has no reason/, { ...good, reason: "timeout" }],
    ];
    for (const [why, json] of bad) {
      expect(() => DomainStatsRecord.fromJSON(json), String(why)).toThrow(why);
      expect(() => DomainStatsRecord.fromJSON(json)).toThrow(expect.objectContaining({ code: "invalid-argument" }));
    }
  });

  it("keeps what its status promises, whatever a driver leaves out", () => {
    const params = TypedParams.EMPTY;
    const failed = new DomainStatsRecord({ ...BASE, params, status: "failed", reason: "timeout" });
    expect([failed.reason, failed.error?.code]).toEqual(["timeout", "internal"]);
    expect(new DomainStatsRecord({ ...BASE, params, status: "partial", missing: ["block"] }).reason).toBe("error");
    expect(() => new DomainStatsRecord({ ...BASE, params, status: "ok", missing: ["block"] })).toThrow(
      /no reason, missing groups or error/,
    );
  });

  it("shows its domain, status, state and parameters when Node prints it", () => {
    const params = TypedParams.from([
      ["state.state", "int", 3],
      ["state.reason", "int", 5],
      ["cpu.time", "ullong", 2n ** 64n - 1n],
    ]);
    const text = inspect(new DomainStatsRecord({ ...BASE, params, status: "ok" }), { breakLength: Infinity });
    expect(text).toBe(
      "DomainStatsRecord { domain: { name: 'web-1', host: 'hv1', id: 7, uuid: '5c2e1a60-3f64-4c9e-9a68-0d6f6d1c9f11' }, " +
        "status: 'ok', state: { state: 'paused', reason: 'ioerror' }, sampledAt: 2023-11-14T22:13:20.002Z, tookMs: 0.125, " +
        "index: 3, params: TypedParams(3) { 'state.state': 3, 'state.reason': 5, 'cpu.time': 18446744073709551615n } }",
    );
    expect(inspect([[[[new DomainStatsRecord({ ...BASE, params, status: "ok" })]]]])).not.toContain("schema");
  });
});
