import { invalid } from "./error.ts";
import { PARAM_TYPES, ParamType, type ParamTypeName, type Schema } from "./schema.ts";
import { SchemaTable } from "./schema-table.ts";
import { NO_TEXTS, TypedParams as Params, type ParamValue } from "./typed-params.ts";

// The types of the values and parts of TypedParams, which callers of this module also need.
export type { Param, ParamTree, ParamValue } from "./typed-params.ts";

type ParamsClass = typeof Params;

/** The class TypedParams, with the functions that make parameters from values. */
export interface TypedParamsClass extends ParamsClass {
  /**
   * Makes parameters from a schema and one value for each of its keys, in order. A value of any integer type may be a
   * number or a bigint.
   *
   * @throws VirstreamError `invalid-argument` when a value is not of its declared type
   */
  of(schema: Schema, values: readonly ParamValue[]): Params;
  /**
   * Makes parameters from a list of keys, types and values, for drivers that make their own parameters. The parameters
   * of all lists with the same keys and types share one schema.
   */
  from(list: Iterable<readonly [key: string, type: ParamTypeName, value: ParamValue]>): Params;
}

/** The typed parameters of one record. */
export interface TypedParams extends Params {}

/**
 * The class of parameters, with functions that make parameters from values. It is the class of model/typed-params.ts
 * with `of` and `from` added. A program that only reads from virstream servers gets its parameters from the protocol's
 * decoder, and does not load this file.
 */
export const TypedParams: TypedParamsClass = /* @__PURE__ */ Object.assign(Params, { of, from });

/** The schemas of the parameters that `from` has made. */
const schemas = new SchemaTable();

function of(schema: Schema, values: readonly ParamValue[]): Params {
  if (values.length !== schema.keys.length) {
    throw invalid(`${values.length} values for ${schema.keys.length} keys`);
  }
  const doubles = schema.row();
  const texts = new Array<string>(schema.textCount);
  let bigs: Map<number, bigint> | undefined;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    const type = schema.types[i]!;
    if (!isOfType(value, type)) {
      throw invalid(`${schema.keys[i]} is ${typeof value} ${value}, which is no ${PARAM_TYPES[type - 1]}`);
    }
    if (typeof value === "string") {
      texts[doubles[i]!] = value;
      continue;
    }
    const double = Number(value);
    // Adding 0 turns a negative zero into 0: integers have no negative zero.
    doubles[i] = type === ParamType.double ? double : double + 0;
    if (type <= ParamType.ullong && !Number.isSafeInteger(double)) {
      bigs ??= new Map();
      bigs.set(i, BigInt(value));
    }
  }
  return new Params(schema, doubles, texts.length === 0 ? NO_TEXTS : texts, bigs);
}

function from(list: Iterable<readonly [key: string, type: ParamTypeName, value: ParamValue]>): Params {
  const keys: string[] = [];
  const types: number[] = [];
  const values: ParamValue[] = [];
  for (const [key, type, value] of list) {
    keys.push(key);
    types.push(ParamType[type]);
    values.push(value);
  }
  return of(schemas.schemaOf(keys, Uint8Array.from(types)), values);
}

/** The least and the greatest value of each integer type. The position in the list is the type's code. */
const LEAST = [0n, -(2n ** 31n), 0n, -(2n ** 63n), 0n];
const GREATEST = [0n, 2n ** 31n - 1n, 2n ** 32n - 1n, 2n ** 63n - 1n, 2n ** 64n - 1n];

function isOfType(value: ParamValue, type: number): boolean {
  if (type === ParamType.string) return typeof value === "string";
  if (type === ParamType.boolean) return typeof value === "boolean";
  if (type === ParamType.double) return typeof value === "number";
  if (typeof value !== "bigint" && !Number.isInteger(value)) return false;
  const integer = value as number | bigint;
  return integer >= LEAST[type]! && integer <= GREATEST[type]!;
}
