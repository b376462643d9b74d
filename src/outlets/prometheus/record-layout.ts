import { entryOf, perObject } from "../../driver/memo.ts";
import { ParamType, type Schema } from "../../model/schema.ts";

/**
 * The kinds of parts of a domain that have parameters of their own. The name is the first segment of the parameters'
 * keys.
 */
export type PartName = "vcpu" | "block" | "net";

const PART_KEY = /^(vcpu|block|net)\.(\d{1,9})\.(.+)$/;

/** Where one part's parameters are in a record. */
export interface PartLayout {
  /** libvirt's number of the part. */
  readonly number: number;
  /** The place of its name in `TypedParams.texts`; −1: it has none. */
  readonly name: number;
  /** Positions in `TypedParams.doubles`, by what follows the number in the key, such as `rd.bytes`. */
  readonly positions: ReadonlyMap<string, number>;
}

/**
 * The positions of the numeric parameters in records of one schema, computed once for the thousands of records that
 * share the schema.
 */
export class RecordLayout {
  /** Returns the layout of a schema. For the same schema, it always returns the same object. */
  static readonly of: (schema: Schema) => RecordLayout = perObject((schema: Schema) => new RecordLayout(schema));

  readonly vcpu: readonly PartLayout[];
  readonly block: readonly PartLayout[];
  readonly net: readonly PartLayout[];
  readonly #schema: Schema;

  constructor(schema: Schema) {
    this.#schema = schema;
    this.vcpu = partsOf("vcpu", schema);
    this.block = partsOf("block", schema);
    this.net = partsOf("net", schema);
  }

  /**
   * The position of a domain's numeric parameter in `TypedParams.doubles`; −1 if the records do not have the parameter.
   */
  position(key: string): number {
    const position = this.#schema.position(key);
    return position >= 0 && isNumeric(this.#schema.types[position]!) ? position : -1;
  }
}

function partsOf(kind: PartName, schema: Schema): PartLayout[] {
  const row = schema.row();
  const parts = new Map<string, { name: number; positions: Map<string, number> }>();
  for (const [position, key] of schema.keys.entries()) {
    const [, found, number, field] = PART_KEY.exec(key) ?? [];
    if (found !== kind) continue;
    const part = entryOf(parts, number!, () => ({ name: -1, positions: new Map() }));
    if (isNumeric(schema.types[position]!)) part.positions.set(field!, position);
    else if (field === "name" && schema.types[position] === ParamType.string) part.name = row[position]!;
  }
  return Array.from(parts, ([number, part]) => ({ number: Number(number), ...part }));
}

function isNumeric(type: number): boolean {
  return type <= ParamType.double;
}
