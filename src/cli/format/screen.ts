import type { DomainRates } from "../../client/rates.ts";
import { type DomainStatsRecord, domainKey } from "../../model/record.ts";
import { hostNames, type StatusEvent, type SyncEvent, type WatchEvent } from "../../model/watch.ts";
import { type Column, columnsOf, lineOf, type Row } from "./column.ts";
import { gapText, statusText, sweepText } from "./notice.ts";
import { printable } from "./quantity.ts";

/** How large a terminal is, in characters. */
export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

/** The lines that a terminal shows. They fit its size. */
export interface Frame {
  /** The state of the hosts. */
  readonly head: readonly string[];
  readonly title: string;
  /** A line per domain, as many as fit. */
  readonly rows: readonly string[];
}

interface HostLine {
  sync?: SyncEvent;
  /** Undefined while it is connected. */
  status?: StatusEvent | undefined;
}

/** The line of a domain; it keeps its place while its record is replaced. */
interface Line {
  record: DomainStatsRecord;
  rates: DomainRates | undefined;
}

const GAP = 2;
const MIN_NAME_WIDTH = 12;
const MAX_NAME_WIDTH = 40;
/** The status of the records of a host that is not connected. */
const STALE_WORDS = { reconnecting: "reconnecting", degraded: "host absent" } as const;
/** At most this many hosts have a line of their own. */
const MAX_HOST_LINES = 4;
/** For how many sweeps a notice stays. */
const NOTICE_SYNCS = 5;

/**
 * The newest state of a watch, laid out as top(1) does for a terminal of any size: the state of the hosts, and as many
 * domains as fit. Domains whose record is not `ok` come first, then the busiest if there are rates, otherwise by host
 * and name. Columns that do not fit are left out, the least important first. It writes nothing itself.
 */
export class Screen {
  readonly #source: string;
  readonly #groups: number;
  readonly #rates: boolean;
  readonly #hosts = new Map<string, HostLine>();
  readonly #lines = new Map<string, Line>();
  /** The lines in order; undefined when they must be sorted again. */
  #sorted: Line[] | undefined;
  /** The state of the connection to all hosts, while it is lost. */
  #lost: StatusEvent | undefined;
  #notice: { readonly text: string; syncs: number } | undefined;
  #longestName = 0;
  #synced = false;

  /**
   * @param source the name for the connection as a whole, such as its URI
   * @param groups the groups asked for as a mask; 0: all
   * @param rates show rates, and the busiest domains first
   */
  constructor(source: string, groups: number, rates: boolean) {
    this.#source = printable(source);
    this.#groups = groups;
    this.#rates = rates;
  }

  /** Takes an event. True when it is time to draw: at the end of a sweep, and after events that are no records. */
  take(event: WatchEvent, rates?: DomainRates): boolean {
    switch (event.type) {
      case "record":
        this.#put(event.record, rates);
        // The first sweep may take long: show its records as they come.
        return !this.#synced;
      case "gone":
        if (this.#lines.delete(domainKey(event.domain))) this.#sorted = undefined;
        return true;
      case "sync":
        this.#synced = true;
        for (const name of hostNames(event.host)) this.#host(name).sync = event;
        if (this.#rates) this.#sorted = undefined;
        if (this.#notice !== undefined && ++this.#notice.syncs > NOTICE_SYNCS) this.#notice = undefined;
        return true;
      case "status":
        this.#status(event);
        return true;
      case "gap":
        this.#notice = { text: printable(gapText(event)), syncs: 0 };
        return true;
    }
  }

  frame(size: ScreenSize): Frame {
    const head = this.#head(size.rows).map((line) => cut(line, size.columns));
    const columns = this.#fit(size.columns);
    const line = (cell: (column: Column) => string): string => cut(lineOf(columns, cell), size.columns);
    const sorted = this.#sort();
    const room = Math.max(0, size.rows - head.length - 1);
    const shown = sorted.length <= room ? sorted : sorted.slice(0, Math.max(0, room - 1));
    const rows = shown.map(({ record, rates }) => {
      const stale = this.#stale(record);
      // The last rates of a host that is not connected are out of date.
      const row: Row = { record, rates: stale === undefined ? rates : undefined };
      return line((column) => (column.title === "STATUS" && stale) || shorten(column.text(row), column));
    });
    if (shown.length < sorted.length && room > 0)
      rows.push(cut(`and ${sorted.length - shown.length} more`, size.columns));
    return { head, title: line((column) => column.title), rows };
  }

  #put(record: DomainStatsRecord, rates: DomainRates | undefined): void {
    const key = domainKey(record.domain);
    const { host, name } = record.domain;
    this.#longestName = Math.max(this.#longestName, name.length);
    // A named domain that no host has is of no host.
    if (host !== "") this.#host(host);
    const line = this.#lines.get(key);
    if (line?.record.domain.name !== name) this.#sorted = undefined;
    if (line === undefined) this.#lines.set(key, { record, rates });
    else Object.assign(line, { record, rates });
  }

  /** If the record's host is not connected, the reason why the record may be old. */
  #stale({ domain }: DomainStatsRecord): string | undefined {
    const status = this.#lost ?? this.#hosts.get(domain.host)?.status;
    return status === undefined || status.state === "connected" ? undefined : `stale: ${STALE_WORDS[status.state]}`;
  }

  #status(event: StatusEvent): void {
    const status = event.state === "connected" ? undefined : event;
    if (event.host === undefined) this.#lost = status;
    for (const name of event.host?.split(",") ?? []) {
      const host = this.#host(name);
      host.status = status;
      // A host that has never answered had its URI as its name, and has another name from now on.
      if (status === undefined && host.sync === undefined) this.#hosts.delete(name);
    }
  }

  #host(name: string): HostLine {
    const host = this.#hosts.get(name) ?? {};
    this.#hosts.set(name, host);
    return host;
  }

  #head(rows: number): string[] {
    const lines: string[] = [];
    if (this.#lost !== undefined) lines.push(`${this.#source}: ${printable(statusText(this.#lost))}`);
    const hosts = [...this.#hosts].sort(
      ([one, a], [other, b]) => Number(!a.status) - Number(!b.status) || order(one, other),
    );
    if (hosts.length === 0) lines.push(`${this.#source}: waiting for the first sweep`);
    // At most a third of the screen: the rest is for the domains.
    const most = Math.max(1, Math.min(MAX_HOST_LINES, Math.floor(rows / 3)));
    const own = hosts.length <= most ? hosts : hosts.slice(0, Math.max(1, most - 1));
    for (const [name, host] of own) lines.push(hostText(name, host));
    if (own.length < hosts.length)
      lines.push(`and ${hosts.length - own.length} more hosts: ${this.#lines.size} domains in all`);
    if (this.#notice !== undefined) lines.push(this.#notice.text);
    return lines.slice(0, Math.max(1, rows - 2));
  }

  #sort(): readonly Line[] {
    this.#sorted ??= [...this.#lines.values()].sort(this.#rates ? busiest : byName);
    // Records that are not `ok` come first: they have no rates, and would not be seen at the end. Old records come last.
    const rank = ({ record }: Line): number => (this.#stale(record) !== undefined ? 2 : record.status === "ok" ? 1 : 0);
    const ranks = [0, 1, 2].map((each) => this.#sorted!.filter((line) => rank(line) === each));
    return ranks.flat();
  }

  /** The columns that fit into a width; the first is as wide as its names, if the rest of the line allows. */
  #fit(width: number): Column[] {
    const columns = columnsOf(this.#groups, this.#rates, this.#hosts.size > 1);
    const name = Math.min(MAX_NAME_WIDTH, Math.max(columns[0]!.title.length, this.#longestName));
    const narrow = Math.min(MIN_NAME_WIDTH, name);
    const needed = (): number => columns.reduce((sum, column, i) => sum + (i === 0 ? narrow : column.width + GAP), 0);
    while (needed() > width) {
      const rank = Math.max(...columns.map((column) => column.rank));
      if (rank === 0) break;
      const last = columns.findLastIndex((column) => column.rank === rank);
      columns.splice(last, 1);
    }
    columns[0] = { ...columns[0]!, width: Math.max(narrow, Math.min(name, narrow + width - needed())) };
    return columns;
  }
}

function hostText(name: string, { sync, status }: HostLine): string {
  const swept = sync === undefined ? `${printable(name)}: waiting for its first sweep` : sweepText(sync);
  return status === undefined ? swept : `${swept}; ${printable(statusText(status))}`;
}

function busiest(one: Line, other: Line): number {
  return (other.rates?.cpu.percent ?? -1) - (one.rates?.cpu.percent ?? -1) || byName(one, other);
}

function byName({ record: { domain: one } }: Line, { record: { domain: other } }: Line): number {
  return order(one.host, other.host) || order(one.name, other.name);
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

/** Shortens a text to its column's width. It removes the middle, because related names differ at their ends. */
function shorten(text: string, { width, title }: Column): string {
  if (text.length <= width || title === "STATUS") return text;
  const head = Math.ceil((width - 1) / 2);
  return `${text.slice(0, head)}…${text.slice(text.length - (width - 1 - head))}`;
}

function cut(line: string, width: number): string {
  return line.length <= width ? line : `${line.slice(0, Math.max(0, width - 1))}…`;
}
