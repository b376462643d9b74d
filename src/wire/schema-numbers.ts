import type { Schema } from "../model/params.ts";

/** Schemas have the same numbers on all connections of a process; 0 is the schema without keys. */
const numbers = new WeakMap<Schema, number>();
let last = 0;

/** The number of a schema; a schema that has none gets the next. */
export function schemaNumber(schema: Schema): number {
  if (schema.keys.length === 0) return 0;
  let number = numbers.get(schema);
  if (number === undefined) {
    number = ++last;
    numbers.set(schema, number);
  }
  return number;
}
