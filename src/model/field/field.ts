import type { KnownGroup } from "../group.ts";
import type { ParamTypeName } from "../schema.ts";
import { FIELD_TABLE } from "./field-table.ts";

type Row = (typeof FIELD_TABLE)[number];

/** Converts a pattern to a template literal: `vcpu.<num>.time` becomes `vcpu.${number}.time`. */
type Template<Key extends string> = Key extends `${infer Head}<${infer Part}>${infer Tail}`
  ? `${Head}${Part extends "name" ? string : number}${Template<Tail>}`
  : Key;

/**
 * The JavaScript type for a declared type such as `ullong`. For two declared types with a bar between them, it is the
 * union of both.
 */
type Value<Declared extends string> = Declared extends `${infer One}|${infer Other}`
  ? Value<One> | Value<Other>
  : Declared extends "llong" | "ullong"
    ? bigint
    : Declared extends "boolean"
      ? boolean
      : Declared extends "string"
        ? string
        : number;

type ByTemplate = { [R in Row as Template<R[0]>]: Value<R[2]> };

/** The type of every key of the field table: a string literal, or a template literal if a part of the key varies. */
export type KnownKey = keyof ByTemplate;

/** The JavaScript type of a known key's value. */
export type KnownValue<Key extends string> = ByTemplate[Extract<MatchingKey<Key>, KnownKey>];

type MatchingKey<Key extends string> = { [Known in KnownKey]: Key extends Known ? Known : never }[KnownKey];

/**
 * The kind of a field's values: a counter only grows (until a reset), a gauge goes up and down, a label names
 * something, a timestamp is a moment.
 */
export type FieldKind = Row[4];

/** A row of the field table. */
export interface Field {
  /** The key, with a name in angle brackets for each part that varies, e.g. `vcpu.<num>.time`. */
  readonly pattern: string;
  readonly group: KnownGroup;
  /** The types of the field's values; nearly every field has only one. */
  readonly types: readonly ParamTypeName[];
  /** `ns`, `bytes`, `KiB`, `count`, …; empty if the values have no unit, or if only the hypervisor knows the unit. */
  readonly unit: string;
  readonly kind: FieldKind;
  /** The libvirt version that introduced the field; `~` before the version: no header or release note confirms it. */
  readonly since: string;
  readonly description: string;
}

/** Every known field, in libvirt's order. */
export const FIELDS: readonly Field[] = FIELD_TABLE.map(([pattern, group, type, unit, kind, since, description]) => ({
  pattern,
  group,
  types: type.split("|") as ParamTypeName[],
  unit,
  kind,
  since,
  description,
}));

const byShape = new Map<string, Field>();
const byExpression: [RegExp, Field][] = [];
for (const field of FIELDS) {
  if (field.pattern.includes("<name>")) {
    const source = field.pattern.replaceAll(".", "\\.").replace("<num>", "\\d+").replace("<name>", ".+");
    byExpression.push([new RegExp(`^${source}$`), field]);
  } else {
    byShape.set(field.pattern.replaceAll(/<\w+>/g, "#"), field);
  }
}

/**
 * The field of a key such as `block.0.rd.bytes`; undefined for a key that the table lacks, for example a key of a newer
 * libvirt.
 */
export function fieldOf(key: string): Field | undefined {
  const exact = byShape.get(key.replaceAll(/(?<=\.)\d+(?=\.|$)/g, "#"));
  return exact ?? byExpression.find(([expression]) => expression.test(key))?.[1];
}
