import type { AddSample, Family, Host, LibvirtUnit } from "./family.ts";
import type { PartName } from "./record-layout.ts";
import type { Row } from "./row.ts";

/** Prometheus's text format, version 0.0.4, and OpenMetrics 1.0. */
export type ExpositionFormat = "text" | "openmetrics";

/** The header Content-Type for each format. */
export const CONTENT_TYPES: Readonly<Record<ExpositionFormat, string>> = {
  text: "text/plain; version=0.0.4; charset=utf-8",
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/** A chunk of the page is complete when it has at least this many characters, or when its family ends. */
const CHUNK_CHARACTERS = 65_536;
/**
 * `expose` also yields after this many rows: an empty text if the chunk is not complete yet. So the caller gets a turn
 * even if few rows gave a sample. 512 rows take about a millisecond.
 */
const ROWS_PER_CHUNK = 512;

/**
 * For each unit of libvirt: a function that converts a value to Prometheus's unit. The function for ns divides, as
 * other exporters do, because a multiplication by 1e-9 would differ in the last digit.
 */
const CONVERT: Readonly<Record<LibvirtUnit, (value: number) => number>> = {
  "": (value) => value,
  ns: (value) => value / 1e9,
  KiB: (value) => value * 1_024,
};

/** In OpenMetrics, a family also declares its unit, and its name must end in the unit. */
const UNIT = /_(seconds|bytes)$/;

/**
 * The page of these families, in chunks of bounded size and time. Between two chunks the caller may give the event loop
 * a turn and wait until the scraper has read. Each family occurs once, with all its samples. A family without samples
 * is left out.
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

/** The samples of a family as text, in chunks. */
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
  const { rows } = host;
  for (let from = 0; from < rows.length; from += ROWS_PER_CHUNK) {
    const some = rows.slice(from, from + ROWS_PER_CHUNK);
    text = "";
    if (source.of === "row") for (const row of some) source.write(row, add);
    else if (source.of === "domain") text = domainValues(some, name, type, source.field, CONVERT[source.unit]);
    else text = partValues(some, name, type, source.of, source.field, CONVERT[source.unit]);
    yield text;
  }
}

/**
 * The samples of one parameter of each domain. For speed, this function and `partValues` do not call `add`, because
 * they make nearly all samples.
 */
function domainValues(
  rows: readonly Row[],
  name: string,
  type: Family["type"],
  field: string,
  convert: (value: number) => number,
): string {
  let text = "";
  for (const { record, layout, braced } of rows) {
    const position = layout.position(field);
    if (position < 0) continue;
    const value = convert(record.params.doubles[position]!);
    if (isSample(value, type)) text += `${name}${braced}${value}\n`;
  }
  return text;
}

/** The samples of one parameter: one sample for each part of each domain. */
function partValues(
  rows: readonly Row[],
  name: string,
  type: Family["type"],
  of: PartName,
  field: string,
  convert: (value: number) => number,
): string {
  let text = "";
  for (const row of rows) {
    const { doubles } = row.record.params;
    for (const { part, braced } of row[of]) {
      const position = part.positions.get(field);
      if (position === undefined) continue;
      const value = convert(doubles[position]!);
      if (isSample(value, type)) text += `${name}${braced}${value}\n`;
    }
  }
  return text;
}

/**
 * True if a value can be a sample. NaN means that the value is not known. libvirt expresses the same by a counter below
 * zero.
 */
function isSample(value: number, type: Family["type"]): boolean {
  return Number.isFinite(value) && (value >= 0 || type === "gauge");
}
