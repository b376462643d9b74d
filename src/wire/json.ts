import { VirstreamError } from "../model/error.ts";
import { ParamType } from "../model/params.ts";
import { parseUuid } from "../model/uuid.ts";
import { integerCell, type ParamCell } from "./cells.ts";
import { type ChangesHead, malformed, type WireReader, type WireValue, type WireWriter } from "./encoding.ts";
import { CHANGES_HEAD } from "./protocol.ts";
import { goOn, type RowBefore, repeated } from "./repetition.ts";
import { changedCell, typedCell } from "./typed-cell.ts";

/**
 * The twin encoding: the same arrays as JSON text, so that any WebSocket tool can read along. What JSON's numbers cannot
 * hold is text, and the schema's type says how to read it: integers beyond ±(2^53 − 1) in decimal digits, and of the
 * doubles `NaN`, `Infinity` and `-Infinity`. A uuid is its text.
 */
export class JsonWriter implements WireWriter<string> {
  #text = "";
  /** Whether the next item follows another one in its array. */
  #follows = false;
  /** Items left in each of the arrays that are open; −1 where the size is told at the end. */
  readonly #open: number[] = [];

  get length(): number {
    return this.#text.length;
  }

  nil(): void {
    this.#item("null");
  }

  number(value: number): void {
    this.#item(Number.isFinite(value) ? JSON.stringify(value) : `"${value}"`);
  }

  string(text: string): void {
    this.#item(JSON.stringify(text));
  }

  uuid(text: string): void {
    if (parseUuid(text) !== text) {
      throw new VirstreamError("invalid-argument", `${JSON.stringify(text)} is not a uuid in lower case with dashes`);
    }
    this.#item(`"${text}"`);
  }

  cells(cells: readonly ParamCell[], before: RowBefore | undefined): void {
    const values = new Array<unknown>(cells.length);
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!;
      if (before !== undefined && cell === before.cells[i]) {
        values[i] = null;
      } else if (typeof cell === "string") {
        const shared = before?.sharedStart(cell, i) ?? 0;
        values[i] = shared === 0 ? cell : [shared, cell.slice(shared)];
      } else {
        values[i] = typeof cell === "bigint" || (typeof cell === "number" && !Number.isFinite(cell)) ? `${cell}` : cell;
      }
    }
    // One call of the platform's for all of them: it is many times as fast as one for each.
    if (values.length > 0) this.#item(JSON.stringify(values).slice(1, -1), values.length);
  }

  changes(head: ChangesHead, types: Uint8Array, cells: readonly ParamCell[], before: readonly ParamCell[]): boolean {
    const row: unknown[] = [head.number, head.index, head.sampledAt, head.took, ""];
    const mask = new Uint8Array((cells.length + 7) >> 3);
    for (let i = 0; i < cells.length; i++) {
      const cell = cells[i]!;
      const last = before[i]!;
      if (cell === last || (Number.isNaN(cell) && Number.isNaN(last))) continue;
      mask[i >> 3]! |= 1 << (i & 7);
      if (types[i]! > ParamType.ullong) {
        row.push(typeof cell === "number" && !Number.isFinite(cell) ? `${cell}` : cell);
      } else {
        const difference = typeof cell === "number" && typeof last === "number" ? cell - last : Number.NaN;
        row.push(Number.isSafeInteger(difference) ? difference : [typeof cell === "bigint" ? `${cell}` : cell]);
      }
    }
    if (row.length === CHANGES_HEAD + 1) row.pop();
    else row[CHANGES_HEAD] = hexOf(mask);
    this.#item(JSON.stringify(row));
    return true;
  }

  value(value: WireValue | undefined): void {
    this.#item(JSON.stringify(value ?? null));
  }

  arrayHead(size: number): void {
    this.#begin();
    this.#open.push(size);
    this.#text += "[";
    this.#follows = false;
    if (size === 0) this.#close();
  }

  beginArray(): number {
    this.#begin();
    this.#open.push(-1);
    this.#text += "[";
    this.#follows = false;
    return 0;
  }

  endArray(): void {
    this.#close();
  }

  truncate(length: number): void {
    // Only ever used to give up a row: what it had opened beyond the array of rows goes with it.
    this.#text = this.#text.slice(0, length);
    while (this.#open.length > 0 && this.#open.at(-1) !== -1) this.#open.pop();
    this.#follows = !this.#text.endsWith("[");
  }

  take(): string {
    const text = this.#text;
    this.#text = "";
    this.#follows = false;
    this.#open.length = 0;
    return text;
  }

  #begin(): void {
    if (this.#follows) this.#text += ",";
  }

  /** Appends the text of an item, or of several. */
  #item(text: string, items = 1): void {
    this.#begin();
    this.#text += text;
    this.#ended(items);
  }

  /** After items: closes the arrays that they completed. */
  #ended(items: number): void {
    this.#follows = true;
    const last = this.#open.length - 1;
    if (last < 0 || this.#open[last]! <= 0) return;
    this.#open[last]! -= items;
    if (this.#open[last] === 0) this.#close();
  }

  #close(): void {
    this.#open.pop();
    this.#text += "]";
    this.#ended(1);
  }
}

/** Reads a JSON message: parsed once as a whole, then walked in order. */
export class JsonReader implements WireReader {
  /** The arrays being walked, and where in each the walk is. */
  readonly #stack: { items: readonly unknown[]; at: number }[];

  constructor(text: string) {
    let root: unknown;
    try {
      root = JSON.parse(text);
    } catch (error) {
      throw malformed(error instanceof Error ? error.message : String(error));
    }
    this.#stack = [{ items: [root], at: 0 }];
  }

  arrayHead(): number {
    const items = this.#next();
    if (!Array.isArray(items)) throw malformed("something else stands where an array belongs");
    this.#stack.push({ items, at: 0 });
    return items.length;
  }

  changes(types: Uint8Array, before: readonly ParamCell[], items: number): ParamCell[] {
    const mask = this.#next();
    if (typeof mask !== "string" || mask.length !== ((types.length + 7) >> 3) * 2 || !HEX.test(mask)) {
      throw malformed("the mask of a row of changes does not fit its schema");
    }
    const cells = before.slice();
    let left = items;
    for (let at = 0; at < mask.length; at += 2) {
      for (let bits = Number.parseInt(mask.slice(at, at + 2), 16); bits !== 0; bits &= bits - 1) {
        const i = at * 4 + 31 - Math.clz32(bits & -bits);
        const type = types[i];
        if (--left < 0 || type === undefined) throw malformed("a mask does not fit its row");
        const item = this.#next();
        // Text within an array may stand for an integer; text that is no array never does, as differences are small.
        const value = Array.isArray(item) ? item.map((it) => numberOf(it, type)) : item;
        cells[i] = changedCell(before[i]!, type === ParamType.double ? numberOf(value, type) : value, type);
      }
    }
    if (left !== 0) throw malformed("a mask does not fit its row");
    return cells;
  }

  uuidIsNext(): boolean {
    const { items, at } = this.#stack.at(-1)!;
    return typeof items[at] === "string";
  }

  uuid(): string {
    const text = this.#next();
    const uuid = typeof text === "string" ? parseUuid(text) : undefined;
    if (uuid === undefined) throw malformed("something else stands where a uuid belongs");
    return uuid;
  }

  integer(): number {
    const value = this.#next();
    if (Number.isSafeInteger(value)) return value as number;
    throw malformed("something else stands where a whole number belongs");
  }

  text(): string {
    const value = this.#next();
    if (typeof value === "string") return value;
    throw malformed("something else stands where text belongs");
  }

  cells(types: Uint8Array, before: readonly ParamCell[] | undefined): ParamCell[] {
    const cells: ParamCell[] = [];
    for (let i = 0; i < types.length; i++) {
      const type = types[i]!;
      const value = this.#next();
      if (value === null) cells.push(repeated(before, i));
      else if (Array.isArray(value) && value.length === 2 && type === ParamType.string) {
        cells.push(goOn(before?.[i], value[0], value[1]));
      } else cells.push(typedCell(numberOf(value, type), type));
    }
    return cells;
  }

  value(depth: number): WireValue {
    const value = this.#next();
    checkDepth(value, depth);
    return value as WireValue;
  }

  #next(): unknown {
    while (this.#stack.length > 1) {
      const top = this.#stack.at(-1)!;
      if (top.at < top.items.length) break;
      this.#stack.pop();
    }
    const top = this.#stack.at(-1)!;
    if (top.at >= top.items.length) throw malformed("it ends where another value belongs");
    return top.items[top.at++];
  }
}

const HEX = /^[0-9a-f]*$/;

function hexOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (byte < 16 ? "0" : "") + byte.toString(16);
  return text;
}

/** What stands as text because JSON has no number for it, as that number; everything else as it is. */
function numberOf(value: unknown, type: number): unknown {
  if (typeof value !== "string") return value;
  const integer = type === ParamType.llong || type === ParamType.ullong;
  if (integer && /^-?\d{1,20}$/.test(value)) return integerCell(BigInt(value));
  const double = value === "NaN" || value === "Infinity" || value === "-Infinity";
  return double && type === ParamType.double ? Number(value) : value;
}

/** Refuses what is nested deeper than the protocol ever is. */
function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth <= 0) throw malformed("it is nested too deep");
  for (const item of Object.values(value)) checkDepth(item, depth - 1);
}
