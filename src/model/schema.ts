import { VirstreamError } from "./error.ts";

/** The codes of libvirt's seven types of a typed parameter (virTypedParameterType). */
export const ParamType = { int: 1, uint: 2, llong: 3, ullong: 4, double: 5, boolean: 6, string: 7 } as const;

/** A typed parameter's type by name. */
export type ParamTypeName = keyof typeof ParamType;

/** The names of the types; a type's code is its position plus one. */
export const PARAM_TYPES = Object.keys(ParamType) as readonly ParamTypeName[];

/** The code of a type, from 1 to 7. */
export type ParamTypeCode = (typeof ParamType)[ParamTypeName];

/**
 * The ordered keys of a record with their types. Records with the same keys and types share one Schema object, so a
 * record holds only its values. A SchemaTable provides the shared objects.
 */
export class Schema {
  readonly keys: readonly string[];
  /** The type code of each key. */
  readonly types: Uint8Array;
  /**
   * The positions of the keys whose values are texts, in order. The text `texts[i]` of a record is the value of the key
   * at the position `textPositions[i]`.
   */
  readonly textPositions: readonly number[];
  readonly #row: readonly number[];
  #positions: Map<string, number> | undefined;

  constructor(keys: readonly string[], types: Uint8Array) {
    if (keys.length !== types.length) {
      throw new VirstreamError("protocol-error", `a schema of ${keys.length} keys has ${types.length} types`);
    }
    this.keys = keys;
    this.types = types;
    const textPositions: number[] = [];
    // If the first value is a fraction, V8 keeps the array as plain doubles, 8 bytes each. An array of small integers
    // has another form, which V8 would convert for each record at the first larger number.
    const row = [0.5];
    row.pop();
    for (let i = 0; i < types.length; i++) {
      row.push(types[i] === ParamType.string ? textPositions.push(i) - 1 : 0);
    }
    this.textPositions = textPositions;
    this.#row = row;
  }

  /** How many keys have texts as values. */
  get textCount(): number {
    return this.textPositions.length;
  }

  /**
   * A new array for `TypedParams.doubles`. For a key whose value is a text, it already has the text's position in
   * `texts`; all other items are 0. Put nothing but numbers into it, and do not change its length: V8 then keeps it as
   * plain doubles.
   */
  row(): number[] {
    return this.#row.slice();
  }

  /** The position of a key, or −1. If a key occurs twice, the first position. */
  position(key: string): number {
    if (this.#positions === undefined) {
      this.#positions = new Map();
      for (let i = this.keys.length - 1; i >= 0; i--) this.#positions.set(this.keys[i]!, i);
    }
    return this.#positions.get(key) ?? -1;
  }
}
