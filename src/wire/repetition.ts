import type { ParamCell } from "../model/params.ts";
import { malformed } from "./encoding.ts";

/**
 * What a row need not say because the row before it, with the same schema and in the same message, has said it: an equal
 * value is nil, and a string that begins like the one before is the number of characters it takes from there, and the
 * rest. Paths differ at their ends.
 */

/** A shorter beginning is not worth saying that it is shared. */
const MIN_SHARED = 8;

/** How many characters of `before` a text takes; 0 where that is not worth it. */
export function sharedStart(text: string, before: ParamCell | undefined): number {
  if (typeof before !== "string") return 0;
  const most = Math.min(text.length, before.length);
  let shared = 0;
  for (; shared < most; shared++) {
    const code = text.charCodeAt(shared);
    // Of characters beyond ASCII, languages count differently many.
    if (code !== before.charCodeAt(shared) || code > 0x7f) break;
  }
  return shared < MIN_SHARED ? 0 : shared;
}

/** The text that takes so many characters of `before` and goes on with the rest. */
export function goOn(before: ParamCell | undefined, shared: unknown, rest: unknown): string {
  if (typeof before !== "string" || typeof rest !== "string" || !Number.isInteger(shared)) {
    throw malformed("a value goes on from no string");
  }
  const taken = shared as number;
  if (taken < 0 || taken > before.length) throw malformed("a value takes more of a string than there is");
  return before.slice(0, taken) + rest;
}

/** What a nil stands for. */
export function repeated(before: readonly ParamCell[] | undefined, position: number): ParamCell {
  if (before === undefined) throw malformed("a value refers to a row before, and there is none");
  return before[position]!;
}
