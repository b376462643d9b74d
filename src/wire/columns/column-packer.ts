import { FLOAT, SPARSE } from "../protocol.ts";
import { type NumberColumns, spread } from "./number-columns.ts";

/**
 * The numbers of a block, as columns. A column has a least value and, for each row, an offset from it in as few bytes
 * as the largest offset needs. A column that is zero in every row is absent, and a column in which all rows are equal
 * takes no bytes per row. Most values on a hypervisor are the same for all guests, or did not change since the last
 * sweep.
 *
 * With columns, msgpack packs a few hundred values per message instead of thousands. So a general library is as fast as
 * a hand-written codec for rows.
 */

/**
 * The minimum share of zeros for a sparse column: with fewer zeros, the mask costs more time than the bytes that it
 * saves are worth.
 */
const SPARSE_SHARE = 0.25;
/** Blocks of fewer rows have no sparse columns. */
const SPARSE_ROWS = 8;

/** Columns as they are on the wire: four items of a block. */
export type PackedColumns = readonly [
  /** One bit per column, set if the column is present. The first column has bit 0 of the first byte. */
  present: Uint8Array,
  /** The width of each present column, one byte for each. */
  widths: Uint8Array,
  /** The least value of each present column; 0 where the width is FLOAT. */
  leasts: readonly number[],
  /** For each present column its mask (if the column is sparse), and its offsets. Little-endian. */
  body: Uint8Array,
];

/**
 * Packs the columns of blocks, one block after the other. It reuses its buffer: a result of `take` is valid until
 * `reset`.
 */
export class ColumnPacker {
  #rows = 0;
  #present = new Uint8Array(0);
  #widths: number[] = [];
  #leasts: number[] = [];
  #bytes = new Uint8Array(131_072);
  #view = new DataView(this.#bytes.buffer);
  /** Where the present block's body starts in `#bytes`, and where it ends so far. */
  #start = 0;
  #length = 0;

  /** Frees the buffer for new blocks. Call it when the blocks that were made before have been copied into a message. */
  reset(): void {
    this.#length = 0;
  }

  /** Starts a block with this number of rows and columns. */
  begin(rows: number, columns: number): void {
    this.#rows = rows;
    this.#present = new Uint8Array((columns + 7) >> 3);
    this.#widths = [];
    this.#leasts = [];
    this.#start = this.#length;
  }

  /**
   * Adds a column; if all its values are 0, the column is absent. `least` and `greatest` are the least and the greatest
   * of its values.
   *
   * @param values a number for each row, from index `at`; the rest of the array is ignored
   */
  add(column: number, values: Float64Array, at: number, least: number, greatest: number): void {
    const span = greatest - least;
    if (span === 0) {
      if (least !== 0) this.#head(column, 0, least);
      return;
    }
    const width = widthOf(span);
    this.#head(column, width, width === FLOAT ? 0 : least);
    this.#write(values, at, this.#rows, width, width === FLOAT ? 0 : least);
  }

  /** Adds a column of changes, of which at least one is not 0; as a sparse column if enough values are 0. */
  addChanges(column: number, columns: NumberColumns, from: number): void {
    const rows = this.#rows;
    const { values, masks } = columns;
    const at = from * columns.stride;
    const mask = from * columns.maskBytes;
    const changed = columns.changed[from]!;
    const least = columns.leasts[from]!;
    const greatest = columns.greatest[from]!;
    if (changed === rows) {
      this.add(column, values, at, least, greatest);
      return;
    }
    if (rows < SPARSE_ROWS || rows - changed < rows * SPARSE_SHARE) {
      spread(values, at, rows, changed, masks, mask);
      this.add(column, values, at, Math.min(least, 0), Math.max(greatest, 0));
      return;
    }
    const width = greatest === least ? 0 : widthOf(greatest - least);
    this.#head(column, width | SPARSE, width === FLOAT ? 0 : least);
    this.#reserve(columns.maskBytes);
    for (let i = 0; i < columns.maskBytes; i++) this.#bytes[this.#length++] = masks[mask + i]!;
    this.#write(values, at, changed, width, width === FLOAT ? 0 : least);
  }

  /** Adds a column of float64 values without offsets. */
  addFloats(column: number, values: Float64Array): void {
    this.#head(column, FLOAT, 0);
    this.#write(values, 0, this.#rows, FLOAT, 0);
  }

  take(): PackedColumns {
    const body = this.#bytes.subarray(this.#start, this.#length);
    return [this.#present, Uint8Array.from(this.#widths), this.#leasts, body];
  }

  #head(column: number, width: number, least: number): void {
    this.#present[column >> 3]! |= 1 << (column & 7);
    this.#widths.push(width);
    this.#leasts.push(least);
  }

  #write(values: Float64Array, from: number, count: number, width: number, least: number): void {
    this.#reserve(count * width);
    const bytes = this.#bytes;
    const view = this.#view;
    const to = from + count;
    let at = this.#length;
    this.#length = at + count * width;
    switch (width) {
      case 0:
        return;
      case 1:
        for (let i = from; i < to; i++) bytes[at++] = values[i]! - least;
        return;
      case 2:
        for (let i = from; i < to; i++, at += 2) view.setUint16(at, values[i]! - least, true);
        return;
      case 3:
        for (let i = from; i < to; i++, at += 3) {
          const offset = values[i]! - least;
          view.setUint16(at, offset, true);
          bytes[at + 2] = offset / 65_536;
        }
        return;
      case 4:
        for (let i = from; i < to; i++, at += 4) view.setUint32(at, values[i]! - least, true);
        return;
      case 5:
      case 6:
      case 7:
        for (let i = from; i < to; i++, at += width) {
          const offset = values[i]! - least;
          view.setUint32(at, offset, true);
          const high = offset / 4_294_967_296;
          bytes[at + 4] = high;
          if (width > 5) bytes[at + 5] = high / 256;
          if (width > 6) bytes[at + 6] = high / 65_536;
        }
        return;
      default:
        for (let i = from; i < to; i++, at += 8) view.setFloat64(at, values[i]!, true);
    }
  }

  #reserve(size: number): void {
    if (this.#length + size <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#length + size, 2 * this.#bytes.length));
    bytes.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** How many bytes an offset up to `span` takes; FLOAT if such an offset may not be exact. */
function widthOf(span: number): number {
  if (span <= 0xff) return 1;
  if (span <= 0xffff) return 2;
  if (span <= 0xffffff) return 3;
  if (span <= 0xffffffff) return 4;
  if (span <= 0xffffffffff) return 5;
  if (span <= 0xffffffffffff) return 6;
  return span <= Number.MAX_SAFE_INTEGER ? 7 : FLOAT;
}
