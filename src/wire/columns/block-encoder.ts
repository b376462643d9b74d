import { VirstreamError } from "../../model/error.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { ParamType, type Schema } from "../../model/schema.ts";
import { writeUuid } from "../../model/uuid.ts";
import { rowStatusToWire } from "../errors.ts";
import { HEAD_COLUMNS, HeadColumn } from "../protocol.ts";
import { ColumnPacker } from "./column-packer.ts";
import { NumberColumns } from "./number-columns.ts";
import type { BlockRows } from "./row-batch.ts";
import { packTexts } from "./texts.ts";

/** The time base of a message: the sampling times of its rows are relative to it. Both times are in whole ms. */
export interface TimeBase {
  /** The wall time, since 1970. */
  readonly wall: number;
  /** The time on the steady clock of records; see DomainStatsRecord.steadyAt. */
  readonly steady: number;
}

/**
 * Encodes blocks of rows. A block has the rows of one schema, so that each parameter is a column; column-packer.ts
 * gives the reason. A full block contains whole records. A block of changes contains the differences of integers from
 * the domain's previous record. A column of doubles in which a value changed has the new values of all rows.
 *
 * The encoder reuses its buffers: blocks are valid until `reset`.
 */
export class BlockEncoder {
  readonly #packer = new ColumnPacker();
  readonly #numbers = new NumberColumns();
  /** The values of the column that is being encoded. */
  #values = new Float64Array(1_024);

  /**
   * Frees the buffers for new blocks. Call it when the blocks that were made before have been copied into a message.
   */
  reset(): void {
    this.#packer.reset();
  }

  /** A full block, as it is on the wire. */
  full({ schema, records, numbers }: BlockRows, slot: number, base: TimeBase): unknown[] {
    const rows = records.length;
    const width = schema.keys.length;
    this.#reserve(rows);
    this.#packer.begin(rows, HEAD_COLUMNS + width);
    this.#heads(records, numbers, undefined, base);
    this.#numbers.gather(records, width);
    const { values, stride, leasts, greatest } = this.#numbers;
    for (let column = 0; column < width; column++) {
      const type = schema.types[column]!;
      if (type === ParamType.string) continue;
      const at = column * stride;
      if (type === ParamType.double) {
        this.#values.set(values.subarray(at, at + rows));
        this.#floats(HEAD_COLUMNS + column, rows);
      } else {
        this.#packer.add(HEAD_COLUMNS + column, values, at, leasts[column]!, greatest[column]!);
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
    this.#reserve(rows);
    this.#packer.begin(rows, HEAD_COLUMNS + width);
    this.#heads(records, numbers, before, base);
    this.#numbers.subtract(records, before, width);
    const values = this.#values;
    for (let column = 0; column < width; column++) {
      const type = schema.types[column]!;
      if (type === ParamType.string) continue;
      if (type === ParamType.double) {
        let changed = false;
        for (let row = 0; row < rows; row++) {
          values[row] = records[row]!.params.doubles[column]!;
          changed ||= !Object.is(values[row], before[row]!.params.doubles[column]);
        }
        if (changed) this.#packer.addFloats(HEAD_COLUMNS + column, values);
        continue;
      }
      if (this.#numbers.changed[column] === 0) continue;
      const least = this.#numbers.leasts[column]!;
      const greatest = this.#numbers.greatest[column]!;
      if (!(least >= -Number.MAX_SAFE_INTEGER && greatest <= Number.MAX_SAFE_INTEGER)) return undefined;
      this.#packer.addChanges(HEAD_COLUMNS + column, this.#numbers, column);
    }
    return [slot, rows, ...this.#packer.take()];
  }

  /** Adds the columns before the columns of the parameters: the row's number, index, id, times and duration. */
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

  /** Adds the column of integers that is in `values`. */
  #integers(column: number, rows: number): void {
    const values = this.#values;
    let least = values[0]!;
    let greatest = least;
    for (let row = 1; row < rows; row++) {
      const value = values[row]!;
      if (value < least) least = value;
      else if (value > greatest) greatest = value;
    }
    this.#packer.add(column, values, 0, least, greatest);
  }

  /**
   * Adds the column of doubles that is in `values`; as a single value if all values are the same, finite, and not -0.
   */
  #floats(column: number, rows: number): void {
    const values = this.#values;
    const first = values[0]!;
    for (let row = 1; row < rows; row++) {
      if (Object.is(values[row], first)) continue;
      this.#packer.addFloats(column, values);
      return;
    }
    if (Number.isFinite(first) && !Object.is(first, -0)) this.#packer.add(column, values, 0, first, first);
    else this.#packer.addFloats(column, values);
  }

  #reserve(rows: number): void {
    if (this.#values.length < rows) this.#values = new Float64Array(2 * rows);
  }
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
  const packed = [
    packTexts(records.map(({ domain }) => domain.name)),
    packTexts(records.map(({ domain }) => domain.host)),
  ];
  for (let text = 0; text < textCount; text++) packed.push(packTexts(records.map(({ params }) => params.texts[text]!)));
  return packed;
}

/** The integers beyond 2^53, each as `[row, position, value]`. */
function bigsOf(records: readonly DomainStatsRecord[]): unknown[] {
  const all: unknown[] = [];
  for (let row = 0; row < records.length; row++) {
    const { bigs } = records[row]!.params;
    if (bigs !== undefined) for (const [position, value] of bigs) all.push([row, position, value]);
  }
  return all;
}

/** The statuses of the records that are not ok, each as `[row, status]`. */
function statusesOf(records: readonly DomainStatsRecord[]): unknown[] {
  const all: unknown[] = [];
  for (let row = 0; row < records.length; row++) {
    if (records[row]!.status !== "ok") all.push([row, rowStatusToWire(records[row]!)]);
  }
  return all;
}
