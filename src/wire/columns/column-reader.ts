import { malformed } from "../errors.ts";
import { FLOAT, SPARSE } from "../protocol.ts";

/** The width of a column that has no bytes per row. */
const CONSTANT = 0;

/** The most rows of a strip. The mask of a strip has one bit for each row, and is a number of 32 bits. */
export const STRIP = 32;

/** The values of the strip that was read last. All ColumnReaders share this array. */
export const strip = new Float64Array(STRIP);

/**
 * Reads the columns of a block, strip by strip: a strip is 32 rows. Reading a whole column at once would load each
 * record into the processor's cache once for every column. The records of a strip stay in the cache. The reader throws
 * `protocol-error` if the bytes are not valid columns.
 */
export class ColumnReader {
  readonly #rows: number;
  readonly #present: Uint8Array;
  readonly #body: Uint8Array;
  readonly #view: DataView;
  /**
   * For each column its width, its least value, and its start in the body. An absent column has width 0 and least value
   * 0.
   */
  readonly #widths: Uint8Array;
  readonly #leasts: Float64Array;
  readonly #begins: Uint32Array;
  /** For each sparse column: where in the body the values of its next strip begin. */
  readonly #nexts: Uint32Array;

  constructor(rows: number, columns: number, present: unknown, widths: unknown, leasts: unknown, body: unknown) {
    if (!(present instanceof Uint8Array) || present.length !== (columns + 7) >> 3) {
      throw malformed("a block has no valid columns");
    }
    if (!(widths instanceof Uint8Array) || !Array.isArray(leasts) || leasts.length !== widths.length) {
      throw malformed("a block has no valid widths");
    }
    if (!(body instanceof Uint8Array)) throw malformed("a block has no valid body");
    this.#rows = rows;
    this.#present = present;
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.length);
    this.#widths = new Uint8Array(columns);
    this.#leasts = new Float64Array(columns);
    this.#begins = new Uint32Array(columns);
    this.#nexts = new Uint32Array(columns);
    let at = 0;
    let read = 0;
    for (let column = 0; column < columns; column++) {
      if (!this.isPresent(column)) continue;
      const width = widths[read];
      const least = leasts[read++] as unknown;
      if (width === undefined || typeof least !== "number") throw malformed("a block has no valid widths");
      this.#widths[column] = width;
      this.#leasts[column] = least;
      this.#begins[column] = at;
      this.#nexts[column] = at + ((rows + 7) >> 3);
      at += this.#sizeOf(width, at);
    }
    if (read !== widths.length || at !== body.length) throw malformed("a block has no valid body");
  }

  /** True if a column is present; an absent column is 0 in all rows. */
  isPresent(column: number): boolean {
    return (this.#present[column >> 3]! & (1 << (column & 7))) !== 0;
  }

  /** The width of a column; if it is 0, all rows have the value `least`. */
  width(column: number): number {
    return this.#widths[column]!;
  }

  least(column: number): number {
    return this.#leasts[column]!;
  }

  /** Reads a whole column. */
  read(column: number): Float64Array {
    const values = new Float64Array(this.#rows);
    for (let row = 0; row < this.#rows; row += STRIP) {
      let mask = this.readStrip(column, row);
      for (let i = 0; mask !== 0; mask &= mask - 1, i++) values[row + firstOf(mask)] = strip[i]!;
    }
    return values;
  }

  /**
   * Reads the strip of a column that begins at this row. The strips of a column must be read in their order.
   *
   * @returns a mask of the rows that have a value, the first row in bit 0. The other rows are 0. The values of the
   * marked rows are in `strip`, without gaps, until the next call.
   */
  readStrip(column: number, row: number): number {
    const count = Math.min(STRIP, this.#rows - row);
    const width = this.#widths[column]!;
    const least = this.#leasts[column]!;
    const begin = this.#begins[column]!;
    if (width < SPARSE) {
      this.#offsets(width, least, begin + row * width, count);
      return (-1 >>> (STRIP - count)) | 0;
    }
    const mask = this.#maskOf(begin, row);
    const present = bitsOf(mask);
    this.#offsets(width - SPARSE, least, this.#nexts[column]!, present);
    this.#nexts[column]! += present * (width - SPARSE);
    return mask;
  }

  /** How many bytes of the body a column takes. Throws if the width is not valid, or the body is too short. */
  #sizeOf(width: number, at: number): number {
    const rows = this.#rows;
    let size = rows * width;
    if (width >= SPARSE) {
      size = (rows + 7) >> 3;
      if (at + size > this.#body.length) throw malformed("a block has no valid body");
      for (let row = 0; row < rows; row += STRIP) size += bitsOf(this.#maskOf(at, row)) * (width - SPARSE);
    }
    if ((width & ~SPARSE) > FLOAT || at + size > this.#body.length) throw malformed("a block has no valid body");
    return size;
  }

  /** The bits of a sparse column's mask for the strip that begins at `row`. The mask begins at `begin` in the body. */
  #maskOf(begin: number, row: number): number {
    const count = Math.min(STRIP, this.#rows - row);
    let mask = 0;
    for (let i = 0; i < count; i += 8) mask |= this.#body[begin + ((row + i) >> 3)]! << i;
    return mask & (-1 >>> (STRIP - count));
  }

  /** Reads `count` numbers into `strip`. They begin at `begin` in the body, and have `width` bytes each. */
  #offsets(width: number, least: number, begin: number, count: number): void {
    const bytes = this.#body;
    const view = this.#view;
    let at = begin;
    switch (width) {
      case CONSTANT:
        strip.fill(least, 0, count);
        return;
      case 1:
        for (let i = 0; i < count; i++) strip[i] = least + bytes[at++]!;
        return;
      case 2:
        for (let i = 0; i < count; i++, at += 2) strip[i] = least + view.getUint16(at, true);
        return;
      case 3:
        for (let i = 0; i < count; i++, at += 3) {
          strip[i] = least + (view.getUint16(at, true) + bytes[at + 2]! * 65_536);
        }
        return;
      case 4:
        for (let i = 0; i < count; i++, at += 4) strip[i] = least + view.getUint32(at, true);
        return;
      case 5:
      case 6:
      case 7:
        for (let i = 0; i < count; i++, at += width) {
          let high = bytes[at + 4]!;
          if (width > 5) high += bytes[at + 5]! * 256;
          if (width > 6) high += bytes[at + 6]! * 65_536;
          strip[i] = least + (view.getUint32(at, true) + high * 4_294_967_296);
        }
        return;
      default:
        for (let i = 0; i < count; i++, at += 8) strip[i] = view.getFloat64(at, true);
    }
  }
}

/** The position of the lowest bit that is set. */
export function firstOf(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}

/** How many bits are set. */
function bitsOf(mask: number): number {
  let bits = 0;
  for (; mask !== 0; mask &= mask - 1) bits++;
  return bits;
}
