import { Schema } from "./schema.ts";

/**
 * The bytes that a key needs besides its characters: the header of its text, and its places in the lists and in the map
 * of positions. BYTES_PER_SCHEMA is for a schema without its keys.
 */
const BYTES_PER_KEY = 128;
const BYTES_PER_SCHEMA = 1_024;

/** The most bytes of all schemas of one table, so that keys that a daemon invents cannot fill the memory. */
const MAX_BYTES = 33_554_432;

/**
 * The most schemas with the same hash, so that a daemon that finds keys with equal hashes cannot make the search long.
 */
const ALIKE_MAX = 8;

/** An upper limit of the memory that a schema needs, in bytes, including the texts of its keys. */
export function bytesOf({ keys }: Schema): number {
  return keys.reduce((sum, { length }) => sum + BYTES_PER_KEY + 2 * length, BYTES_PER_SCHEMA);
}

/**
 * The start value of all hashes. It differs from process to process, so that keys with equal hashes are hard to find.
 */
const SEED = Math.floor(Math.random() * 2 ** 32);

/**
 * Gives records with the same keys and types the same Schema object, so that two schemas can be compared by identity.
 * When all its schemas together are too large, the table drops them and starts again empty; records that use the
 * dropped schemas stay valid. The table does not keep a schema that is too large on its own.
 */
export class SchemaTable {
  /**
   * The schemas, by a hash of their keys and types. The map does not use the keys and types themselves as a text,
   * because that text would take as much memory as the keys.
   */
  readonly #schemas = new Map<number, Schema[]>();
  #bytes = 0;
  #last: Schema | undefined;

  /** Returns the shared schema for a list of keys and the type code of each key. */
  schemaOf(keys: readonly string[], types: Uint8Array): Schema {
    const last = this.#last;
    if (last !== undefined && hasShape(last, keys, types)) return last;
    const hash = hashOf(keys, types);
    const known = this.#schemas.get(hash)?.find((schema) => hasShape(schema, keys, types));
    const schema = known ?? new Schema(keys, types);
    if (bytesOf(schema) > MAX_BYTES) return schema;
    if (known === undefined) this.#keep(hash, schema);
    this.#last = schema;
    return schema;
  }

  #keep(hash: number, schema: Schema): void {
    this.#bytes += bytesOf(schema);
    if (this.#bytes > MAX_BYTES) {
      this.#schemas.clear();
      this.#bytes = bytesOf(schema);
    }
    const alike = this.#schemas.get(hash);
    if (alike === undefined) this.#schemas.set(hash, [schema]);
    else if (alike.push(schema) > ALIKE_MAX) this.#bytes -= bytesOf(alike.shift()!);
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
