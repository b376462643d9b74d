import { TypedParams } from "../../model/params.ts";
import { ParamType, type ParamTypeCode, Schema } from "../../model/schema.ts";

/** What a row with a schema declares. */
const NOTHING: [key: string, type: ParamTypeCode][] = [];

/**
 * A record while it is written, parameter by parameter. The first record of a shape is written without a schema and
 * collects keys and types. Later ones are written with that schema: they keep the values and ignore the names. So the
 * key, the type and the value of a parameter are stated in one place.
 *
 * The methods are small so that V8 inlines them: that doubles the speed of a sweep.
 */
export class Row {
  readonly #schema: Schema | undefined;
  readonly #declared: [key: string, type: ParamTypeCode][];
  readonly #doubles: number[];
  readonly #texts: string[] = [];
  #bigs: Map<number, bigint> | undefined;
  #prefix = "";
  #size = 0;

  constructor(schema: Schema | undefined) {
    this.#schema = schema;
    this.#declared = schema === undefined ? [] : NOTHING;
    this.#doubles = schema === undefined ? [] : schema.row();
  }

  /** How many parameters were written. */
  get size(): number {
    return this.#size;
  }

  /** The names that follow belong to this group, or to this device of it. */
  of(group: string, device?: number): void {
    if (this.#schema === undefined) this.#prefix = device === undefined ? `${group}.` : `${group}.${device}.`;
  }

  /**
   * A number within ±(2^53 − 1), unless it is a double; of a boolean 0 or 1. Its type is ullong unless another is
   * given.
   */
  number(name: string, value: number, type?: ParamTypeCode): void {
    if (this.#schema === undefined) this.#declare(name, type);
    this.#doubles[this.#size++] = value;
  }

  text(name: string, value: string): void {
    this.number(name, this.#texts.length, ParamType.string);
    this.#texts.push(value);
  }

  /** An integer beyond ±(2^53 − 1). */
  big(name: string, value: bigint, type?: ParamTypeCode): void {
    this.#bigs ??= new Map();
    this.#bigs.set(this.#size, value);
    this.number(name, Number(value), type);
  }

  /** The record's parameters. */
  params(): TypedParams {
    if (this.#schema !== undefined) return new TypedParams(this.#schema, this.#doubles, this.#texts, this.#bigs);
    const keys = this.#declared.map(([key]) => key);
    const schema = new Schema(
      keys,
      Uint8Array.from(this.#declared, ([, type]) => type),
    );
    // Into a row of the schema, because that is what V8 keeps as plain doubles.
    const doubles = schema.row();
    this.#doubles.forEach((double, i) => {
      doubles[i] = double;
    });
    return new TypedParams(schema, doubles, this.#texts, this.#bigs);
  }

  #declare(name: string, type: ParamTypeCode = ParamType.ullong): void {
    this.#declared.push([this.#prefix + name, type]);
  }
}
