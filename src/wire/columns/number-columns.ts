import type { DomainStatsRecord } from "../../model/record.ts";

/**
 * The numbers of a block's rows by column, with the least and the greatest value of each column. It reads the records
 * row by row, because reading them column by column would load each record into the processor's cache once for every
 * few columns. It reuses its buffers.
 */
export class NumberColumns {
  /**
   * The values of a column begin at `column * stride`. After `subtract`, a column has only the values that are not 0,
   * in the order of rows.
   */
  values = new Float64Array(16_384);
  stride = 0;
  /** The least and the greatest value of each column; after `subtract`, of its values that are not 0. */
  leasts = new Float64Array(256);
  greatest = new Float64Array(256);
  /** After `subtract`, the number of values of each column that are not 0. */
  changed = new Uint32Array(256);
  /**
   * After `subtract`, one bit per row, set if the row's value is not 0. A column's mask begins at `column * maskBytes`.
   */
  masks = new Uint8Array(8_192);
  maskBytes = 0;

  /**
   * Fills the columns with the values of whole records. An integer beyond 2^53 is 0 here, because the block has it
   * outside of the columns.
   */
  gather(records: readonly DomainStatsRecord[], width: number): void {
    this.#reserve(records.length, width);
    const { values, stride, leasts, greatest } = this;
    for (let row = 0; row < records.length; row++) {
      const doubles = exactDoubles(records[row]!.params);
      for (let column = 0, at = row; column < width; column++, at += stride) {
        const value = doubles[column]!;
        values[at] = value;
        if (value < leasts[column]!) leasts[column] = value;
        if (value > greatest[column]!) greatest[column] = value;
      }
    }
  }

  /** Fills the columns with the differences between records and their domains' previous records, `before`. */
  subtract(records: readonly DomainStatsRecord[], before: readonly DomainStatsRecord[], width: number): void {
    this.#reserve(records.length, width);
    const { values, stride, leasts, greatest, changed, masks, maskBytes } = this;
    changed.fill(0, 0, width);
    masks.fill(0, 0, width * maskBytes);
    for (let row = 0; row < records.length; row++) {
      const { doubles } = records[row]!.params;
      const olds = before[row]!.params.doubles;
      const byte = row >> 3;
      const bit = 1 << (row & 7);
      for (let column = 0; column < width; column++) {
        const value = doubles[column]! - olds[column]!;
        if (value === 0) continue;
        const count = changed[column]!;
        changed[column] = count + 1;
        values[column * stride + count] = value;
        masks[column * maskBytes + byte]! |= bit;
        if (value < leasts[column]!) leasts[column] = value;
        if (value > greatest[column]!) greatest[column] = value;
      }
    }
  }

  #reserve(rows: number, width: number): void {
    // The stride of a large column is an odd number of cache lines, because with an even number the values of one row
    // would evict each other from the cache.
    this.stride = rows < 64 ? rows : (((rows + 7) >> 3) | 1) << 3;
    this.maskBytes = (rows + 7) >> 3;
    if (this.values.length < this.stride * width) this.values = new Float64Array(2 * this.stride * width);
    if (this.masks.length < this.maskBytes * width) this.masks = new Uint8Array(2 * this.maskBytes * width);
    if (this.leasts.length < width) {
      this.leasts = new Float64Array(2 * width);
      this.greatest = new Float64Array(2 * width);
      this.changed = new Uint32Array(2 * width);
    }
    this.leasts.fill(Number.POSITIVE_INFINITY, 0, width);
    this.greatest.fill(Number.NEGATIVE_INFINITY, 0, width);
  }
}

function exactDoubles({ doubles, bigs }: DomainStatsRecord["params"]): readonly number[] {
  if (bigs === undefined) return doubles;
  const exact = doubles.slice();
  for (const position of bigs.keys()) exact[position] = 0;
  return exact;
}

/** Moves the first `count` values to the rows that the mask names, and sets the other rows to 0. */
export function spread(
  values: Float64Array,
  at: number,
  rows: number,
  count: number,
  masks: Uint8Array,
  mask: number,
): void {
  // Backwards, so that no value is overwritten before it is moved.
  let from = at + count;
  for (let row = rows - 1; row >= 0; row--) {
    const isSet = (masks[mask + (row >> 3)]! >> (row & 7)) & 1;
    values[at + row] = isSet === 1 ? values[--from]! : 0;
  }
}
