import type { Description } from "../../driver/description.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import type { DomainDefinition } from "../identity/definition.ts";
import { type PartLayout, RecordLayout } from "./record-layout.ts";

/** How many records are prepared in one step. */
const ROWS_PER_STEP = 500;

/** A domain's record with the labels of its series, prepared once for all families. */
export interface Row {
  readonly record: DomainStatsRecord;
  readonly layout: RecordLayout;
  /** The labels of the domain's series, as the text between the braces. */
  readonly labels: string;
  /** The same text with the braces around it and a space after it. */
  readonly braced: string;
  /** The virtual CPUs (`vcpu`), disks (`block`) and interfaces (`net`), each with the labels of its series. */
  readonly vcpu: readonly LabelledPart[];
  readonly block: readonly LabelledPart[];
  readonly net: readonly LabelledPart[];
  /** The identity of the domain, its disks and its interfaces; undefined if it is not known. */
  readonly description: Description<DomainDefinition> | undefined;
  /** How old the record is, in seconds. */
  readonly ageSeconds: number;
  /** How long the domain has not answered, in seconds; 0: it answered in this record. */
  readonly stuckSeconds: number;
}

/** A disk, an interface or a virtual CPU. */
export interface LabelledPart {
  readonly part: PartLayout;
  /** The labels of its series, as text with the braces around it and a space after it. */
  readonly braced: string;
}

/** The inputs of `prepareRows`, besides the records. */
export interface RowOptions {
  /** True if the series have the label `host`. */
  readonly several: boolean;
  /** The present time on the steady clock, in ms. */
  readonly now: number;
  /** Returns the steady time since which a domain has not answered, in ms; undefined: it answered. */
  readonly stuckSince: (domain: Domain) => number | undefined;
  /** Returns the identity of a domain. Default: no identity is known. */
  readonly describe?: (domain: Domain) => Description<DomainDefinition> | undefined;
}

/**
 * Prepares the rows of a page, and returns them. It yields after every ROWS_PER_STEP records, so that the caller can
 * give the event loop a turn. A domain that is gone has no row. If two domains have the same labels, only one has a
 * row: the running domain, or, if both or neither of them run, the domain whose record comes first.
 */
export function* prepareRows(
  records: Iterable<DomainStatsRecord | undefined>,
  { several, now, stuckSince, describe }: RowOptions,
): Generator<undefined, Row[]> {
  const rows: Row[] = [];
  const numbers = new Map<string, number>();
  let step = 0;
  for (const record of records) {
    if (++step % ROWS_PER_STEP === 0) yield;
    if (record === undefined || record.status === "gone") continue;
    const { domain } = record;
    const host = several ? `,host="${escapeLabel(domain.host)}"` : "";
    const labels = `domain="${escapeLabel(domain.name)}"${host}`;
    const known = numbers.get(labels);
    if (known !== undefined && (domain.id < 0 || rows[known]!.record.domain.id >= 0)) continue;
    const number = known ?? rows.length;
    numbers.set(labels, number);
    const since = stuckSince(domain);
    const description = describe?.(domain);
    rows[number] = {
      record,
      labels,
      braced: `{${labels}} `,
      ...partsOf(record, labels, description?.definition),
      description,
      ageSeconds: Math.max(0, now - record.steadyAt) / 1_000,
      stuckSeconds: since === undefined ? 0 : Math.max(0, now - since) / 1_000,
    };
  }
  return rows;
}

function partsOf(
  { params }: DomainStatsRecord,
  labels: string,
  definition: DomainDefinition | undefined,
): Pick<Row, "layout" | "vcpu" | "block" | "net"> {
  const layout = RecordLayout.of(params.schema);
  const { vcpu, block, net } = layout;
  return {
    layout,
    vcpu: vcpu.map((part) => ({ part, braced: `{${labels},vcpu="${part.number}"} ` })),
    block: named(block, params.texts, labels, removableDrives(definition)),
    net: named(net, params.texts, labels),
  };
}

/**
 * The parts with a name that is not in `without`. If two parts have the same name, as the images of one disk do, only
 * the first is in the result.
 */
function named(
  parts: readonly PartLayout[],
  texts: readonly string[],
  labels: string,
  without: readonly string[] = [],
): LabelledPart[] {
  const found: LabelledPart[] = [];
  for (const part of parts) {
    const name = texts[part.name];
    if (name === undefined || without.includes(name)) continue;
    const braced = `{${labels},target_device="${escapeLabel(name)}"} `;
    if (!found.some((other) => other.braced === braced)) found.push({ part, braced });
  }
  return found;
}

const NONE: readonly string[] = [];

/** The targets of CD-ROM and floppy drives. These drives have no series, as in the two common exporters of libvirt. */
function removableDrives(definition: DomainDefinition | undefined): readonly string[] {
  const drives = definition?.disks.filter(({ removable }) => removable) ?? [];
  return drives.length === 0 ? NONE : drives.map(({ target }) => target);
}

/** The text of labels, between the braces. Without labels, the text is empty. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(",");
}

/** A label's value as Prometheus's text format and OpenMetrics write it. */
export function escapeLabel(value: string): string {
  if (!/["\\\n]/.test(value)) return value;
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
