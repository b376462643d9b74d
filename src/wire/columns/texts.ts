import { malformed } from "../errors.ts";
import type { MessageBudget } from "./message-budget.ts";

/**
 * The texts of a block, as columns. Similar guests have the same device names, and paths that differ only in the
 * middle: `/images/guest-00017.qcow2`. So a column is a single text if all rows have it. Otherwise it has the start and
 * the end that all rows share, and the middle of each row.
 */
export type TextColumn = string | readonly [start: string, end: string, middles: readonly string[]];

/**
 * If the first text of a column has fewer characters than this, the encoder sends all texts as they are, because the
 * search for common parts would cost more time than the saved bytes are worth.
 */
const WORTH = 24;

/** Packs the texts of all rows. */
export function packTexts(texts: readonly string[]): TextColumn {
  const first = texts[0]!;
  let same = 1;
  while (same < texts.length && texts[same] === first) same++;
  if (same === texts.length) return wellFormed(first);
  const middles = new Array<string>(texts.length);
  if (first.length < WORTH) {
    for (let row = 0; row < texts.length; row++) middles[row] = wellFormed(texts[row]!);
    return ["", "", middles];
  }
  // The start and end that two different rows share are a good guess for all rows. The loop shortens the guess until
  // every row has this start and end.
  const last = texts[texts.length - 1] === first ? texts[same]! : texts[texts.length - 1]!;
  let start = commonStart(first, last);
  let end = commonEnd(first, last, start);
  for (;;) {
    const head = first.slice(0, start);
    const tail = first.slice(first.length - end);
    const other = misfitOf(texts, head, tail);
    if (other === undefined) break;
    start = commonStart(head, other);
    end = Math.min(commonEnd(tail, other, 0), other.length - start);
    if (end > 0 && isLowSurrogate(first.charCodeAt(first.length - end))) end--;
  }
  for (let row = 0; row < texts.length; row++) {
    const text = texts[row]!;
    middles[row] = wellFormed(text.slice(start, text.length - end));
  }
  return [wellFormed(first.slice(0, start)), wellFormed(first.slice(first.length - end)), middles];
}

/**
 * The first text that does not have this start and end; undefined if all have them. Comparing slices takes a third of
 * the time of `startsWith`.
 */
function misfitOf(texts: readonly string[], head: string, tail: string): string | undefined {
  const least = head.length + tail.length;
  for (let row = 0; row < texts.length; row++) {
    const text = texts[row]!;
    if (text.length < least || text.slice(0, head.length) !== head || text.slice(text.length - tail.length) !== tail)
      return text;
  }
  return undefined;
}

function commonStart(one: string, other: string): number {
  const most = Math.min(one.length, other.length);
  let length = 0;
  while (length < most && one.charCodeAt(length) === other.charCodeAt(length)) length++;
  // The start does not split a surrogate pair: each part must be valid text.
  return length > 0 && isHighSurrogate(one.charCodeAt(length - 1)) ? length - 1 : length;
}

/** @param start how many characters belong to the common start, so that the end must not reach into them */
function commonEnd(one: string, other: string, start: number): number {
  const most = Math.min(one.length, other.length) - start;
  let length = 0;
  while (length < most && one.charCodeAt(one.length - 1 - length) === other.charCodeAt(other.length - 1 - length))
    length++;
  return length > 0 && isLowSurrogate(one.charCodeAt(one.length - length)) ? length - 1 : length;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00;
}

function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code < 0xe000;
}

/** Replaces each lone half of a surrogate pair, because a strict decoder would refuse the whole message. */
function wellFormed(text: string): string {
  return (text as string & { toWellFormed(): string }).toWellFormed();
}

/** A text column after reading: one text for all rows, or one for each row. */
export type ReadTexts = string | readonly string[];

/** Reads a text column. Throws `protocol-error` if the column is not valid. */
export function readTexts(column: unknown, rows: number, budget: MessageBudget): ReadTexts {
  if (typeof column === "string") {
    // All rows share one string, so it counts once.
    budget.spendCharacters(column.length);
    return column;
  }
  if (!Array.isArray(column)) throw malformed("a block has no valid texts");
  const [start, end, middles] = column as unknown[];
  if (typeof start !== "string" || typeof end !== "string" || !Array.isArray(middles) || middles.length !== rows) {
    throw malformed("a block has no valid texts");
  }
  let characters = rows * (start.length + end.length);
  for (let row = 0; row < rows; row++) {
    const middle = middles[row] as unknown;
    if (typeof middle !== "string") throw malformed("a block has no valid texts");
    characters += middle.length;
  }
  budget.spendCharacters(characters);
  if (start === "" && end === "") return middles as string[];
  // `join` instead of `+`, because V8 keeps a sum of texts as a tree of its parts, which takes one and a half times as
  // much memory.
  return (middles as string[]).map((middle) => [start, middle, end].join(""));
}
