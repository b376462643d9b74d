import type { ParamValue, TypedParams } from "../model/params.ts";

/** A value as it is carried: an integer is a number while that is exact, whatever its type, and a bigint beyond. */
export type ParamCell = ParamValue;

/** A record's values as they are carried, in the schema's order. */
export function cellsOf(params: TypedParams): ParamCell[] {
  return params.schema.keys.map((_, i) => {
    const value = params.at(i)!;
    return typeof value === "bigint" ? integerCell(value) : value;
  });
}

/** An integer as it is carried. */
export function integerCell(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
