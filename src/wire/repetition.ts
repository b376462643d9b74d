import type { ParamCell } from "./cells.ts";
import { malformed } from "./encoding.ts";

/**
 * What a row need not say because the row before it, with the same schema and in the same message, has said it: an equal
 * value is nil, and a string that begins like the one before is the number of characters it takes from there, and the
 * rest. Paths differ at their ends.
 */

/** A shorter beginning is not worth saying that it is shared. */
const MIN_SHARED = 8;

/** A row as the rows after it refer to it. */
export class RowBefore {
  /** Its values. */
  cells: readonly ParamCell[];
  /** With what a string begins, where it shared that with the one before it: the next one mostly shares it, too. */
  readonly #starts: (string | undefined)[] = [];

  constructor(cells: readonly ParamCell[]) {
    this.cells = cells;
  }

  /**
   * How many characters a text takes of the one at this position; 0 where that is not worth it. One comparison with the
   * beginning that was shared last, then character by character: comparing all of a path so costs twice as much.
   */
  sharedStart(text: string, position: number): number {
    const before = this.cells[position];
    if (typeof before !== "string") return 0;
    const start = this.#starts[position];
    const most = Math.min(text.length, before.length);
    let shared = 0;
    if (start !== undefined && text.slice(0, start.length) === start) shared = start.length;
    for (; shared < most; shared++) {
      const code = text.charCodeAt(shared);
      // Of characters beyond ASCII, languages count differently many.
      if (code !== before.charCodeAt(shared) || code > 0x7f) break;
    }
    const worthwhile = shared >= MIN_SHARED;
    if (shared !== start?.length) this.#starts[position] = worthwhile ? text.slice(0, shared) : undefined;
    return worthwhile ? shared : 0;
  }
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
