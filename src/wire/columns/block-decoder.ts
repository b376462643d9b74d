import { Domain, DomainStatsRecord } from "../../model/record.ts";
import { ParamType, type Schema } from "../../model/schema.ts";
import { TypedParams } from "../../model/typed-params.ts";
import { formatUuid } from "../../model/uuid.ts";
import { malformed, type RowStatus, rowStatusFromWire } from "../errors.ts";
import { HEAD_COLUMNS, HeadColumn } from "../protocol.ts";
import type { TimeBase } from "./block-encoder.ts";
import { ColumnReader, firstOf, STRIP, strip } from "./column-reader.ts";
import type { MessageBudget } from "./message-budget.ts";
import { type ReadTexts, readTexts } from "./texts.ts";

/**
 * By type code: the least and the greatest number that a column of this type may have; not used for doubles and texts.
 * Integers beyond 2^53 are not in a column, but in the block's list `bigs`.
 */
const LEAST = [0, -0x80000000, 0, Number.MIN_SAFE_INTEGER, 0, 0, 0, 0];
const GREATEST = [0, 0x7fffffff, 0xffffffff, Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, 0, 1, 0];

const NO_TEXTS = TypedParams.EMPTY.texts;
const OK = { status: "ok" } as const;

/** Returns the schema that a block's slot stands for. */
export type SchemaOf = (slot: unknown) => Schema;

/**
 * Reads a full block, which has whole records.
 *
 * @param apply called with each row's number and record
 */
export function readFull(
  block: unknown,
  schemaOf: SchemaOf,
  owner: object,
  base: TimeBase,
  budget: MessageBudget,
  apply: (number: number, record: DomainStatsRecord) => void,
): void {
  if (!Array.isArray(block) || block.length < 10) throw malformed("a block has fewer than 10 items");
  const [slot, count, uuids, present, widths, leasts, body, texts, bigs, statuses] = block as unknown[];
  const schema = schemaOf(slot);
  const rows = rowsOf(count);
  budget.spend(rows, HEAD_COLUMNS + schema.keys.length);
  if (!(uuids instanceof Uint8Array) || uuids.length !== 16 * rows) throw malformed("a block has no valid uuids");
  const columns = new ColumnReader(rows, HEAD_COLUMNS + schema.keys.length, present, widths, leasts, body);
  const numbers = columnOf(columns, HeadColumn.number);
  const indexes = columnOf(columns, HeadColumn.index);
  const ids = columnOf(columns, HeadColumn.id);
  const times = columnOf(columns, HeadColumn.time);
  const steps = columnOf(columns, HeadColumn.step);
  const tooks = columnOf(columns, HeadColumn.took);

  const { keys, types, textCount } = schema;
  const template = schema.row();
  const checked: number[] = [];
  const unchecked: number[] = [];
  for (let key = 0; key < keys.length; key++) {
    const column = HEAD_COLUMNS + key;
    const type = types[key]!;
    const width = columns.width(column);
    const least = columns.least(column);
    if (type === ParamType.string) {
      if (columns.isPresent(column)) throw malformed("a block has no valid texts");
    } else if (width > 0) {
      // If the least and the greatest number that the bytes can encode are valid for the type, all numbers between them
      // are valid, too. Then the rows need no check.
      const fits = width <= 6 && isOfType(least, type) && isOfType(least + 256 ** width - 1, type);
      (fits ? unchecked : checked).push(key);
    } else {
      if (!isOfType(least, type)) throw malformed("a block has no valid values");
      template[key] = least;
    }
  }
  if (!Array.isArray(texts) || texts.length !== 2 + textCount) throw malformed("a block has no valid texts");
  const read = (texts as unknown[]).map((column) => readTexts(column, rows, budget));
  const [names, hosts] = read as [ReadTexts, ReadTexts];
  const own = read.slice(2);
  const shared = own.every((column) => typeof column === "string") ? (own as string[]) : undefined;
  const exact = bigsFromWire(bigs, rows, schema);
  const special = statusesFromWire(statuses, rows);

  const doubles = new Array<number[]>(STRIP);
  for (let from = 0; from < rows; from += STRIP) {
    const count = Math.min(STRIP, rows - from);
    for (let i = 0; i < count; i++) doubles[i] = template.slice();
    for (const key of checked) addStrip(columns.readStrip(HEAD_COLUMNS + key, from), doubles, key, types[key]!);
    for (const key of unchecked) {
      columns.readStrip(HEAD_COLUMNS + key, from);
      for (let i = 0; i < count; i++) doubles[i]![key] = strip[i]!;
    }
    for (let i = 0; i < count; i++) {
      const row = from + i;
      const large = exact?.get(row);
      if (large !== undefined) for (const [position, value] of large) doubles[i]![position] = Number(value);
      const ownTexts = textCount === 0 ? NO_TEXTS : (shared ?? own.map((column) => textAt(column, row)));
      const { status, reason, missing, error } = special?.get(row) ?? (OK as RowStatus);
      const time = times(row);
      apply(
        numbers(row) + row,
        new DomainStatsRecord({
          domain: new Domain(formatUuid(uuids, 16 * row), textAt(names, row), ids(row), textAt(hosts, row), owner),
          params: keys.length === 0 ? TypedParams.EMPTY : new TypedParams(schema, doubles[i]!, ownTexts, large),
          status,
          sampledAt: base.wall + time,
          steadyAt: base.steady + time + steps(row),
          tookMs: tooks(row) / 1_000,
          index: indexes(row) + row,
          reason,
          missing,
          error,
        }),
      );
    }
  }
}

/**
 * Adds the numbers of a strip to the values of the rows in the mask. Before the addition, each row has the value of the
 * domain's previous record (in a block of changes), or 0 (in a full block). A double is not added, but replaces the
 * value.
 */
export function addStrip(mask: number, doubles: readonly number[][], key: number, type: number): void {
  const isDouble = type === ParamType.double;
  const least = LEAST[type]!;
  const greatest = GREATEST[type]!;
  let good = true;
  for (let i = 0; mask !== 0; mask &= mask - 1, i++) {
    const own = doubles[firstOf(mask)]!;
    const value = isDouble ? strip[i]! : own[key]! + strip[i]!;
    // This refuses a sum beyond 2^53, which may not be exact, and a NaN.
    good &&= isDouble || (value >= least && value <= greatest && Math.floor(value) === value);
    own[key] = value;
  }
  if (!good) throw malformed("a block has no valid values");
}

/** Returns the number of a block's rows. Throws if it is not a whole number of at least 1. */
export function rowsOf(count: unknown): number {
  if (!Number.isInteger(count) || (count as number) < 1) throw malformed("a block has no rows");
  return count as number;
}

/** Checks a head column. Returns a function that returns the column's whole number for a row. */
export function columnOf(columns: ColumnReader, column: number): (row: number) => number {
  const values = columns.width(column) > 0 ? columns.read(column) : undefined;
  const least = columns.least(column);
  if (!(values?.every(Number.isSafeInteger) ?? Number.isSafeInteger(least))) throw malformed("a row has no valid head");
  return values === undefined ? () => least : (row) => values[row]!;
}

function isOfType(value: number, type: number): boolean {
  return (
    type === ParamType.double || (value >= LEAST[type]! && value <= GREATEST[type]! && Math.floor(value) === value)
  );
}

function textAt(column: ReadTexts, row: number): string {
  return typeof column === "string" ? column : column[row]!;
}

/** The exact values of integers beyond 2^53, by row and then by the key's position in the schema. */
function bigsFromWire(bigs: unknown, rows: number, schema: Schema): Map<number, Map<number, bigint>> | undefined {
  if (!Array.isArray(bigs)) throw malformed("a block has no valid integers");
  if (bigs.length === 0) return undefined;
  const all = new Map<number, Map<number, bigint>>();
  for (const big of bigs as unknown[]) {
    if (!Array.isArray(big)) throw malformed("a block has no valid integers");
    const [row, position, read] = big as unknown[];
    const value = Number.isInteger(read) ? BigInt(read as number) : read;
    // Without this check, a position "length" would read the number of keys as a type.
    const type = isRow(position, schema.types.length) ? schema.types[position] : undefined;
    const fits = type === ParamType.llong ? BigInt.asIntN : type === ParamType.ullong ? BigInt.asUintN : undefined;
    if (!isRow(row, rows) || fits === undefined || typeof value !== "bigint" || fits(64, value) !== value) {
      throw malformed("a block has no valid integers");
    }
    let ofRow = all.get(row);
    if (ofRow === undefined) {
      ofRow = new Map();
      all.set(row, ofRow);
    }
    ofRow.set(position as number, value);
  }
  return all;
}

function statusesFromWire(statuses: unknown, rows: number): Map<number, RowStatus> | undefined {
  if (!Array.isArray(statuses)) throw malformed("a block has no valid statuses");
  if (statuses.length === 0) return undefined;
  const all = new Map<number, RowStatus>();
  for (const item of statuses as unknown[]) {
    if (!Array.isArray(item)) throw malformed("a block has no valid statuses");
    const [row, status] = item as unknown[];
    if (!isRow(row, rows)) throw malformed("a block has no valid statuses");
    all.set(row, rowStatusFromWire(status));
  }
  return all;
}

function isRow(row: unknown, rows: number): row is number {
  return Number.isInteger(row) && (row as number) >= 0 && (row as number) < rows;
}
