import type { Schema } from "../model/params.ts";
import type { ParamCell } from "./cells.ts";
import { RowBefore } from "./repetition.ts";

/** A frame refers to no more schemas, and to no more keys of them, so that its schemas fit the window together. */
const MAX_SCHEMAS = 512;
const MAX_KEYS = 262_144;

/** Gives schemas and hosts their numbers. */
export interface Numbering {
  schema(schema: Schema): number;
  host(host: string): number;
}

/** The schemas that the rows of one message refer to, each with its latest row. */
export class FrameSchemas {
  readonly #latest = new Map<Schema, RowBefore>();
  #keys = 0;

  /** All of them. */
  get all(): Iterable<Schema> {
    return this.#latest.keys();
  }

  /** Whether a schema still has room beside the others; the first one always has. */
  fits(schema: Schema): boolean {
    if (this.#latest.size === 0 || this.#latest.has(schema)) return true;
    return this.#latest.size < MAX_SCHEMAS && this.#keys + schema.keys.length <= MAX_KEYS;
  }

  /** The latest row of a schema. */
  before(schema: Schema): RowBefore | undefined {
    return this.#latest.get(schema);
  }

  /** A row was written; `before` is what the method of that name gave. */
  wrote(schema: Schema, cells: readonly ParamCell[], before: RowBefore | undefined): void {
    if (before === undefined) {
      this.#latest.set(schema, new RowBefore(cells));
      this.#keys += schema.keys.length;
    } else {
      before.cells = cells;
    }
  }

  clear(): void {
    this.#latest.clear();
    this.#keys = 0;
  }
}
