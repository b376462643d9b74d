import { VirstreamError } from "./error.ts";
import type { KnownKey, KnownValue } from "./field.ts";

/** libvirt's seven types of a typed parameter; a type's code on the wire is its position plus one. */
export const PARAM_TYPES = ["int", "uint", "llong", "ullong", "double", "boolean", "string"] as const;

/** A typed parameter's type by name. */
export type ParamTypeName = (typeof PARAM_TYPES)[number];

/** The codes of the types (virTypedParameterType). */
export const ParamType = { int: 1, uint: 2, llong: 3, ullong: 4, double: 5, boolean: 6, string: 7 } as const;

/** A type's code. */
export type ParamTypeCode = (typeof ParamType)[ParamTypeName];

/** A value as its reader sees it: llong and ullong are bigint, int, uint and double are number. */
export type ParamValue = number | bigint | boolean | string;

/**
 * A value as it is kept and carried: an integer is a number while it is within ±(2^53 − 1), whatever its type, and a
 * bigint beyond. Numbers are several times cheaper to hold, compare and encode, and nothing is lost.
 */
export type ParamCell = number | bigint | boolean | string;

/**
 * The ordered keys of a record with their types. Records of the same shape share one schema, by identity, so that a
 * record is only its values; see SchemaTable for where the sharing comes from.
 */
export class Schema {
  readonly keys: readonly string[];
  /** The type code of each key. */
  readonly types: Uint8Array;
  #positions: Map<string, number> | undefined;

  constructor(keys: readonly string[], types: Uint8Array) {
    if (keys.length !== types.length) {
      throw new VirstreamError("protocol-error", `a schema of ${keys.length} keys has ${types.length} types`);
    }
    this.keys = keys;
    this.types = types;
  }

  /** The position of a key, or −1. Of a key that occurs twice, the first. */
  position(key: string): number {
    if (this.#positions === undefined) {
      this.#positions = new Map();
      for (let i = this.keys.length - 1; i >= 0; i--) this.#positions.set(this.keys[i]!, i);
    }
    return this.#positions.get(key) ?? -1;
  }
}

/** A hierarchy of parameters: `tree.block[0].rd.bytes`. Objects have no prototype; values are as `get` gives them. */
export interface ParamTree {
  [segment: string]: ParamTree | ParamValue;
}

/** One parameter: its key, its type and its value. */
export interface Param {
  readonly key: string;
  readonly type: ParamTypeName;
  readonly value: ParamValue;
}

/**
 * The typed parameters of one record: ordered, exact, and lazy. The type of a value follows the type that was declared
 * for it, never its size: llong and ullong are always bigint, also when they are small.
 */
export class TypedParams implements Iterable<[key: string, value: ParamValue]> {
  /** A record without parameters. */
  static readonly EMPTY = new TypedParams(new Schema([], new Uint8Array(0)), []);

  readonly schema: Schema;
  /** The values in the schema's order, as they are carried. For encoders; readers use `get` and iteration. */
  readonly cells: readonly ParamCell[];

  constructor(schema: Schema, cells: readonly ParamCell[]) {
    this.schema = schema;
    this.cells = cells;
  }

  /** Parameters from a plain list, for drivers that make up their own. */
  static from(list: Iterable<readonly [key: string, type: ParamTypeName, value: ParamValue]>): TypedParams {
    const keys: string[] = [];
    const types: number[] = [];
    const cells: ParamCell[] = [];
    for (const [key, type, value] of list) {
      keys.push(key);
      types.push(ParamType[type]);
      cells.push(typeof value === "bigint" ? integerCell(value) : value);
    }
    return new TypedParams(new Schema(keys, Uint8Array.from(types)), cells);
  }

  get size(): number {
    return this.cells.length;
  }

  has(key: string): boolean {
    return this.schema.position(key) >= 0;
  }

  /** The value of a key, or undefined where the record has no such key: missing is never zero. */
  get<Key extends KnownKey>(key: Key): KnownValue<Key> | undefined;
  get(key: string): ParamValue | undefined;
  get(key: string): ParamValue | undefined {
    const position = this.schema.position(key);
    return position < 0 ? undefined : this.at(position);
  }

  /** A numeric value as a float for arithmetic (a 64-bit one rounds above 2^53); undefined for a missing key or text. */
  number(key: KnownKey | (string & {})): number | undefined {
    const position = this.schema.position(key);
    if (position < 0) return undefined;
    const cell = this.cells[position]!;
    return typeof cell === "string" ? undefined : Number(cell);
  }

  /** The declared type of a key. */
  type(key: string): ParamTypeName | undefined {
    const position = this.schema.position(key);
    return position < 0 ? undefined : PARAM_TYPES[this.schema.types[position]! - 1];
  }

  /** The value at a position, in its declared type. */
  at(position: number): ParamValue | undefined {
    const cell = this.cells[position];
    const type = this.schema.types[position];
    return typeof cell === "number" && (type === ParamType.llong || type === ParamType.ullong) ? BigInt(cell) : cell;
  }

  *[Symbol.iterator](): Generator<[key: string, value: ParamValue]> {
    for (let i = 0; i < this.cells.length; i++) yield [this.schema.keys[i]!, this.at(i)!];
  }

  /** Every parameter with its type, in order. */
  *list(): Generator<Param> {
    for (let i = 0; i < this.cells.length; i++) {
      yield { key: this.schema.keys[i]!, type: PARAM_TYPES[this.schema.types[i]! - 1]!, value: this.at(i)! };
    }
  }

  /**
   * The parameters as a hierarchy along their dots. Where a key is both a value and the beginning of others, its value
   * is under the empty segment.
   */
  tree(): ParamTree {
    const root: ParamTree = Object.create(null);
    for (const [key, value] of this) {
      const segments = key.split(".");
      const last = segments.pop()!;
      let node = root;
      for (const segment of segments) {
        const next = node[segment];
        if (typeof next === "object") {
          node = next;
        } else {
          const child: ParamTree = Object.create(null);
          if (next !== undefined) child[""] = next;
          node[segment] = child;
          node = child;
        }
      }
      const existing = node[last];
      if (typeof existing === "object") existing[""] = value;
      else node[last] = value;
    }
    return root;
  }

  /** A plain object for JSON: integers as numbers while they are exact, as decimal text beyond 2^53. */
  toJSON(): Record<string, number | boolean | string> {
    const object: Record<string, number | boolean | string> = Object.create(null);
    for (let i = 0; i < this.cells.length; i++) {
      const cell = this.cells[i]!;
      object[this.schema.keys[i]!] = typeof cell === "bigint" ? cell.toString() : cell;
    }
    return object;
  }
}

/** An integer of 64 bits as it is carried: a number while that is exact. */
export function integerCell(value: bigint): number | bigint {
  return value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value;
}
