import { VirstreamError } from "./error.ts";

/** libvirt's seven types of a typed parameter; a type's code on the wire is its position plus one. */
export const PARAM_TYPES = ["int", "uint", "llong", "ullong", "double", "boolean", "string"] as const;

/** A typed parameter's type by name. */
export type ParamTypeName = (typeof PARAM_TYPES)[number];

/** The codes of the types (virTypedParameterType). */
export const ParamType = { int: 1, uint: 2, llong: 3, ullong: 4, double: 5, boolean: 6, string: 7 } as const;

/** A type's code. */
export type ParamTypeCode = (typeof ParamType)[ParamTypeName];

/**
 * What a key needs besides its characters: its text's head, and its places in the lists and in the map of positions. A
 * schema needs the second figure besides its keys.
 */
const BYTES_PER_KEY = 128;
const BYTES_PER_SCHEMA = 1_024;

/**
 * The ordered keys of a record with their types. Records of the same shape share one schema, by identity, so a record
 * holds only its values; a SchemaTable makes the sharing.
 */
export class Schema {
  readonly keys: readonly string[];
  /** The type code of each key. */
  readonly types: Uint8Array;
  /** The positions of the keys whose values are texts, in order: the text at `texts[i]` belongs to `textPositions[i]`. */
  readonly textPositions: readonly number[];
  /** An upper limit of the memory that it needs, in bytes, including the texts of its keys. */
  readonly bytes: number;
  readonly #row: readonly number[];
  #positions: Map<string, number> | undefined;

  constructor(keys: readonly string[], types: Uint8Array) {
    if (keys.length !== types.length) {
      throw new VirstreamError("protocol-error", `a schema of ${keys.length} keys has ${types.length} types`);
    }
    this.keys = keys;
    this.types = types;
    const textPositions: number[] = [];
    // If the first value is a fraction, V8 keeps the array as plain doubles, 8 bytes each. It would convert an
    // array of small integers, for each record, at the first larger number.
    const row = [0.5];
    row.pop();
    for (let i = 0; i < types.length; i++) {
      row.push(types[i] === ParamType.string ? textPositions.push(i) - 1 : 0);
    }
    this.textPositions = textPositions;
    this.#row = row;
    this.bytes = keys.reduce((sum, { length }) => sum + BYTES_PER_KEY + 2 * length, BYTES_PER_SCHEMA);
  }

  /** How many keys have texts as values. */
  get textCount(): number {
    return this.textPositions.length;
  }

  /**
   * A new row for `TypedParams.doubles`: the text positions are filled in already, all else is 0. Put nothing but numbers
   * into it, and do not change its length: V8 then keeps it as plain doubles.
   */
  row(): number[] {
    return this.#row.slice();
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

/** The most bytes that the schemas of one table need together: keys that a daemon invents cannot fill the memory. */
const MAX_BYTES = 33_554_432;

/** The most schemas with one hash: a daemon that finds such keys cannot make the search long. */
const ALIKE_MAX = 8;

/** Differs from process to process, so that keys with equal hashes are hard to find. */
const SEED = Math.floor(Math.random() * 2 ** 32);

/**
 * Gives records of the same shape the same Schema object, so that a comparison of two schemas is one of identity. When
 * its schemas are too large together it starts again, empty; schemas in use stay as they are. It does not keep a schema that
 * is too large alone.
 */
export class SchemaTable {
  /** By a hash of their shapes: a text of each shape would take as much memory as its keys. */
  readonly #schemas = new Map<number, Schema[]>();
  #bytes = 0;
  #last: Schema | undefined;

  /** The schema of a list of keys and their types' codes. */
  schemaOf(keys: readonly string[], types: Uint8Array): Schema {
    const last = this.#last;
    if (last !== undefined && hasShape(last, keys, types)) return last;
    const hash = hashOf(keys, types);
    const known = this.#schemas.get(hash)?.find((schema) => hasShape(schema, keys, types));
    const schema = known ?? new Schema(keys, types);
    if (schema.bytes > MAX_BYTES) return schema;
    if (known === undefined) this.#keep(hash, schema);
    this.#last = schema;
    return schema;
  }

  #keep(hash: number, schema: Schema): void {
    this.#bytes += schema.bytes;
    if (this.#bytes > MAX_BYTES) {
      this.#schemas.clear();
      this.#bytes = schema.bytes;
    }
    const alike = this.#schemas.get(hash);
    if (alike === undefined) this.#schemas.set(hash, [schema]);
    else if (alike.push(schema) > ALIKE_MAX) this.#bytes -= alike.shift()!.bytes;
  }
}

function hashOf(keys: readonly string[], types: Uint8Array): number {
  let hash = SEED;
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i]!;
    hash = mixed(hash, (key.length << 3) | types[i]!);
    for (let at = 0; at < key.length; at++) hash = mixed(hash, key.charCodeAt(at));
  }
  return hash;
}

function mixed(hash: number, value: number): number {
  const product = Math.imul(hash ^ value, 0x9e3779b1);
  return product ^ (product >>> 15);
}

/** True if a schema has these keys and types. */
export function hasShape(schema: Schema, keys: readonly string[], types: Uint8Array): boolean {
  if (schema.keys === keys && schema.types === types) return true;
  if (schema.keys.length !== keys.length) return false;
  for (let i = 0; i < keys.length; i++) {
    if (schema.keys[i] !== keys[i] || schema.types[i] !== types[i]) return false;
  }
  return true;
}
