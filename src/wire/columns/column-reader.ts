import { malformed } from "../errors.ts";
import { FLOAT, SPARSE } from "../protocol.ts";
import { spread } from "./number-columns.ts";

/** The width of a column that has no bytes per row. */
const CONSTANT = 0;

/**
 * Reads the columns of a block. The constructor reads the values that all rows share; `read` then reads the columns one by one. Bytes that do not fit throw `protocol-error`.
 */
export class ColumnReader {
  /** How many rows the block has. */
  readonly rows: number;
  readonly #present: Uint8Array;
  readonly #body: Uint8Array;
  readonly #view: DataView;
  /** For each column its width, its least value, and its start in the body. An absent column has width 0 and least value 0. */
  readonly #widths: Uint8Array;
  readonly #leasts: Float64Array;
  readonly #begins: Uint32Array;

  constructor(rows: number, columns: number, present: unknown, widths: unknown, leasts: unknown, body: unknown) {
    if (!(present instanceof Uint8Array) || present.length !== (columns + 7) >> 3) {
      throw malformed("a block's columns are not those of its schema");
    }
    if (!(widths instanceof Uint8Array) || !Array.isArray(leasts) || leasts.length !== widths.length) {
      throw malformed("a block has widths and least values that do not match");
    }
    if (!(body instanceof Uint8Array)) throw malformed("a block has no body");
    this.rows = rows;
    this.#present = present;
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.length);
    this.#widths = new Uint8Array(columns);
    this.#leasts = new Float64Array(columns);
    this.#begins = new Uint32Array(columns);
    let at = 0;
    let read = 0;
    for (let column = 0; column < columns; column++) {
      if (!this.isPresent(column)) continue;
      const width = widths[read];
      const least = leasts[read++] as unknown;
      if (width === undefined || typeof least !== "number") throw malformed("a column has no width or no least value");
      this.#widths[column] = width;
      this.#leasts[column] = least;
      this.#begins[column] = at;
      at += this.#sizeOf(width, at);
    }
    if (read !== widths.length || at !== body.length)
      throw malformed("the size of a block's body is not that of its columns");
  }

  /** Whether a column is present; an absent column is 0 in all rows. */
  isPresent(column: number): boolean {
    return (this.#present[column >> 3]! & (1 << (column & 7))) !== 0;
  }

  /** Whether a column has a number for each row; if not, all rows have `least`. */
  varies(column: number): boolean {
    return this.#widths[column] !== CONSTANT;
  }

  least(column: number): number {
    return this.#leasts[column]!;
  }

  /** Reads a number for each row into `values`, from index `to`. */
  read(column: number, values: Float64Array, to: number): void {
    const width = this.#widths[column]!;
    const least = this.#leasts[column]!;
    const at = this.#begins[column]!;
    if (width === CONSTANT) values.fill(least, to, to + this.rows);
    else if (width >= SPARSE) this.#sparse(width - SPARSE, least, at, values, to);
    else this.#offsets(width, least, at, values, to, to + this.rows);
  }

  /** How many bytes of the body a column takes. Throws if the body is too short for it. */
  #sizeOf(width: number, at: number): number {
    const rows = this.rows;
    let size = rows * width;
    if (width >= SPARSE) {
      const mask = (rows + 7) >> 3;
      const count = at + mask <= this.#body.length ? this.#countOf(at) : 0;
      size = mask + count * (width - SPARSE);
    }
    if ((width & ~SPARSE) > FLOAT || at + size > this.#body.length) throw malformed("a column ends beyond its block");
    return size;
  }

  #sparse(width: number, least: number, at: number, values: Float64Array, to: number): void {
    const count = this.#countOf(at);
    if (width === CONSTANT) values.fill(least, to, to + count);
    else this.#offsets(width, least, at + ((this.rows + 7) >> 3), values, to, to + count);
    spread(values, to, this.rows, count, this.#body, at);
  }

  /** How many rows a mask names. */
  #countOf(at: number): number {
    const bytes = this.#body;
    const rows = this.rows;
    let count = 0;
    for (let row = 0; row < rows; row++) count += (bytes[at + (row >> 3)]! >> (row & 7)) & 1;
    return count;
  }

  #offsets(width: number, least: number, begin: number, values: Float64Array, to: number, end: number): void {
    const bytes = this.#body;
    const view = this.#view;
    let at = begin;
    switch (width) {
      case 1:
        for (let i = to; i < end; i++) values[i] = least + bytes[at++]!;
        return;
      case 2:
        for (let i = to; i < end; i++, at += 2) values[i] = least + view.getUint16(at, true);
        return;
      case 3:
        for (let i = to; i < end; i++, at += 3) {
          values[i] = least + (view.getUint16(at, true) + bytes[at + 2]! * 65_536);
        }
        return;
      case 4:
        for (let i = to; i < end; i++, at += 4) values[i] = least + view.getUint32(at, true);
        return;
      case 5:
        for (let i = to; i < end; i++, at += 5) {
          values[i] = least + (view.getUint32(at, true) + bytes[at + 4]! * 4_294_967_296);
        }
        return;
      case 6:
        for (let i = to; i < end; i++, at += 6) {
          values[i] = least + (view.getUint32(at, true) + view.getUint16(at + 4, true) * 4_294_967_296);
        }
        return;
      case 7:
        for (let i = to; i < end; i++, at += 7) {
          const high = view.getUint16(at + 4, true) + bytes[at + 6]! * 65_536;
          values[i] = least + (view.getUint32(at, true) + high * 4_294_967_296);
        }
        return;
      default:
        for (let i = to; i < end; i++, at += 8) values[i] = view.getFloat64(at, true);
    }
  }
}
