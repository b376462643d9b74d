import { ParamType, type ParamTypeCode, Schema } from "../../model/schema.ts";
import { TypedParams } from "../../model/typed-params.ts";

/** An empty list of declared parameters. All rows with a schema share it, because they declare nothing. */
const NOTHING: [key: string, type: ParamTypeCode][] = [];

/**
 * A record while it is written, parameter by parameter. The first record with a set of keys is written twice: first
 * without a schema, which only collects the keys and types, and then with the schema. A row with a schema keeps the
 * values and ignores the names. So the key, the type and the value of a parameter are stated in one place.
 *
 * The methods are small so that V8 inlines them, and the array of doubles never grows: both make a sweep much faster.
 */
export class Row {
  readonly #schema: Schema | undefined;
  readonly #declared: [key: string, type: ParamTypeCode][];
  readonly #doubles: number[];
  readonly #texts: string[] = [];
  #bigs: Map<number, bigint> | undefined;
  #prefix = "";
  /** How many parameters were written. */
  size = 0;

  constructor(schema?: Schema) {
    this.#schema = schema;
    this.#declared = schema === undefined ? [] : NOTHING;
    this.#doubles = schema === undefined ? [] : schema.row();
  }

  /** Sets the group of the parameters that are written next, and the device of the group if there is one. */
  of(group: string, device?: number): void {
    if (this.#schema === undefined) this.#prefix = device === undefined ? `${group}.` : `${group}.${device}.`;
  }

  /**
   * Writes a number, which must be within ±(2^53 − 1), unless its type is double. A boolean is 0 or 1. Without `type`,
   * the type is ullong.
   */
  number(name: string, value: number, type?: ParamTypeCode): void {
    if (this.#schema === undefined) this.#declare(name, type);
    else this.#doubles[this.size] = value;
    this.size++;
  }

  /** Writes a text. `Schema.row` has already written the text's position in the list of texts to the row's array. */
  text(name: string, value: string): void {
    if (this.#schema === undefined) this.#declare(name, ParamType.string);
    this.#texts.push(value);
    this.size++;
  }

  /** Writes an integer beyond ±(2^53 − 1). */
  big(name: string, value: bigint, type?: ParamTypeCode): void {
    this.#bigs ??= new Map();
    this.#bigs.set(this.size, value);
    this.number(name, Number(value), type);
  }

  /** Makes a schema of the keys and types that were written. Only for a row without a schema. */
  declared(): Schema {
    const types = Uint8Array.from(this.#declared, ([, type]) => type);
    return new Schema(
      this.#declared.map(([key]) => key),
      types,
    );
  }

  /** The parameters of a row that was written with a schema. */
  params(): TypedParams {
    return new TypedParams(this.#schema!, this.#doubles, this.#texts, this.#bigs);
  }

  #declare(name: string, type: ParamTypeCode = ParamType.ullong): void {
    this.#declared.push([this.#prefix + name, type]);
  }
}
