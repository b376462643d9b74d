import type { ParamValue, TypedParams } from "../../src/model/params.ts";

/** A record's values in the schema's order, to be compared as a whole: integers as numbers where these are exact. */
export function cellsOf(params: TypedParams): ParamValue[] {
  return Array.from(params, ([, value]) =>
    typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value,
  );
}
