import { VirstreamError } from "../../model/error.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { ParamType, type Schema } from "../../model/schema.ts";
import { writeUuid } from "../../model/uuid.ts";
import { statusToWire } from "../errors.ts";
import { HEAD_COLUMNS, HeadColumn } from "../protocol.ts";
import { ColumnPacker } from "./column-packer.ts";
import type { BlockRows } from "./row-batch.ts";
import { packTexts } from "./texts.ts";

/** The time base of a message: the sampling times of its rows are relative to it. Both in whole ms. */
export interface TimeBase {
  /** Since 1970. */
  readonly wall: number;
  /** On the steady clock of records; see DomainStatsRecord.steadyAt. */
  readonly steady: number;
}

/**
 * Encodes blocks of rows. A block has the rows of one schema, so that each parameter is a column; ColumnPacker says why.
 * A full block contains whole records. A block of changes contains the difference of each number to the domain's record
 * before.
 *
 * The encoder reuses its buffers: blocks are valid until `reset`.
 */
export class BlockEncoder {
  readonly #packer = new ColumnPacker();
  #values = new Float64Array(1_024);
  #leasts = new Float64Array(1_024);
  #greatest = new Float64Array(1_024);
  #zeros = new Uint32Array(1_024);

  /** Frees the buffers: the blocks that were made before are in a message. */
  reset(): void {
    this.#packer.reset();
  }

  /** A full block, as it is on the wire. */
  full({ schema, records, numbers }: BlockRows, slot: number, base: TimeBase): unknown[] {
    const rows = records.length;
    const width = schema.keys.length;
    this.#reserve(rows, width);
    this.#packer.begin(rows, HEAD_COLUMNS + width);
    this.#heads(records, numbers, undefined, base);
    const doubles = records.map(({ params }) => exactDoubles(params));
    this.#ranges(doubles, width);
    const values = this.#values;
    for (let column = 0; column < width; column++) {
      const type = schema.types[column]!;
      if (type === ParamType.string) continue;
      const least = this.#leasts[column]!;
      const greatest = this.#greatest[column]!;
      if (type === ParamType.double) {
        for (let row = 0; row < rows; row++) values[row] = doubles[row]![column]!;
        this.#floats(HEAD_COLUMNS + column, rows);
      } else {
        if (least !== greatest) for (let row = 0; row < rows; row++) values[row] = doubles[row]![column]!;
        this.#packer.add(HEAD_COLUMNS + column, values, least, greatest);
      }
    }
    return [
      slot,
      rows,
      uuidsOf(records),
      ...this.#packer.take(),
      textsOf(records, schema),
      bigsOf(records),
      statusesOf(records),
    ];
  }

  /**
   * A block of changes, as it is on the wire; undefined if a difference is too large to be exact: see isExact.
   */
  changes({ schema, records, numbers, before }: BlockRows, slot: number, base: TimeBase): unknown[] | undefined {
    const rows = records.length;
    const width = schema.keys.length;
    this.#reserve(rows, width);
    this.#packer.begin(rows, HEAD_COLUMNS + width);
    this.#heads(records, numbers, before, base);
    const doubles = records.map(({ params }) => params.doubles);
    const olds = before.map(({ params }) => params.doubles);
    this.#differences(doubles, olds, width);
    const values = this.#values;
    for (let column = 0; column < width; column++) {
      const type = schema.types[column]!;
      if (type === ParamType.string) continue;
      if (type === ParamType.double) {
        let changed = false;
        for (let row = 0; row < rows; row++) {
          values[row] = doubles[row]![column]!;
          changed ||= !Object.is(values[row], olds[row]![column]);
        }
        if (changed) this.#packer.addFloats(HEAD_COLUMNS + column, values);
        continue;
      }
      const least = this.#leasts[column]!;
      const greatest = this.#greatest[column]!;
      if (least === 0 && greatest === 0) continue;
      if (!(least >= -Number.MAX_SAFE_INTEGER && greatest <= Number.MAX_SAFE_INTEGER)) return undefined;
      for (let row = 0; row < rows; row++) values[row] = doubles[row]![column]! - olds[row]![column]!;
      this.#packer.addChanges(HEAD_COLUMNS + column, values, least, greatest, this.#zeros[column]!);
    }
    return [slot, rows, ...this.#packer.take()];
  }

  /** The columns before those of the parameters: the row's number, index, id and times. */
  #heads(
    records: readonly DomainStatsRecord[],
    numbers: readonly number[],
    before: readonly DomainStatsRecord[] | undefined,
    { wall, steady }: TimeBase,
  ): void {
    const rows = records.length;
    const values = this.#values;
    if (numbers.length > 0) {
      for (let row = 0; row < rows; row++) values[row] = numbers[row]! - row;
      this.#integers(HeadColumn.number, rows);
    }
    for (let row = 0; row < rows; row++)
      values[row] = records[row]!.index - (before === undefined ? row : before[row]!.index);
    this.#integers(HeadColumn.index, rows);
    if (before === undefined) {
      for (let row = 0; row < rows; row++) values[row] = records[row]!.domain.id;
      this.#integers(HeadColumn.id, rows);
    }
    for (let row = 0; row < rows; row++) values[row] = Math.round(records[row]!.sampledAt) - wall;
    this.#integers(HeadColumn.time, rows);
    for (let row = 0; row < rows; row++) {
      const { sampledAt, steadyAt } = records[row]!;
      values[row] = Math.round(steadyAt) - steady - (Math.round(sampledAt) - wall);
    }
    this.#integers(HeadColumn.step, rows);
    for (let row = 0; row < rows; row++) values[row] = Math.round(records[row]!.tookMs * 1_000);
    this.#integers(HeadColumn.took, rows);
  }

  /** Adds the column that is in `values`. */
  #integers(column: number, rows: number): void {
    const values = this.#values;
    let least = values[0]!;
    let greatest = least;
    for (let row = 1; row < rows; row++) {
      const value = values[row]!;
      if (value < least) least = value;
      else if (value > greatest) greatest = value;
    }
    this.#packer.add(column, values, least, greatest);
  }

  /** Adds the column of doubles that is in `values`; as a single value if all are the same and finite. */
  #floats(column: number, rows: number): void {
    const values = this.#values;
    const first = values[0]!;
    for (let row = 1; row < rows; row++) {
      if (Object.is(values[row], first)) continue;
      this.#packer.addFloats(column, values);
      return;
    }
    if (Number.isFinite(first)) this.#packer.add(column, values, first, first);
    else this.#packer.addFloats(column, values);
  }

  /**
   * The least and the greatest value of each column. It handles four columns per pass, because each pass loads all rows into
   * the cache.
   */
  #ranges(rows: readonly (readonly number[])[], width: number): void {
    const leasts = this.#leasts;
    const greatest = this.#greatest;
    const first = rows[0]!;
    let column = 0;
    for (; column + 4 <= width; column += 4) {
      let l0 = first[column]!;
      let l1 = first[column + 1]!;
      let l2 = first[column + 2]!;
      let l3 = first[column + 3]!;
      let g0 = l0;
      let g1 = l1;
      let g2 = l2;
      let g3 = l3;
      for (let row = 1; row < rows.length; row++) {
        const doubles = rows[row]!;
        const a = doubles[column]!;
        const b = doubles[column + 1]!;
        const c = doubles[column + 2]!;
        const d = doubles[column + 3]!;
        if (a < l0) l0 = a;
        if (a > g0) g0 = a;
        if (b < l1) l1 = b;
        if (b > g1) g1 = b;
        if (c < l2) l2 = c;
        if (c > g2) g2 = c;
        if (d < l3) l3 = d;
        if (d > g3) g3 = d;
      }
      leasts[column] = l0;
      leasts[column + 1] = l1;
      leasts[column + 2] = l2;
      leasts[column + 3] = l3;
      greatest[column] = g0;
      greatest[column + 1] = g1;
      greatest[column + 2] = g2;
      greatest[column + 3] = g3;
    }
    for (; column < width; column++) {
      let least = first[column]!;
      let most = least;
      for (let row = 1; row < rows.length; row++) {
        const value = rows[row]![column]!;
        if (value < least) least = value;
        if (value > most) most = value;
      }
      leasts[column] = least;
      greatest[column] = most;
    }
  }

  /** The least and the greatest difference of each column, and how many are 0. Two columns at a time, as above. */
  #differences(rows: readonly (readonly number[])[], olds: readonly (readonly number[])[], width: number): void {
    for (let column = 0; column < width; column += 2) {
      const other = column + 1 < width ? column + 1 : column;
      let l0 = Number.POSITIVE_INFINITY;
      let g0 = Number.NEGATIVE_INFINITY;
      let l1 = Number.POSITIVE_INFINITY;
      let g1 = Number.NEGATIVE_INFINITY;
      let z0 = 0;
      let z1 = 0;
      for (let row = 0; row < rows.length; row++) {
        const doubles = rows[row]!;
        const old = olds[row]!;
        const a = doubles[column]! - old[column]!;
        const b = doubles[other]! - old[other]!;
        if (a === 0) z0++;
        if (a < l0) l0 = a;
        if (a > g0) g0 = a;
        if (b === 0) z1++;
        if (b < l1) l1 = b;
        if (b > g1) g1 = b;
      }
      this.#leasts[column] = l0;
      this.#greatest[column] = g0;
      this.#zeros[column] = z0;
      this.#leasts[other] = l1;
      this.#greatest[other] = g1;
      this.#zeros[other] = z1;
    }
  }

  #reserve(rows: number, width: number): void {
    if (this.#values.length < rows) this.#values = new Float64Array(2 * rows);
    if (this.#leasts.length > width) return;
    this.#leasts = new Float64Array(2 * width);
    this.#greatest = new Float64Array(2 * width);
    this.#zeros = new Uint32Array(2 * width);
  }
}

/** The doubles, with 0 where the exact value is in `bigs`. */
function exactDoubles({ doubles, bigs }: DomainStatsRecord["params"]): readonly number[] {
  if (bigs === undefined) return doubles;
  const exact = doubles.slice();
  for (const position of bigs.keys()) exact[position] = 0;
  return exact;
}

function uuidsOf(records: readonly DomainStatsRecord[]): Uint8Array {
  const uuids = new Uint8Array(16 * records.length);
  for (let row = 0; row < records.length; row++) {
    const { uuid } = records[row]!.domain;
    if (!writeUuid(uuid, uuids, 16 * row)) {
      throw new VirstreamError("invalid-argument", `${JSON.stringify(uuid)} is not a uuid in lower case with dashes`);
    }
  }
  return uuids;
}

function textsOf(records: readonly DomainStatsRecord[], { textCount }: Schema): unknown[] {
  const columns: unknown[] = [
    packTexts(records.map(({ domain }) => domain.name)),
    packTexts(records.map(({ domain }) => domain.host)),
  ];
  for (let text = 0; text < textCount; text++)
    columns.push(packTexts(records.map(({ params }) => params.texts[text]!)));
  return columns;
}

/** Integers beyond 2^53: `[row, position, value]`. */
function bigsOf(records: readonly DomainStatsRecord[]): unknown[] {
  const all: unknown[] = [];
  for (let row = 0; row < records.length; row++) {
    const { bigs } = records[row]!.params;
    if (bigs !== undefined) for (const [position, value] of bigs) all.push([row, position, value]);
  }
  return all;
}

/** The statuses of records that are not ok: `[row, status]`. */
function statusesOf(records: readonly DomainStatsRecord[]): unknown[] {
  const all: unknown[] = [];
  for (let row = 0; row < records.length; row++) {
    if (records[row]!.status !== "ok") all.push([row, statusToWire(records[row]!)]);
  }
  return all;
}
