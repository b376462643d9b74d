import { ParamType } from "../model/params.ts";
import type { ParamCell } from "./cells.ts";
import { malformed } from "./encoding.ts";

/** A value as it was read, if it is one of its declared type; throws `protocol-error` if not. */
export function typedCell(value: unknown, type: number): ParamCell {
  switch (type) {
    case ParamType.int:
      if (typeof value === "number" && (value | 0) === value) return value;
      break;
    case ParamType.uint:
      if (typeof value === "number" && value >>> 0 === value) return value;
      break;
    case ParamType.llong:
      if (typeof value === "number" && Number.isSafeInteger(value)) return value;
      if (typeof value === "bigint" && BigInt.asIntN(64, value) === value) return value;
      break;
    case ParamType.ullong:
      if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
      if (typeof value === "bigint" && BigInt.asUintN(64, value) === value) return value;
      break;
    case ParamType.double:
      if (typeof value === "number") return value;
      break;
    case ParamType.boolean:
      if (typeof value === "boolean") return value;
      break;
    case ParamType.string:
      if (typeof value === "string") return value;
      break;
  }
  throw malformed("a value is not of its declared type");
}

/**
 * A value by an item of a row of changes: of an integer its difference to the one before, or an array with itself; of
 * other types itself. The caller has made text of JSON, within the array too, what its type says.
 */
export function changedCell(last: ParamCell, item: unknown, type: number): ParamCell {
  if (type > ParamType.ullong) return typedCell(item, type);
  if (Array.isArray(item)) {
    if (item.length !== 1) throw malformed("a changed value is an array, and not of one");
    return typedCell(item[0], type);
  }
  if (typeof item !== "number" || !Number.isSafeInteger(item)) throw malformed("a difference is no whole number");
  if (typeof last !== "number") throw malformed("a difference to a value beyond 2^53");
  return typedCell(last + item, type);
}
