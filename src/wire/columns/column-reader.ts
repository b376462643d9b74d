import { malformed } from "../errors.ts";
import { FLOAT, SPARSE } from "../protocol.ts";

/** Reads the columns of a block in their order. Whatever does not fit throws `protocol-error`. */
export class ColumnReader {
  readonly #rows: number;
  readonly #present: Uint8Array;
  readonly #widths: Uint8Array;
  readonly #leasts: readonly unknown[];
  readonly #body: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #read = 0;
  /** Whether the column that was read last has a number for each row, in `values`; else all have `constant`. */
  varies = false;
  constant = 0;
  values: Float64Array = EMPTY;

  /** Checks what does not depend on single columns. */
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
    this.#widths = widths;
    this.#leasts = leasts;
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.length);
  }

  /** Reads a column into `varies`, `constant` and `values`; false: it is absent, which is 0 in every row. In ascending order. */
  read(column: number): boolean {
    this.varies = false;
    this.constant = 0;
    if ((this.#present[column >> 3]! & (1 << (column & 7))) === 0) return false;
    if (this.#read === this.#widths.length) throw malformed("a block has more columns than widths");
    const width = this.#widths[this.#read]!;
    const least = this.#leasts[this.#read++];
    if (typeof least !== "number") throw malformed("a column's least value is no number");
    if (width === 0) {
      this.constant = least;
      return true;
    }
    if (this.values.length < this.#rows) this.values = new Float64Array(this.#rows);
    this.varies = true;
    if ((width & SPARSE) === 0) this.#offsets(width, least, this.#rows);
    else this.#sparse(width & ~SPARSE, least);
    return true;
  }

  /** Gives away the numbers of the column that was read last; the next one gets an array of its own. */
  keep(): Float64Array {
    const { values } = this;
    this.values = EMPTY;
    return values;
  }

  /** Checks that nothing is left. */
  end(): void {
    if (this.#read !== this.#widths.length || this.#at !== this.#body.length)
      throw malformed("a block has more than its columns");
  }

  #sparse(width: number, least: number): void {
    const rows = this.#rows;
    const mask = this.#at;
    this.#at += (rows + 7) >> 3;
    if (this.#at > this.#body.length) throw malformed("a column ends beyond its block");
    let count = 0;
    for (let row = 0; row < rows; row++) if ((this.#body[mask + (row >> 3)]! & (1 << (row & 7))) !== 0) count++;
    const { values } = this;
    if (width === 0) values.fill(least, 0, count);
    else this.#offsets(width, least, count);
    // From the end on, so that no value is overwritten before it was moved.
    for (let row = rows - 1; row >= 0; row--) {
      const set = (this.#body[mask + (row >> 3)]! & (1 << (row & 7))) !== 0;
      values[row] = set ? values[--count]! : 0;
    }
  }

  #offsets(width: number, least: number, count: number): void {
    const bytes = this.#body;
    const view = this.#view;
    const { values } = this;
    let at = this.#at;
    this.#at = at + count * width;
    if (width > FLOAT || this.#at > bytes.length) throw malformed("a column ends beyond its block");
    switch (width) {
      case 1:
        for (let i = 0; i < count; i++) values[i] = least + bytes[at++]!;
        return;
      case 2:
        for (let i = 0; i < count; i++, at += 2) values[i] = least + view.getUint16(at, true);
        return;
      case 3:
        for (let i = 0; i < count; i++, at += 3) values[i] = least + view.getUint16(at, true) + bytes[at + 2]! * 65_536;
        return;
      case 4:
        for (let i = 0; i < count; i++, at += 4) values[i] = least + view.getUint32(at, true);
        return;
      case 5:
      case 6:
      case 7:
        for (let i = 0; i < count; i++, at += width) {
          let high = bytes[at + 4]!;
          if (width > 5) high += bytes[at + 5]! * 256;
          if (width > 6) high += bytes[at + 6]! * 65_536;
          values[i] = least + (high * 4_294_967_296 + view.getUint32(at, true));
        }
        return;
      default:
        for (let i = 0; i < count; i++, at += 8) values[i] = view.getFloat64(at, true);
    }
  }
}

const EMPTY = new Float64Array(0);
