import type { KnownKey, KnownValue } from "./field/field.ts";
import { PARAM_TYPES, ParamType, type ParamTypeName, Schema } from "./schema.ts";

/** A value as `get` returns it: llong and ullong are bigint, int, uint and double are number. */
export type ParamValue = number | bigint | boolean | string;

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

/** The shared `texts` of all records that have no texts. */
export const NO_TEXTS: readonly string[] = Object.freeze([]);

/**
 * The typed parameters of one record, in their order and with exact values. A value gets its JavaScript type only when
 * it is read. The type of a value follows the type that was declared for it, never its size: llong and ullong are
 * always bigint, also when they are small.
 *
 * The values are kept as one packed array of doubles, since nearly all of them are numbers: 8 bytes for each, one
 * object for the garbage collector, and comparisons without type checks. The few values that are not doubles are kept
 * in `texts` and `bigs`.
 */
export class TypedParams implements Iterable<[key: string, value: ParamValue]> {
  /** The parameters of a record that has none. */
  static readonly EMPTY = new TypedParams(new Schema([], new Uint8Array(0)), []);

  readonly schema: Schema;
  /**
   * One double for each parameter, in an array that `schema.row()` created. The double is the value of an integer
   * (rounded beyond 2^53, never -0) or of a double, 0 or 1 for a boolean, or the position of a text in `texts`. For
   * encoders and comparisons; readers use `get` and iteration.
   */
  readonly doubles: readonly number[];
  /** The texts in the order of `schema.textPositions`. Records with equal texts may share the array. */
  readonly texts: readonly string[];
  /** The exact values of integers beyond ±(2^53 − 1) by position; undefined when there are none. */
  readonly bigs: ReadonlyMap<number, bigint> | undefined;

  /**
   * Makes parameters from a schema and values, which must be of the schema's types: unlike TypedParams.of, the
   * constructor does not check them.
   */
  constructor(
    schema: Schema,
    doubles: readonly number[],
    texts: readonly string[] = NO_TEXTS,
    bigs?: ReadonlyMap<number, bigint>,
  ) {
    this.schema = schema;
    this.doubles = doubles;
    this.texts = texts;
    this.bigs = bigs;
  }

  /** The number of parameters. */
  get size(): number {
    return this.doubles.length;
  }

  /** True if the record has this key. */
  has(key: KnownKey): boolean {
    return this.schema.position(key) >= 0;
  }

  /**
   * The value of a key of the field table, or undefined if the record has no such key: a missing value is never 0. A
   * key that the table lacks does not compile; see `getUnknown`.
   */
  get<Key extends KnownKey>(key: Key): KnownValue<Key> | undefined {
    return this.getUnknown(key) as KnownValue<Key> | undefined;
  }

  /**
   * The value of any key: a key of a newer libvirt, a key of your own driver, or a key that is known only at run time.
   * Undefined if the record lacks the key.
   */
  getUnknown(key: string): ParamValue | undefined {
    const position = this.schema.position(key);
    return position < 0 ? undefined : this.at(position);
  }

  /**
   * A numeric value as a float for arithmetic (a 64-bit integer is rounded above 2^53). Undefined if the record lacks
   * the key, or if the value is a text.
   */
  number(key: KnownKey): number | undefined {
    const position = this.schema.position(key);
    if (position < 0 || this.schema.types[position] === ParamType.string) return undefined;
    return this.doubles[position];
  }

  /** The declared type of a key's value; undefined if the record lacks the key. */
  type(key: string): ParamTypeName | undefined {
    const position = this.schema.position(key);
    return position < 0 ? undefined : PARAM_TYPES[this.schema.types[position]! - 1];
  }

  /** The value at a position, in its declared type. */
  at(position: number): ParamValue | undefined {
    const double = this.doubles[position];
    if (double === undefined) return undefined;
    switch (this.schema.types[position]) {
      case ParamType.string:
        return this.texts[double];
      case ParamType.boolean:
        return double !== 0;
      case ParamType.llong:
      case ParamType.ullong:
        return this.bigs?.get(position) ?? BigInt(double);
      default:
        return double;
    }
  }

  /** Iterates over keys and values, in the record's order. */
  *[Symbol.iterator](): Generator<[key: string, value: ParamValue]> {
    for (let i = 0; i < this.doubles.length; i++) yield [this.schema.keys[i]!, this.at(i)!];
  }

  /** Every parameter with its type, in order. */
  *list(): Generator<Param> {
    for (let i = 0; i < this.doubles.length; i++) {
      yield { key: this.schema.keys[i]!, type: PARAM_TYPES[this.schema.types[i]! - 1]!, value: this.at(i)! };
    }
  }

  /**
   * The parameters as a hierarchy: each dot in a key begins a deeper level. If a key has a value and is also the
   * beginning of other keys, its value is under the empty segment.
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

  /**
   * A plain object for JSON: integers as numbers while they are exact, as decimal text beyond 2^53. A double that is
   * not a finite number is text, too: JSON has no number for it.
   */
  toJSON(): Record<string, number | boolean | string> {
    const object: Record<string, number | boolean | string> = Object.create(null);
    const { keys, types } = this.schema;
    for (let i = 0; i < keys.length; i++) {
      const double = this.doubles[i]!;
      const big = this.bigs?.get(i);
      if (types[i] === ParamType.string) object[keys[i]!] = this.texts[double]!;
      else if (types[i] === ParamType.boolean) object[keys[i]!] = double !== 0;
      else if (big !== undefined) object[keys[i]!] = big.toString();
      else object[keys[i]!] = Number.isFinite(double) ? double : String(double);
    }
    return object;
  }
}

/**
 * The type codes of the parameters in the plain object that `toJSON` returned: one digit for each, in the order of the
 * object.
 */
export function typesOf({ schema }: TypedParams, plain: object): string {
  let codes = "";
  for (const key of Object.keys(plain)) codes += schema.types[schema.position(key)]!;
  return codes;
}
