import { type DomainRates, RateMeter } from "../../client/rates.ts";
import { TableRow } from "../../client/table/rows.ts";
import { entryOf, perObject } from "../../driver/memo.ts";
import type { Param, ParamValue } from "../../model/params.ts";
import { byIndex, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { Schema } from "../../model/schema.ts";
import type { WatchEvent } from "../../model/watch.ts";
import { type Column, counterColumns, defaultColumns, RATE_COLUMNS } from "../../overview/columns.ts";
import { judged } from "../../overview/line.ts";
import { UNKNOWN } from "../../overview/quantity.ts";
import type { TroubleKind } from "../../overview/verdict.ts";
import { sweepText } from "./notice.ts";
import { alert, jsonText, pad, printable } from "./text.ts";

type OtherEvent = Exclude<WatchEvent, { type: "record" }>;

/**
 * Turns records and events into text as they come. It prints nothing itself: its methods return the text, which may be
 * empty.
 */
export abstract class Format {
  /**
   * True if the format has a text for every event. If false, notices on stderr report gaps, states, and domains that
   * are gone.
   */
  readonly hasAllEvents: boolean = false;

  /** The text before the first record. A sweep without records has this text, too. */
  begin(): string {
    return "";
  }

  /**
   * Takes a record of the first of two sweeps, with those rates that need no earlier record. A table prints this record
   * only if the second sweep stops before its first record.
   */
  before(_record: DomainStatsRecord, _rates: DomainRates): void {}

  /** @param rates the rates of the record, if the user asked for rates */
  abstract record(record: DomainStatsRecord, rates?: DomainRates): string;

  event(_event: OtherEvent): string {
    return "";
  }

  /** Waits for data that `end` needs besides the records, for at most this many ms. */
  async settle(_timeoutMs: number): Promise<void> {}

  /**
   * Returns the text that was held back, and the text after the last record.
   *
   * @param whole true if the sweep ran to its end
   */
  end(_whole = true): string {
    return "";
  }
}

/** The values of `--format` of `virstream get`. */
export const FORMATS = ["table", "csv", "virsh", "ndjson", "json", "prometheus"] as const;

interface FormatOptions {
  /** The requested groups as a mask; 0: all. */
  readonly groups?: number;
  /** True to show rates in place of totals, if the format has columns for them. */
  readonly rates?: boolean;
  /** True to write totals in libvirt's units: ns, KiB and bytes. */
  readonly raw?: boolean;
  /** True if the domains are of several hosts. */
  readonly hosts?: boolean;
  readonly watch?: boolean;
  /** True if the watch replays a recording. */
  readonly recorded?: boolean;
  /** True if the text goes to a terminal, so that control characters must be replaced. */
  readonly terminal?: boolean;
  /** True if the output shows colours. */
  readonly colours?: boolean;
}

/** Creates the format with this name. It gets the records one by one, as they arrive. */
export function createFormat(
  name: Exclude<(typeof FORMATS)[number], "prometheus" | "csv">,
  {
    groups = 0,
    rates = false,
    raw = false,
    hosts = false,
    watch = false,
    recorded = false,
    terminal = false,
    colours = false,
  }: FormatOptions = {},
): Format {
  switch (name) {
    case "table":
      return new LineTable(
        defaultColumns(rates ? RATE_COLUMNS : counterColumns(raw), groups, hosts),
        colours,
        recorded,
      );
    case "virsh":
      return watch ? new VirshWatchFormat(terminal) : new VirshFormat(terminal);
    case "ndjson":
      return new NdjsonFormat();
    case "json":
      return new JsonFormat();
  }
}

/**
 * A table without an end, in columns of fixed width. Each record is a line as soon as it arrives. A line that begins
 * with `#`, and an empty line, end each sweep. The sweeps of several hosts run side by side, so their lines are mixed.
 */
class LineTable extends Format {
  readonly #columns: readonly Column[];
  readonly #colours: boolean;
  readonly #recorded: boolean;
  /** The guests in trouble, by their keys: the kind of the trouble, and when it began, in ms of the steady clock. */
  readonly #troubles = new Map<string, { readonly kind: TroubleKind; readonly since: number }>();

  constructor(columns: readonly Column[], colours: boolean, recorded: boolean) {
    super();
    this.#recorded = recorded;
    this.#columns = columns;
    this.#colours = colours;
  }

  override begin(): string {
    return `${this.#line((column) => column.title)}\n`;
  }

  record(record: DomainStatsRecord, rates = new RateMeter().take(record)): string {
    const key = domainKey(record.domain);
    const now = record.steadyAt + record.tookMs;
    const line = judged(new TableRow(key, record, rates, false, () => now), now, this.#troubles.get(key));
    const { kind, bad } = line.verdict;
    if (kind === undefined) this.#troubles.delete(key);
    else this.#troubles.set(key, { kind, since: line.since });
    const text = this.#line((column) => {
      const cell = printable(column.text(line));
      if (column.name === "why" && cell === UNKNOWN) return "";
      return column.name === "status" ? cell.replaceAll(" ", "-") : cell;
    });
    return `${alert(text, this.#colours && bad)}\n`;
  }

  override event(event: OtherEvent): string {
    if (event.type === "gone") this.#troubles.delete(domainKey(event.domain));
    return event.type === "sync" ? `# ${printable(sweepText(event, this.#recorded))}\n\n` : "";
  }

  /** One line of the table. Its last column is not padded. */
  #line(text: (column: Column) => string): string {
    const cells = this.#columns.map((column, i) => {
      if (i === this.#columns.length - 1) return text(column);
      return pad(text(column), column.width, column.isText ? "left" : "right");
    });
    return cells.join("  ").trimEnd();
  }
}

/** The output of `virsh domstats`, byte for byte, except that control characters are replaced on a terminal. */
abstract class VirshText extends Format {
  readonly #terminal: boolean;

  constructor(terminal: boolean) {
    super();
    this.#terminal = terminal;
  }

  protected text(record: DomainStatsRecord): string {
    const line = (text: string): string => `${this.#terminal ? printable(text) : text}\n`;
    let text = line(`Domain: '${record.domain.name}'`);
    for (const param of record.params.list()) text += line(`  ${param.key}=${virshValue(param)}`);
    return text;
  }
}

/**
 * The output of `virsh domstats`. Like virsh, it leaves out domains that failed. virsh prints in the order of the
 * host's listing, but records come as they are ready. So this format holds back an early record until all records
 * before it have come.
 */
class VirshFormat extends VirshText {
  #next = 0;
  #separator = "";
  readonly #early = new Map<number, DomainStatsRecord>();

  record(record: DomainStatsRecord): string {
    this.#early.set(record.index, record);
    let text = "";
    for (let due = this.#early.get(this.#next); due !== undefined; due = this.#early.get(this.#next)) {
      text += this.#print(due);
      this.#early.delete(this.#next++);
    }
    return text;
  }

  override end(): string {
    const rest = [...this.#early.values()].sort(byIndex);
    return `${rest.map((record) => this.#print(record)).join("")}\n`;
  }

  #print(record: DomainStatsRecord): string {
    if (!isPrinted(record)) return "";
    const text = this.#separator + this.text(record);
    this.#separator = "\n";
    return text;
  }
}

/** The output of `virsh domstats` for each sweep of a host, printed at the end of the sweep. */
class VirshWatchFormat extends VirshText {
  readonly #sweeps = new Map<string, Map<string, DomainStatsRecord>>();

  record(record: DomainStatsRecord): string {
    const { host, uuid } = record.domain;
    // A sweep may be interrupted and start again. Of two records of a domain, the newer one counts.
    entryOf(this.#sweeps, host, () => new Map()).set(uuid, record);
    return "";
  }

  override event(event: OtherEvent): string {
    if (event.type !== "sync") return "";
    const hosts = event.host.split(",");
    const records = hosts.flatMap((host) => [...(this.#sweeps.get(host)?.values() ?? [])]);
    for (const host of hosts) this.#sweeps.delete(host);
    return `${records
      .filter(isPrinted)
      .sort(byIndex)
      .map((record) => this.text(record))
      .join("\n")}\n`;
  }
}

function isPrinted({ status }: DomainStatsRecord): boolean {
  return status !== "failed" && status !== "gone";
}

/** A value in virsh's form: doubles like C's %lf, booleans as yes and no. */
function virshValue({ type, value }: Param): string {
  if (type === "boolean") return value ? "yes" : "no";
  if (type !== "double") return String(value);
  const number = value as number;
  if (Number.isNaN(number)) return "nan";
  if (!Number.isFinite(number)) return number > 0 ? "inf" : "-inf";
  // toFixed drops the sign of -0, but C prints it.
  if (Object.is(number, -0)) return "-0.000000";
  return Math.abs(number) < 1e21 ? number.toFixed(6) : `${BigInt(number)}.000000`;
}

/**
 * One JSON object per line: a record, or another event of a watch, or an absent host of `virstream get`. A record has no member
 * `event`, so a program that reads the records of `get` reads those of a watch as well; all other events have `event` and no
 * `params`.
 */
class NdjsonFormat extends Format {
  override readonly hasAllEvents = true;

  record(record: DomainStatsRecord, rates?: DomainRates): string {
    return `${recordText(record, rates)}\n`;
  }

  override event(event: OtherEvent): string {
    return `${eventText(event)}\n`;
  }
}

class JsonFormat extends Format {
  #separator = "\n";

  override begin(): string {
    return "[";
  }

  record(record: DomainStatsRecord, rates?: DomainRates): string {
    return this.#element(recordText(record, rates));
  }

  override event(event: OtherEvent): string {
    return this.#element(eventText(event));
  }

  override end(): string {
    return "\n]\n";
  }

  #element(json: string): string {
    const text = this.#separator + json;
    this.#separator = ",\n";
    return text;
  }
}

function eventText(event: OtherEvent): string {
  const { type, error, ...members } = { error: undefined, ...event };
  // A member without a value is null, so that every event of a type has the same members.
  const known = Object.entries(members).map(([name, value]) => [name, value ?? null]);
  return jsonText({ event: type, ...Object.fromEntries(known), ...(error && { error }) });
}

/**
 * A record as JSON text. Integers keep all their digits, also beyond 2^53; a double for which JSON has no number is
 * text. The member `error` is there only if the record has an error.
 */
function recordText(record: DomainStatsRecord, rates: DomainRates | undefined): string {
  const { domain, status, reason = null, missing, sampledAt, steadyAt, tookMs, params, error } = record;
  const state = record.state ?? null;
  const head = jsonText({
    domain,
    status,
    reason,
    missing,
    ...(error && { error }),
    sampledAt,
    steadyAt,
    tookMs,
    state,
  });
  const members = jsonKeys(params.schema).map((key, i) => key + jsonValue(params.at(i)!));
  const text = `${head.slice(0, -1)},"params":{${members.join(",")}}`;
  if (rates === undefined) return `${text}}`;
  const { record: _, ...figures } = rates;
  return `${text},"rates":${jsonText(figures)}}`;
}

function jsonValue(value: ParamValue): string {
  if (typeof value === "string") return jsonText(value);
  return typeof value === "number" && !Number.isFinite(value) ? `"${value}"` : String(value);
}

/** The keys of a schema as JSON text, each with its colon. All records with this schema share the array. */
const jsonKeys = perObject((schema: Schema) => schema.keys.map((key) => `${jsonText(key)}:`));
