import { malformed } from "../errors.ts";
import { FLOAT, SPARSE } from "../protocol.ts";

/** The width of a column that has no bytes per row. */
const CONSTANT = 0;

/**
 * Reads the columns of a block. The constructor reads the values that all rows share; `read` then reads the columns that vary,
 * one by one. Bytes that do not fit throw `protocol-error`.
 */
export class ColumnReader {
  readonly #rows: number;
  readonly #present: Uint8Array;
  readonly #body: Uint8Array;
  readonly #view: DataView;
  /** For each column its width, its least value, and its start in the body. An absent column has width 0 and least value 0. */
  readonly #widths: Uint8Array;
  readonly #leasts: Float64Array;
  readonly #begins: Uint32Array;
  /** The numbers of the last column that `read` returned, one for each row. */
  readonly values: Float64Array;

  constructor(rows: number, columns: number, present: unknown, widths: unknown, leasts: unknown, body: unknown) {
    if (!(present instanceof Uint8Array) || present.length !== (columns + 7) >> 3) {
      throw malformed("a block's columns are not those of its schema");
    }
    if (!(widths instanceof Uint8Array) || !Array.isArray(leasts) || leasts.length !== widths.length) {
      throw malformed("a block has widths and least values that do not match");
    }
    if (!(body instanceof Uint8Array)) throw malformed("a block has no body");
    this.#rows = rows;
    this.#present = present;
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.length);
    this.#widths = new Uint8Array(columns);
    this.#leasts = new Float64Array(columns);
    this.#begins = new Uint32Array(columns);
    this.values = new Float64Array(rows);
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

  /** Reads a column that varies into `values`. */
  read(column: number): Float64Array {
    const width = this.#widths[column]!;
    const at = this.#begins[column]!;
    if (width >= SPARSE) this.#sparse(width - SPARSE, this.#leasts[column]!, at);
    else this.#offsets(width, this.#leasts[column]!, at, this.#rows);
    return this.values;
  }

  /** How many bytes of the body a column takes. Throws if the body is too short for it. */
  #sizeOf(width: number, at: number): number {
    const rows = this.#rows;
    let size = rows * width;
    if (width >= SPARSE) {
      const mask = (rows + 7) >> 3;
      let count = 0;
      if (at + mask <= this.#body.length) {
        for (let row = 0; row < rows; row++) count += (this.#body[at + (row >> 3)]! >> (row & 7)) & 1;
      }
      size = mask + count * (width - SPARSE);
    }
    if ((width & ~SPARSE) > FLOAT || at + size > this.#body.length) throw malformed("a column ends beyond its block");
    return size;
  }

  #sparse(width: number, least: number, at: number): void {
    const rows = this.#rows;
    const { values } = this;
    let count = 0;
    for (let row = 0; row < rows; row++) count += (this.#body[at + (row >> 3)]! >> (row & 7)) & 1;
    if (width === CONSTANT) values.fill(least, 0, count);
    else this.#offsets(width, least, at + ((rows + 7) >> 3), count);
    // Backwards, so that no value is overwritten before it is moved.
    for (let row = rows - 1; row >= 0; row--) {
      const isSet = ((this.#body[at + (row >> 3)]! >> (row & 7)) & 1) === 1;
      values[row] = isSet ? values[--count]! : 0;
    }
  }

  #offsets(width: number, least: number, begin: number, count: number): void {
    const bytes = this.#body;
    const view = this.#view;
    const { values } = this;
    let at = begin;
    switch (width) {
      case 1:
        for (let i = 0; i < count; i++) values[i] = least + bytes[at++]!;
        return;
      case 2:
        for (let i = 0; i < count; i++, at += 2) values[i] = least + view.getUint16(at, true);
        return;
      case 3:
        for (let i = 0; i < count; i++, at += 3) {
          values[i] = least + (view.getUint16(at, true) + bytes[at + 2]! * 65_536);
        }
        return;
      case 4:
        for (let i = 0; i < count; i++, at += 4) values[i] = least + view.getUint32(at, true);
        return;
      case 5:
        for (let i = 0; i < count; i++, at += 5) {
          values[i] = least + (view.getUint32(at, true) + bytes[at + 4]! * 4_294_967_296);
        }
        return;
      case 6:
        for (let i = 0; i < count; i++, at += 6) {
          values[i] = least + (view.getUint32(at, true) + view.getUint16(at + 4, true) * 4_294_967_296);
        }
        return;
      case 7:
        for (let i = 0; i < count; i++, at += 7) {
          const high = view.getUint16(at + 4, true) + bytes[at + 6]! * 65_536;
          values[i] = least + (view.getUint32(at, true) + high * 4_294_967_296);
        }
        return;
      default:
        for (let i = 0; i < count; i++, at += 8) values[i] = view.getFloat64(at, true);
    }
  }
}
