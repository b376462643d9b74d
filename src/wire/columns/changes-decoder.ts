import { DomainStatsRecord } from "../../model/record.ts";
import { ParamType } from "../../model/schema.ts";
import { hasShape } from "../../model/schema-table.ts";
import { TypedParams } from "../../model/typed-params.ts";
import { malformed } from "../errors.ts";
import { HEAD_COLUMNS, HeadColumn } from "../protocol.ts";
import { addStrip, columnOf, rowsOf, type SchemaOf } from "./block-decoder.ts";
import type { TimeBase } from "./block-encoder.ts";
import { ColumnReader, STRIP } from "./column-reader.ts";
import type { MessageBudget } from "./message-budget.ts";

/**
 * Reads a block of changes.
 *
 * @param beforeOf returns the previous record of the domain with this number; the row has the differences from it
 * @param apply called with each row's number and new record
 */
export function readChanges(
  block: unknown,
  schemaOf: SchemaOf,
  base: TimeBase,
  budget: MessageBudget,
  beforeOf: (number: number) => DomainStatsRecord,
  apply: (number: number, record: DomainStatsRecord) => void,
): void {
  if (!Array.isArray(block) || block.length < 6) throw malformed("a block has fewer than 6 items");
  const [slot, count, present, widths, leasts, body] = block as unknown[];
  const schema = schemaOf(slot);
  const rows = rowsOf(count);
  const width = schema.keys.length;
  budget.spend(rows, HEAD_COLUMNS + width);
  const columns = new ColumnReader(rows, HEAD_COLUMNS + width, present, widths, leasts, body);
  const numbers = columnOf(columns, HeadColumn.number);
  const indexes = columnOf(columns, HeadColumn.index);
  if (columns.isPresent(HeadColumn.id)) throw malformed("a row has no valid id");
  const times = columnOf(columns, HeadColumn.time);
  const steps = columnOf(columns, HeadColumn.step);
  const tooks = columnOf(columns, HeadColumn.took);
  const changed: number[] = [];
  for (let key = 0; key < width; key++) {
    if (!columns.isPresent(HEAD_COLUMNS + key)) continue;
    if (schema.types[key] === ParamType.string) throw malformed("a block has no valid texts");
    changed.push(key);
  }
  const befores = new Array<DomainStatsRecord>(STRIP);
  const doubles = new Array<number[]>(STRIP);
  for (let from = 0; from < rows; from += STRIP) {
    const count = Math.min(STRIP, rows - from);
    for (let i = 0; i < count; i++) {
      const before = beforeOf(numbers(from + i) + from + i);
      const { params } = before;
      if (params.schema !== schema && !hasShape(params.schema, schema.keys, schema.types)) {
        throw malformed("a row has no valid schema");
      }
      if (params.bigs !== undefined) throw malformed("a row has no valid integers");
      befores[i] = before;
      doubles[i] = params.doubles.slice();
    }
    for (const key of changed) addStrip(columns.readStrip(HEAD_COLUMNS + key, from), doubles, key, schema.types[key]!);
    for (let i = 0; i < count; i++) {
      const before = befores[i]!;
      const row = from + i;
      const time = times(row);
      apply(
        numbers(row) + row,
        new DomainStatsRecord({
          domain: before.domain,
          params: new TypedParams(schema, doubles[i]!, before.params.texts),
          status: "ok",
          sampledAt: base.wall + time,
          steadyAt: base.steady + time + steps(row),
          tookMs: tooks(row) / 1_000,
          index: before.index + indexes(row),
        }),
      );
    }
  }
}
