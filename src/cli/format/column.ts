import type { DomainRates } from "../../client/rates.ts";
import type { KnownKey } from "../../model/field/field.ts";
import { groupBit, type KnownGroup } from "../../model/group.ts";
import type { TypedParams } from "../../model/params.ts";
import type { DomainIdentity, DomainStatsRecord } from "../../model/record.ts";
import { isTrouble, type StateWords } from "../../model/state.ts";
import { disksSum, meanLatency, meanSteal, memoryText, nicsSum } from "./figure.ts";
import { bytes, kibibytes, milliseconds, narrowBytes, narrowCount, percent, seconds } from "./quantity.ts";
import { pad, printable } from "./text.ts";

/** A line of a table. */
export interface Row {
  readonly record: DomainStatsRecord;
  /** Undefined if the user did not ask for rates, or none are known yet. */
  readonly rates?: DomainRates | undefined;
}

/** A column of a table. */
export interface Column {
  readonly title: string;
  /** In cells of a terminal. The last column takes the rest of the line. */
  readonly width: number;
  /** The column is shown if this group was asked for; undefined: always. */
  readonly group?: KnownGroup | undefined;
  /** When the line has no room for all columns, those with the highest rank are left out first. */
  readonly rank: number;
  readonly align?: "right";
  readonly text: (row: Row) => string;
}

const NAME: Column = { title: "DOMAIN", width: 24, rank: 0, text: ({ record }) => nameOf(record.domain) };
const STATUS: Column = { title: "STATUS", width: 7, rank: 0, text: ({ record }) => status(record) };

const HOST_COLUMN: Column = { title: "HOST", width: 12, rank: 1, text: ({ record }) => record.domain.host };

type Words = Readonly<Record<"seconds" | "kibibytes" | "bytes", (value: number) => string>>;

const WORDS: Words = { seconds, kibibytes, bytes };
/** As libvirt counts: ns, KiB and bytes. */
const RAW: Words = { seconds: String, kibibytes: String, bytes: String };
/** The least width of a raw number, in characters. */
const RAW_WIDTH = 16;

/** @param words how numbers are written */
const totalColumns = ({ seconds, kibibytes, bytes }: Words): readonly Column[] => [
  NAME,
  { title: "STATE", width: 10, group: "state", rank: 2, text: ({ record }) => stateWord(record.state) },
  right("VCPUS", 5, "vcpu", 5, ({ record }) => cell(record.params.number("vcpu.current"), String)),
  right("CPU TIME", 10, "cpu-total", 3, ({ record }) => cell(cpuTime(record), seconds)),
  right("MEMORY", 9, "balloon", 4, ({ record }) => cell(record.params.number("balloon.current"), kibibytes)),
  right("RSS", 9, "balloon", 8, ({ record }) => cell(record.params.number("balloon.rss"), kibibytes)),
  right("RX", 9, "interface", 6, ({ record }) => cell(devicesSum(record.params, "net", "rx.bytes"), bytes)),
  right("TX", 9, "interface", 6, ({ record }) => cell(devicesSum(record.params, "net", "tx.bytes"), bytes)),
  right("READ", 9, "block", 7, ({ record }) => cell(devicesSum(record.params, "block", "rd.bytes"), bytes)),
  right("WRITTEN", 9, "block", 7, ({ record }) => cell(devicesSum(record.params, "block", "wr.bytes"), bytes)),
  right("PARAMS", 6, undefined, 9, ({ record }) => cell(record.params.size, String)),
  STATUS,
];

const RATE_COLUMNS: readonly Column[] = [
  { ...NAME, width: 18 },
  { title: "STATE", width: 8, group: "state", rank: 5, text: ({ record }) => stateWord(record.state) },
  right("CPU %", 6, "cpu-total", 1, ({ rates }) => cell(rates?.cpu.percent, percent)),
  right("STEAL%", 6, "vcpu", 6, ({ rates }) => cell(rates && meanSteal(rates), percent)),
  right("MEM", 6, "balloon", 2, ({ rates }) => (rates && memoryText(rates)) ?? "-"),
  right("RX/s", 6, "interface", 3, ({ rates }) => cell(rates && nicsSum(rates, "receivedBytesPerSecond"), narrowBytes)),
  right("TX/s", 6, "interface", 3, ({ rates }) =>
    cell(rates && nicsSum(rates, "transmittedBytesPerSecond"), narrowBytes),
  ),
  right("RD/s", 6, "block", 4, ({ rates }) => cell(rates && disksSum(rates, "readBytesPerSecond"), narrowBytes)),
  right("WR/s", 6, "block", 4, ({ rates }) => cell(rates && disksSum(rates, "writeBytesPerSecond"), narrowBytes)),
  right("RDOP/s", 6, "block", 8, ({ rates }) => cell(rates && disksSum(rates, "readsPerSecond"), narrowCount)),
  right("WROP/s", 6, "block", 8, ({ rates }) => cell(rates && disksSum(rates, "writesPerSecond"), narrowCount)),
  right("LATENCY", 8, "block", 7, ({ rates }) => cell(rates && meanLatency(rates), milliseconds)),
  STATUS,
];

/**
 * The columns of a table: the name first, the status last, and between them the columns of the groups.
 *
 * @param groups the groups asked for as a mask; 0: all
 * @param rates show rates in place of totals
 * @param hosts show the host of each domain
 * @param raw write totals as libvirt counts them
 */
export function columnsOf(groups: number, rates: boolean, hosts: boolean, raw = false): Column[] {
  const totals = totalColumns(raw ? RAW : WORDS).map((column) =>
    raw && column.width >= 9 && column.align === "right" ? { ...column, width: RAW_WIDTH } : column,
  );
  const columns = (rates ? RATE_COLUMNS : totals).filter(
    ({ group }) => group === undefined || groups === 0 || (groups & groupBit(group)) !== 0,
  );
  if (hosts) columns.splice(1, 0, HOST_COLUMN);
  return columns;
}

/** The text of one line, without its end. The last column is not padded. */
export function lineOf(columns: readonly Column[], cell: (column: Column) => string): string {
  const last = columns.length - 1;
  const cells = columns.map((column, i) => {
    const text = printable(cell(column));
    if (i === last) return text;
    return pad(text, column.width, column.align);
  });
  return cells.join("  ").trimEnd();
}

function right(
  title: string,
  width: number,
  group: KnownGroup | undefined,
  rank: number,
  text: Column["text"],
): Column {
  return { title, width, group, rank, align: "right", text };
}

/** A missing value is a dash, never zero. */
function cell(value: number | undefined, words: (value: number) => string): string {
  return value === undefined ? "-" : words(value);
}

/** The name of a domain. A query can name a domain by its uuid that no host has: then the uuid, because it has no name. */
export function nameOf({ name, uuid }: DomainIdentity): string {
  return name || uuid;
}

/** The words of people for those of libvirt's states that are hard to read. */
const STATE_WORDS: Readonly<Record<string, string>> = {
  nostate: "no state",
  shutdown: "stopping",
  shutoff: "shut off",
  pmsuspended: "suspended",
};

/** A state in a word or two; `-` where a record lacks it. */
export function stateWord(state: StateWords | undefined): string {
  return state === undefined ? "-" : (STATE_WORDS[state.state] ?? state.state);
}

/** The trouble that a domain's state tells of, e.g. `paused (I/O error)`; undefined when there is none. */
export function trouble({ state }: DomainStatsRecord): string | undefined {
  if (state === undefined || !isTrouble(state)) return undefined;
  const reason = state.reason === "ioerror" ? "I/O error" : state.reason.replaceAll("-", " ");
  return `${stateWord(state)} (${reason})`;
}

/** True if people should look at a record: it is not whole, or its domain is in trouble. */
export function needsAttention(record: DomainStatsRecord): boolean {
  return record.status !== "ok" || trouble(record) !== undefined;
}

function status(record: DomainStatsRecord): string {
  const state = trouble(record);
  if (record.status === "ok" && state !== undefined) return state;
  const why = record.reason === undefined ? "" : ` (${record.reason})`;
  const missing =
    record.status === "partial" && record.missing.length > 0 ? ` without ${record.missing.join(", ")}` : "";
  const error = record.error === undefined ? "" : `: ${record.error.message}`;
  return `${record.status}${why}${missing}${error}${state === undefined ? "" : `; ${state}`}`;
}

/** A libvirtd of a user reports its own processor time for a domain that does not run. */
function cpuTime({ domain, params }: DomainStatsRecord): number | undefined {
  return domain.id < 0 ? undefined : params.number("cpu.time");
}

/** The sum over a domain's devices; undefined where no device has the number. */
function devicesSum(params: TypedParams, device: "net" | "block", field: string): number | undefined {
  // The count comes from elsewhere, and may be any number: a record has no more devices than parameters.
  const length = Math.min(params.number(`${device}.count`) ?? 0, params.size);
  const devices = Array.from({ length }, (_, i) => i);
  return sum(devices, (i) => params.number(`${device}.${i}.${field}` as KnownKey));
}

/** The sum over all devices of a domain. A device without the figure adds nothing; undefined if no device has it. */
function sum<T>(devices: readonly T[] = [], figure: (device: T) => number | undefined): number | undefined {
  let total: number | undefined;
  for (const device of devices) {
    const value = figure(device);
    if (value !== undefined) total = (total ?? 0) + value;
  }
  return total;
}
