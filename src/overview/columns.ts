import { groupBit, type KnownGroup } from "../model/group.ts";
import type { TypedParams } from "../model/params.ts";
import { disksSum, meanLatency, meanSteal, memoryInUse, memoryText, nicsSum } from "./figure.ts";
import { type GuestLine, type HostLine, type Line, nameOf } from "./line.ts";
import { known, narrowBytes, narrowCount, narrowMs, narrowSeconds, percent, span, UNKNOWN } from "./quantity.ts";
import { whyOf } from "./verdict.ts";

/** A value of a column. It is a bigint for a counter that may be beyond 2^53. */
export type Value = number | bigint | string;

/** A column of the list of guests: on the screen (of `virstream top` and of the page), in tables, and in CSV. */
export interface Column {
  /** The name with which the user selects the column, or sorts by it. */
  readonly name: string;
  readonly title: string;
  /**
   * The width in cells. The table of `virstream get` computes its widths from its lines instead, and `virstream top`
   * may widen the column of names.
   */
  readonly width: number;
  /**
   * When a line has no room for all columns, the columns with the highest rank are left out first. Columns of rank 0
   * always stay.
   */
  readonly rank: number;
  /** True for a text, which is aligned to the left and sorted from A to Z; false for a number. */
  readonly isText: boolean;
  /** The group that has the column's values; undefined: every record has them. */
  readonly group?: KnownGroup;
  /** The unit of the column's values, for the header of CSV. */
  readonly unit?: string;
  /** The key on the keyboard that sorts the screen by this column; undefined if the screen lacks the column. */
  readonly key?: string;
  /** True if tables show the column only when the user names it. */
  readonly optional?: true;
  /** The value for sorting and for CSV; undefined if it is not known. */
  readonly value: (line: GuestLine) => Value | undefined;
  readonly text: (line: GuestLine) => string;
  /** The text on the line of an absent host. */
  readonly hostText?: (line: HostLine) => string;
}

const NAME_WIDTH = 12;

type Look = Pick<Column, "width" | "rank"> & Partial<Pick<Column, "group" | "unit" | "key" | "optional">>;

/** Makes a column of numbers. */
export function numberColumn<Of extends Value>(
  name: string,
  title: string,
  look: Look,
  value: (line: GuestLine) => Of | undefined,
  words: (value: Of) => string,
): Column {
  return { name, title, ...look, isText: false, value, text: (line) => known(value(line), words) };
}

/** Makes a column of texts. */
export function textColumn(
  name: string,
  title: string,
  look: Look,
  value: (line: GuestLine) => string | undefined,
): Column {
  return { name, title, ...look, isText: true, value, text: (line) => value(line) ?? UNKNOWN };
}

/** The columns with which every list begins: the guest's identity and its status. */
export const IDENTITY: readonly Column[] = [
  {
    ...textColumn("status", "STATUS", { width: 12, rank: 0, key: "t" }, ({ verdict }) => verdict.words),
    hostText: () => "NO HOST",
  },
  {
    ...textColumn("guest", "GUEST", { width: NAME_WIDTH, rank: 0, key: "n" }, ({ row }) => nameOf(row.domain)),
    hostText: ({ guests }) => (guests === 0 ? UNKNOWN : `(${guests} guest${guests === 1 ? "" : "s"})`),
  },
  {
    ...textColumn("host", "HOST", { width: 12, rank: 5, key: "h" }, ({ row }) => row.domain.host),
    hostText: ({ host }) => host.host,
  },
];

const OPTIONAL = { rank: 20, optional: true } as const;

/** Further columns that tables can have. The column `why` says why a record is incomplete, or why the guest is slow. */
export const EXTRA: readonly Column[] = [
  textColumn("state", "STATE", { ...OPTIONAL, width: 9, group: "state" }, ({ row }) => row.record.state?.state),
  textColumn("reason", "REASON", { ...OPTIONAL, width: 12, group: "state" }, ({ row }) => row.record.state?.reason),
  numberColumn("id", "ID", { ...OPTIONAL, width: 5 }, ({ row: { domain } }) => active(domain.id), String),
  textColumn("uuid", "UUID", { ...OPTIONAL, width: 36 }, ({ row }) => row.domain.uuid),
  {
    ...textColumn(
      "why",
      "WHY",
      { width: 3, rank: 30 },
      ({ row, verdict }) => whyOf(row.record) ?? verdict.slow?.sentence,
    ),
    hostText: ({ host: { error } }) => `${error.message} [${error.code}]`,
  },
];

const VCPUS = numberColumn(
  "vcpu",
  "VCPU",
  { width: 4, rank: 4, group: "vcpu", key: "v" },
  ({ row }) => row.record.params.number("vcpu.current"),
  String,
);

const BLOCK = { group: "block", unit: "bytes_per_second" } as const;
const NIC = { group: "interface", unit: "bytes_per_second" } as const;

/** The columns of a guest's rates: those of the screen, and further ones for tables. */
// biome-ignore format: one column per line
export const RATE_COLUMNS: readonly Column[] = [
  ...IDENTITY,
  VCPUS,
  numberColumn("cpu", "CPU%", { width: 6, rank: 1, group: "cpu-total", unit: "percent", key: "c" }, ({ row }) => row.glance.cpu.percent, percent),
  numberColumn("steal", "STEAL%", { width: 6, rank: 1, group: "vcpu", unit: "percent", key: "s" }, ({ row }) => meanSteal(row.glance), percent),
  {
    ...numberColumn("mem", "MEM", { width: 6, rank: 3, group: "balloon", unit: "bytes", key: "m" }, ({ row }) => memoryInUse(row.glance), narrowBytes),
    text: ({ row }) => memoryText(row.glance) ?? UNKNOWN,
  },
  numberColumn("read", "READ/s", { ...BLOCK, width: 6, rank: 6, key: "r" }, ({ row }) => disksSum(row.glance, "readBytesPerSecond"), narrowBytes),
  numberColumn("write", "WRITE/s", { ...BLOCK, width: 7, rank: 7, key: "w" }, ({ row }) => disksSum(row.glance, "writeBytesPerSecond"), narrowBytes),
  numberColumn("lat", "LAT", { width: 6, rank: 2, group: "block", unit: "ms", key: "l" }, ({ row }) => meanLatency(row.glance), narrowMs),
  numberColumn("rx", "RX/s", { ...NIC, width: 6, rank: 8, key: "x" }, ({ row }) => nicsSum(row.glance, "receivedBytesPerSecond"), narrowBytes),
  numberColumn("tx", "TX/s", { ...NIC, width: 6, rank: 9, key: "y" }, ({ row }) => nicsSum(row.glance, "transmittedBytesPerSecond"), narrowBytes),
  {
    ...numberColumn("age", "AGE", { width: 4, rank: 10, unit: "ms", key: "a", optional: true }, ({ row }) => row.ageMs, span),
    hostText: ({ ageMs }) => (ageMs === undefined ? UNKNOWN : span(ageMs)),
  },
  numberColumn("read-ops", "RD-OP/s", { ...OPTIONAL, width: 7, group: "block", unit: "per_second" }, ({ row }) => disksSum(row.glance, "readsPerSecond"), narrowCount),
  numberColumn("write-ops", "WR-OP/s", { ...OPTIONAL, width: 7, group: "block", unit: "per_second" }, ({ row }) => disksSum(row.glance, "writesPerSecond"), narrowCount),
  ...EXTRA,
];

/** The columns of the screen. */
export const SCREEN_COLUMNS: readonly Column[] = RATE_COLUMNS.filter(({ key }) => key !== undefined);

/**
 * The groups that the screen's columns and the page of a guest need. Calls for other groups would load the host, and
 * the screen would not show their results.
 */
export const SCREEN_GROUPS = ["state", "cpu-total", "balloon", "vcpu", "interface", "block"] as const;

/** A column of the screen by its name. */
export function screenColumn(name: string): Column | undefined {
  return SCREEN_COLUMNS.find((column) => column.name === name);
}

/** Returns functions that write counters as texts: for people, or, if `raw` is true, in libvirt's units. */
export function counterWords(raw: boolean) {
  const words = (narrow: (value: number) => string) => (raw ? String : (value: Value) => narrow(Number(value)));
  return {
    /** The width of a column in cells. A raw number has up to 16 digits in practice. */
    width: (cells: number): number => (raw ? 16 : cells),
    seconds: words(narrowSeconds),
    kibibytes: words((kib) => narrowBytes(kib * 1_024)),
    bytes: words(narrowBytes),
    count: words(narrowCount),
  };
}

/**
 * The columns for the counters of a guest since its start.
 *
 * @param raw true to write them in libvirt's units: ns, KiB and bytes
 */
export function counterColumns(raw: boolean): readonly Column[] {
  const words = counterWords(raw);
  const kibibytes = (name: string, title: string, rank: number, key: string): Column =>
    numberColumn(
      name,
      title,
      { width: words.width(6), rank, group: "balloon", unit: "KiB" },
      ({ row }) => counter(row.record.params, key),
      words.kibibytes,
    );
  const devices = (
    name: string,
    title: string,
    look: Pick<Column, "rank"> & Partial<Column>,
    device: "net" | "block",
    field: string,
  ): Column =>
    numberColumn(
      name,
      title,
      { width: words.width(7), group: device === "net" ? "interface" : "block", unit: "bytes", ...look },
      ({ row }) => devicesSum(row.record.params, device, field),
      look.unit === undefined ? words.bytes : words.count,
    );
  const requests = { ...OPTIONAL, unit: "count" };
  return [
    ...IDENTITY,
    VCPUS,
    numberColumn(
      "cpu-time",
      "CPU-TIME",
      { width: words.width(8), rank: 1, group: "cpu-total", unit: "ns" },
      // For a domain that does not run, a user's own libvirtd reports the processor time of libvirtd itself.
      ({ row: { domain, record } }) => (domain.id < 0 ? undefined : counter(record.params, "cpu.time")),
      words.seconds,
    ),
    kibibytes("mem", "MEM", 3, "balloon.current"),
    kibibytes("rss", "RSS", 10, "balloon.rss"),
    devices("read", "READ", { rank: 6 }, "block", "rd.bytes"),
    devices("write", "WRITTEN", { rank: 7 }, "block", "wr.bytes"),
    devices("rx", "RX", { rank: 8 }, "net", "rx.bytes"),
    devices("tx", "TX", { rank: 9 }, "net", "tx.bytes"),
    devices("read-ops", "RD-OPS", requests, "block", "rd.reqs"),
    devices("write-ops", "WR-OPS", requests, "block", "wr.reqs"),
    ...EXTRA,
  ];
}

/**
 * The columns of a table for which the user names no columns.
 *
 * @param groups the requested groups as a mask; 0: all
 * @param hosts true to show the host of each guest
 */
export function defaultColumns(columns: readonly Column[], groups: number, hosts: boolean): Column[] {
  return columns.filter(
    ({ name, group, optional }) =>
      optional === undefined &&
      (hosts || name !== "host") &&
      (group === undefined || groups === 0 || (groups & groupBit(group)) !== 0),
  );
}

/** The text of a line in a column. */
export function cellOf(column: Column, line: Line): string {
  return "row" in line ? column.text(line) : (column.hostText?.(line) ?? UNKNOWN);
}

/** The exact value of a counter; undefined if the record does not have the counter. */
export function counter(params: TypedParams, key: string): number | bigint | undefined {
  const value = params.getUnknown(key);
  return typeof value === "number" || typeof value === "bigint" ? value : undefined;
}

/** The sum of a counter over a domain's devices; undefined if no device has the counter. */
function devicesSum(params: TypedParams, device: "net" | "block", field: string): bigint | undefined {
  // The count comes from outside and may be any number, so it is limited: a record has no more devices than parameters.
  const length = Math.min(params.number(`${device}.count`) ?? 0, params.size);
  let total: bigint | undefined;
  for (let i = 0; i < length; i++) {
    const value = counter(params, `${device}.${i}.${field}`);
    if (value !== undefined && (typeof value === "bigint" || Number.isInteger(value)))
      total = (total ?? 0n) + BigInt(value);
  }
  return total;
}

function active(id: number): number | undefined {
  return id < 0 ? undefined : id;
}
