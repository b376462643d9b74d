import type { ParamValue, TypedParams } from "../../model/params.ts";
import { ParamType } from "../../model/schema.ts";

/**
 * How far a counter went, exact before it becomes a float: two counters above 2^53 differ by what they really do.
 * Negative where it was reset; NaN where it is missing on either side, or is no number.
 */
export function difference(before: ParamValue | undefined, after: ParamValue | undefined): number {
  // Cells that are numbers are within ±(2^53 − 1), so that their difference as counters is exact.
  if (typeof before === "number" && typeof after === "number") return after - before;
  const from = integer(before);
  const to = integer(after);
  return from === undefined || to === undefined ? Number.NaN : Number(to - from);
}

/** A cell as a bigint; undefined for what is none, among it a float where the type of a key has changed. */
function integer(cell: ParamValue | undefined): bigint | undefined {
  if (typeof cell === "bigint") return cell;
  return typeof cell === "number" && Number.isInteger(cell) ? BigInt(cell) : undefined;
}

/**
 * The value at a position, an integer as a number while that is exact; undefined at −1, which is how layouts say that a
 * key is missing.
 */
export function cellAt(params: TypedParams, position: number): ParamValue | undefined {
  if (position < 0) return undefined;
  if (params.schema.types[position]! >= ParamType.boolean) return params.at(position);
  return params.bigs?.get(position) ?? params.doubles[position];
}

/** A count per second; undefined for NaN, and for what a tiny interval would make infinite. */
export function perSecond(step: number, intervalMs: number): number | undefined {
  return finite((step * 1_000) / intervalMs);
}

/** Nanoseconds of an interval, in percent of it. */
export function percentOf(nanoseconds: number, intervalMs: number): number | undefined {
  return finite(nanoseconds / (intervalMs * 10_000));
}

/** The mean time of an operation in ms; undefined when there was none. */
export function meanMs(nanoseconds: number, operations: number): number | undefined {
  return operations > 0 ? finite(nanoseconds / operations / 1e6) : undefined;
}

/** A figure that is one: NaN is below nothing, so it falls to undefined with infinity. */
export function finite(value: number): number | undefined {
  return value < Number.POSITIVE_INFINITY ? value : undefined;
}
