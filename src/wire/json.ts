import { VirstreamError } from "../model/error.ts";
import { integerCell, type ParamCell, ParamType } from "../model/params.ts";
import { parseUuid } from "../model/uuid.ts";
import { malformed, type WireReader, type WireValue, type WireWriter } from "./encoding.ts";

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

  cell(cell: ParamCell): void {
    if (typeof cell === "number") this.number(cell);
    else if (typeof cell === "bigint") this.#item(`"${cell}"`);
    else this.#item(JSON.stringify(cell));
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

  #item(text: string): void {
    this.#begin();
    this.#text += text;
    this.#ended();
  }

  /** After an item: closes the arrays that it completed. */
  #ended(): void {
    this.#follows = true;
    const last = this.#open.length - 1;
    if (last >= 0 && this.#open[last]! > 0 && --this.#open[last]! === 0) this.#close();
  }

  #close(): void {
    this.#open.pop();
    this.#text += "]";
    this.#ended();
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

  uuid(): string {
    const text = this.#next();
    const uuid = typeof text === "string" ? parseUuid(text) : undefined;
    if (uuid === undefined) throw malformed("something else stands where a uuid belongs");
    return uuid;
  }

  cell(type: number): ParamCell | null | undefined {
    const value = this.#next();
    if (Array.isArray(value)) {
      this.#stack.at(-1)!.at--;
      return undefined;
    }
    if (typeof value === "string") {
      if (type === ParamType.llong || type === ParamType.ullong) {
        if (!/^-?\d{1,20}$/.test(value)) throw malformed("text stands where an integer belongs");
        return integerCell(BigInt(value));
      }
      if (type === ParamType.double) {
        if (value !== "NaN" && value !== "Infinity" && value !== "-Infinity") {
          throw malformed("text stands where a double belongs");
        }
        return Number(value);
      }
      return value;
    }
    if (value === null || typeof value === "number" || typeof value === "boolean") return value;
    throw malformed("an object stands where a plain value belongs");
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

/** Refuses what is nested deeper than the protocol ever is. */
function checkDepth(value: unknown, depth: number): void {
  if (typeof value !== "object" || value === null) return;
  if (depth <= 0) throw malformed("it is nested too deep");
  for (const item of Object.values(value)) checkDepth(item, depth - 1);
}
