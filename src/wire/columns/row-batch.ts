import type { DomainStatsRecord } from "../../model/record.ts";
import { ParamType, type Schema } from "../../model/schema.ts";

/** A message is full with so many schemas: half of the slots, so that no slot is given twice within one message. */
const MAX_SCHEMAS = 512;
/** A message is full with so many rows, cells or characters of texts, whatever its length is estimated to be. */
const MAX_ROWS = 4_096;
const MAX_CELLS = 262_144;
const MAX_CHARACTERS = 1_048_576;
/** A row is estimated at so many bytes, and so many more for each parameter and each character of its texts. */
const ROW_BYTES = 20;
const CELL_BYTES = 5;

/** Rows of one schema, gathered for a block. */
export class BlockRows {
  readonly schema: Schema;
  readonly records: DomainStatsRecord[] = [];
  /** The domains' numbers in their channel or snapshot; empty in a sweep, which has none. */
  readonly numbers: number[] = [];
  /** The records that rows of changes refer to; empty in full blocks. */
  readonly before: DomainStatsRecord[] = [];

  constructor(schema: Schema) {
    this.schema = schema;
  }
}

/** The rows of one message while it grows, by schema. Nothing is encoded before the message is made. */
export class RowBatch {
  readonly full = new Map<Schema, BlockRows>();
  readonly changed = new Map<Schema, BlockRows>();
  #rows = 0;
  #cells = 0;
  #characters = 0;
  /** How many bytes a message had for each that it was estimated at. */
  #correction = 1;
  #lastFull: BlockRows | undefined;
  #lastChanged: BlockRows | undefined;

  /** How many rows it has. */
  get rows(): number {
    return this.#rows;
  }

  /** How long the message is likely to be, in bytes. */
  get length(): number {
    return this.#estimate * this.#correction;
  }

  /** Whether it must be sent before more is added, however long it is. */
  get isFull(): boolean {
    return (
      this.#rows >= MAX_ROWS ||
      this.#cells >= MAX_CELLS ||
      this.#characters >= MAX_CHARACTERS ||
      this.full.size + this.changed.size >= MAX_SCHEMAS
    );
  }

  /** The record of the first row. */
  get first(): DomainStatsRecord | undefined {
    for (const blocks of [this.full, this.changed]) for (const { records } of blocks.values()) return records[0];
    return undefined;
  }

  get #estimate(): number {
    return this.#rows * ROW_BYTES + this.#cells * CELL_BYTES + this.#characters;
  }

  /**
   * Adds a row.
   *
   * @param number the domain's number in its channel; undefined in a sweep
   * @param before what the reader has of that number: the row is one of changes where that is possible
   */
  add(number: number | undefined, record: DomainStatsRecord, before?: DomainStatsRecord): void {
    const { schema, texts } = record.params;
    let block: BlockRows;
    if (before !== undefined && isChange(record, before)) {
      block = this.#lastChanged?.schema === schema ? this.#lastChanged : blockOf(this.changed, schema);
      this.#lastChanged = block;
      block.before.push(before);
    } else {
      block = this.#lastFull?.schema === schema ? this.#lastFull : blockOf(this.full, schema);
      this.#lastFull = block;
      for (let i = 0; i < texts.length; i++) this.#characters += texts[i]!.length;
    }
    block.records.push(record);
    if (number !== undefined) block.numbers.push(number);
    this.#rows++;
    this.#cells += schema.keys.length;
  }

  /**
   * Empties it.
   *
   * @param bytes how long the message of its rows was: the next one is likely to be alike
   */
  clear(bytes?: number): void {
    // What leaves in a first message may be unlike what follows: no message is a reason to gather many times as much.
    if (bytes !== undefined && this.#rows > 0) this.#correction = Math.max(0.1, bytes / this.#estimate);
    this.full.clear();
    this.changed.clear();
    this.#lastFull = undefined;
    this.#lastChanged = undefined;
    this.#rows = 0;
    this.#cells = 0;
    this.#characters = 0;
  }
}

function blockOf(blocks: Map<Schema, BlockRows>, schema: Schema): BlockRows {
  let block = blocks.get(schema);
  if (block === undefined) {
    block = new BlockRows(schema);
    blocks.set(schema, block);
  }
  return block;
}

/** Records that could not be sent: their reader has a failed record in their place, and no change may refer to them. */
const unsendable = new WeakSet<DomainStatsRecord>();
let anyUnsendable = false;

/** Notes that a reader did not get this record. */
export function markUnsendable(record: DomainStatsRecord): void {
  unsendable.add(record);
  anyUnsendable = true;
}

/**
 * Whether a record may travel as its differences from the one before it: it is ok, of the same domain as it was, has the
 * same keys and the same texts, and no integer beyond 2^53. See also isExact.
 */
export function isChange(record: DomainStatsRecord, before: DomainStatsRecord): boolean {
  const { domain, params } = record;
  const known = before.domain;
  if (record.status !== "ok" || params.schema !== before.params.schema) return false;
  if (domain !== known) {
    if (domain.name !== known.name || domain.id !== known.id) return false;
    if (domain.host !== known.host || domain.uuid !== known.uuid) return false;
  }
  if (params.bigs !== undefined || before.params.bigs !== undefined) return false;
  if (anyUnsendable && unsendable.has(before)) return false;
  const { texts } = params;
  const others = before.params.texts;
  if (texts !== others) for (let i = 0; i < texts.length; i++) if (texts[i] !== others[i]) return false;
  return true;
}

/** Whether all differences between two records' integers are exact: those beyond 2^53 may not be. */
export function isExact({ params }: DomainStatsRecord, before: DomainStatsRecord): boolean {
  return params.doubles.every(
    (double, i) =>
      params.schema.types[i] === ParamType.double || Number.isSafeInteger(double - before.params.doubles[i]!),
  );
}
