import type { TypedParams } from "../../model/params.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { RecordFormat } from "./record-format.ts";

interface Column {
  readonly title: string;
  readonly width: number;
  /** The groups without which it would be empty; 0: always there. */
  readonly groups: number;
  readonly align?: "right";
  readonly text: (record: DomainStatsRecord) => string;
}

const COLUMNS: readonly Column[] = [
  { title: "DOMAIN", width: 24, groups: 0, text: (record) => record.domain.name },
  { title: "STATE", width: 10, groups: 0x1, text: ({ state }) => state?.state ?? "-" },
  { title: "VCPUS", width: 5, groups: 0x8, align: "right", text: ({ params }) => count(params.number("vcpu.current")) },
  {
    title: "CPU TIME",
    width: 10,
    groups: 0x2,
    align: "right",
    text: ({ params }) => seconds(params.number("cpu.time")),
  },
  {
    title: "MEMORY",
    width: 9,
    groups: 0x4,
    align: "right",
    text: ({ params }) => bytes(params.number("balloon.current"), 1024),
  },
  {
    title: "RSS",
    width: 9,
    groups: 0x4,
    align: "right",
    text: ({ params }) => bytes(params.number("balloon.rss"), 1024),
  },
  {
    title: "RX",
    width: 9,
    groups: 0x10,
    align: "right",
    text: ({ params }) => bytes(total(params, "net", "rx.bytes")),
  },
  {
    title: "TX",
    width: 9,
    groups: 0x10,
    align: "right",
    text: ({ params }) => bytes(total(params, "net", "tx.bytes")),
  },
  {
    title: "READ",
    width: 9,
    groups: 0x20,
    align: "right",
    text: ({ params }) => bytes(total(params, "block", "rd.bytes")),
  },
  {
    title: "WRITTEN",
    width: 9,
    groups: 0x20,
    align: "right",
    text: ({ params }) => bytes(total(params, "block", "wr.bytes")),
  },
  { title: "PARAMS", width: 6, groups: 0, align: "right", text: ({ params }) => String(params.size) },
  { title: "STATUS", width: 0, groups: 0, text: status },
];

/** A table for people: a line per domain as it arrives, with the columns that the groups asked for can fill. */
export class TableFormat implements RecordFormat {
  readonly #columns: readonly Column[];

  /** @param groups the groups asked for as a mask; 0: all */
  constructor(groups: number) {
    this.#columns = COLUMNS.filter((column) => column.groups === 0 || groups === 0 || (groups & column.groups) !== 0);
  }

  begin(): string {
    return this.#line((column) => column.title);
  }

  record(record: DomainStatsRecord): string {
    return this.#line((column) => column.text(record));
  }

  end(): string {
    return "";
  }

  #line(cell: (column: Column) => string): string {
    const cells = this.#columns.map((column) => {
      const text = printable(cell(column));
      return column.align === "right" ? text.padStart(column.width) : text.padEnd(column.width);
    });
    return `${cells.join("  ").trimEnd()}\n`;
  }
}

function status(record: DomainStatsRecord): string {
  const why = record.reason === undefined ? "" : ` (${record.reason})`;
  const missing =
    record.status === "partial" && record.missing.length > 0 ? ` without ${record.missing.join(", ")}` : "";
  const error = record.error === undefined ? "" : `: ${record.error.message}`;
  return `${record.status}${why}${missing}${error}`;
}

/** The sum over a domain's devices; undefined where no device has the number. */
function total(params: TypedParams, device: "net" | "block", field: string): number | undefined {
  const devices = params.number(`${device}.count`) ?? 0;
  let sum: number | undefined;
  for (let i = 0; i < devices; i++) {
    const value = params.number(`${device}.${i}.${field}`);
    if (value !== undefined) sum = (sum ?? 0) + value;
  }
  return sum;
}

function count(value: number | undefined): string {
  return value === undefined ? "-" : String(value);
}

function seconds(nanoseconds: number | undefined): string {
  if (nanoseconds === undefined) return "-";
  const value = nanoseconds / 1e9;
  if (value < 100) return `${value.toFixed(2)} s`;
  if (value < 36_000) return `${Math.round(value)} s`;
  if (value < 360_000) return `${(value / 3_600).toFixed(1)} h`;
  return `${(value / 86_400).toFixed(1)} d`;
}

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

function bytes(value: number | undefined, unit = 1): string {
  if (value === undefined) return "-";
  let amount = value * unit;
  let step = 0;
  while (amount >= 1_000 && step < BYTE_UNITS.length - 1) {
    amount /= 1_024;
    step++;
  }
  return `${step === 0 || amount >= 100 ? Math.round(amount) : amount.toFixed(1)} ${BYTE_UNITS[step]}`;
}

/** Names and messages come from elsewhere: what would move the cursor or change the screen is shown, not obeyed. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what this is about
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, "\u{fffd}");
}
