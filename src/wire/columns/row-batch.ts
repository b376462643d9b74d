import type { DomainStatsRecord } from "../../model/record.ts";
import { ParamType, type Schema } from "../../model/schema.ts";

/** The most schemas in a message: half of the slots, so that no slot is assigned twice within one message. */
const MAX_SCHEMAS = 512;
/**
 * The most rows, cells (rows times parameters) and characters of texts in a message, whatever its estimated length is.
 */
const MAX_ROWS = 4_096;
const MAX_CELLS = 262_144;
const MAX_CHARACTERS = 1_048_576;
/** The estimated bytes of a row, and of each parameter of a row; a character of a text counts as one byte. */
const ROW_BYTES = 20;
const CELL_BYTES = 5;

/** Rows of one schema, collected for a block. */
export class BlockRows {
  readonly schema: Schema;
  readonly records: DomainStatsRecord[] = [];
  /** The domains' numbers in their channel or snapshot; empty in a sweep, whose domains have no numbers. */
  readonly numbers: number[] = [];
  /** For each row of changes, the domain's previous record, from which the changes are made; empty in full blocks. */
  readonly before: DomainStatsRecord[] = [];

  constructor(schema: Schema) {
    this.schema = schema;
  }
}

/** Collects the rows of one message by schema. Encoding starts when the message is complete. */
export class RowBatch {
  readonly full = new Map<Schema, BlockRows>();
  readonly changed = new Map<Schema, BlockRows>();
  #rows = 0;
  #cells = 0;
  #characters = 0;
  /** The last message's length divided by its estimated length; it corrects the estimate of the next message. */
  #correction = 1;
  #lastFull: BlockRows | undefined;
  #lastChanged: BlockRows | undefined;

  /** The number of rows in the batch. */
  get rows(): number {
    return this.#rows;
  }

  /** The estimated length of the message, in bytes. */
  get length(): number {
    return this.#estimate * this.#correction;
  }

  /** True if the message must be sent before more rows are added. */
  get isFull(): boolean {
    return (
      this.#rows >= MAX_ROWS ||
      this.#cells >= MAX_CELLS ||
      this.#characters >= MAX_CHARACTERS ||
      this.full.size + this.changed.size >= MAX_SCHEMAS
    );
  }

  /**
   * The number of characters in the texts of all full rows. A text that several rows share counts once for each of
   * these rows, although the message may have it only once. The client counts in the same way, except that a text that
   * all rows of a block share counts once there.
   */
  get characters(): number {
    return this.#characters;
  }

  /** The record of the first row; undefined if the batch is empty. */
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
   * @param before the record that the client has for that number; if isChange allows it, the row has only the changes
   * since that record
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
   * Empties the batch.
   *
   * @param bytes the length of the message that was made of the batch, which improves the estimate for the next message
   */
  clear(bytes?: number): void {
    // The first message may differ much from later messages, so the correction never lowers an estimate to less than a
    // tenth of it.
    if (bytes !== undefined && this.#rows > 0) this.#correction = Math.max(0.1, bytes / this.#estimate);
    // Clearing a Map takes new memory even if the Map is empty.
    if (this.full.size > 0) this.full.clear();
    if (this.changed.size > 0) this.changed.clear();
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

/**
 * Records that could not be sent. The client has a failed record in place of each, so no row of changes may refer to
 * these records.
 */
const unsendable = new WeakSet<DomainStatsRecord>();
let anyUnsendable = false;

/** Notes that the clients did not get this record. */
export function markUnsendable(record: DomainStatsRecord): void {
  unsendable.add(record);
  anyUnsendable = true;
}

/**
 * True if a row of changes can describe a record: its status is `ok`, it has the domain, keys and texts of `before`,
 * neither record has an integer beyond 2^53, and `before` could be sent. See also isExact.
 */
function isChange(record: DomainStatsRecord, before: DomainStatsRecord): boolean {
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

/** True if all differences between two records' integers are exact. A difference beyond 2^53 may be inexact. */
export function isExact({ params }: DomainStatsRecord, before: DomainStatsRecord): boolean {
  return params.doubles.every(
    (double, i) =>
      params.schema.types[i] === ParamType.double || Number.isSafeInteger(double - before.params.doubles[i]!),
  );
}
