import type { AddSample, Family, Host, LibvirtUnit } from "./family.ts";
import type { PartName } from "./record-layout.ts";
import type { Row } from "./row.ts";

/** Prometheus's text format, version 0.0.4, and OpenMetrics 1.0. */
export type ExpositionFormat = "text" | "openmetrics";

/** The type of each format's content. */
export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** A chunk is complete at this many characters. */
const CHUNK_CHARACTERS = 65_536;
/** A chunk ends after this many rows, also when few of them have a sample: it takes about a millisecond. */
const ROWS_PER_CHUNK = 512;

/** A value's unit in Prometheus. A division, as other exporters have it: a product with 1e-9 would differ in the last digit. */
const CONVERT: Readonly<Record<LibvirtUnit, (value: number) => number>> = {
  "": (value) => value,
  ns: (value) => value / 1e9,
  KiB: (value) => value * 1_024,
};

/** OpenMetrics has the unit of a family apart from its name, which must end in it. */
const UNIT = /_(seconds|bytes)$/;

/**
 * The page of these families, in chunks of bounded size and time. Between two chunks the caller may give the event loop a turn and
 * wait for its reader. Each family is there once, with all its samples; a family without samples is left out.
 */
export function* expose(families: readonly Family[], host: Host, format: ExpositionFormat): Generator<string> {
  for (const family of families) {
    let pending = headOf(family, format);
    let written = false;
    for (const text of samplesOf(family, host, format)) {
      if (text !== "") {
        pending += text;
        written = true;
      }
      if (written && pending.length >= CHUNK_CHARACTERS) {
        yield pending;
        pending = "";
      } else {
        yield "";
      }
    }
    if (written) yield pending;
  }
  if (format === "openmetrics") yield "# EOF\n";
}

function headOf({ name, type, help }: Family, format: ExpositionFormat): string {
  if (format === "text") return `# HELP ${name} ${help.replaceAll("\\", "\\\\")}\n# TYPE ${name} ${type}\n`;
  const base = type === "counter" ? name.replace(/_total$/, "") : name;
  const unit = UNIT.exec(base)?.[1];
  const unitLine = unit === undefined ? "" : `# UNIT ${base} ${unit}\n`;
  const text = help.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
  return `# HELP ${base} ${text}\n# TYPE ${base} ${type}\n${unitLine}`;
}

/** The samples of a family, in parts. */
function* samplesOf(family: Family, host: Host, format: ExpositionFormat): Generator<string> {
  const { name, type, source } = family;
  let text = "";
  const add: AddSample = (labels, value, suffix = "") => {
    if (value === undefined || !isSample(value, type)) return;
    text += labels === "" ? `${name}${suffix} ${value}\n` : `${name}${suffix}{${labels}} ${value}\n`;
  };
  if (source.of === "host") {
    source.write(host, add);
    yield format === "openmetrics" ? text.replaceAll(/le="(\d+)"/g, 'le="$1.0"') : text;
    return;
  }
  const write = source.of === "row" ? source.write : writerOf(source.of, source.field, CONVERT[source.unit]);
  const { rows } = host;
  for (let i = 0; i < rows.length; i++) {
    write(rows[i]!, add);
    if (i % ROWS_PER_CHUNK !== ROWS_PER_CHUNK - 1) continue;
    yield text;
    text = "";
  }
  yield text;
}

/** Writes one parameter of a domain, or of each of its parts. */
function writerOf(
  of: "domain" | PartName,
  field: string,
  convert: (value: number) => number,
): (row: Row, add: AddSample) => void {
  if (of === "domain") {
    return ({ record, layout, labels }, add) => {
      const position = layout.position(field);
      if (position >= 0) add(labels, convert(record.params.doubles[position]!));
    };
  }
  return (row, add) => {
    for (const { part, labels } of row[of]) {
      const position = part.positions.get(field);
      if (position !== undefined) add(labels, convert(row.record.params.doubles[position]!));
    }
  };
}

/** Whether a value can be a sample. What is no number is not known; a counter below zero is libvirt's way to say the same. */
function isSample(value: number, type: Family["type"]): boolean {
  return Number.isFinite(value) && (value >= 0 || type === "gauge");
}
