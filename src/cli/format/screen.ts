import type { DomainRates } from "../../client/rates.ts";
import { hostNames } from "../../driver/matcher.ts";
import { type DomainIdentity, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { StatusEvent, SyncEvent, WatchEvent } from "../../model/watch.ts";
import { type Column, columnsOf, lineOf, nameOf, needsAttention, type Row, trouble } from "./column.ts";
import { gapText, sourceStatusText, statusText, sweepText } from "./notice.ts";
import { cut, printable, shorten, width } from "./text.ts";

/** How large a terminal is, in cells. */
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
  /** How many of the rows, from the first, are of domains that people should look at. */
  readonly alerts: number;
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
  attention: boolean;
  /** Its last record that has a state: one that failed has none. */
  stated: DomainStatsRecord | undefined;
}

/** What happened to a domain, and when by the screen's clock. */
interface Incident {
  readonly text: string;
  readonly at: number;
}

const GAP = 2;
const MIN_NAME_WIDTH = 12;
const MAX_NAME_WIDTH = 40;
/** The status of the records of a host that is not connected. */
const STALE_WORDS = { reconnecting: "reconnecting", degraded: "host absent" } as const;
/** At most this many hosts have a line of their own. */
const MAX_HOST_LINES = 4;
/** The number of sweeps for which a notice stays. */
const NOTICE_SYNCS = 5;
/** How long the screen lists a domain that left or failed, in ms, and how many of them. */
const INCIDENT_MS = 600_000;
const MAX_INCIDENTS = 50;
const NAMED_INCIDENTS = 4;
/** The words of a failed state, such as `shut off (crashed)`, fit into the status of any line. */
const MAX_STATUS_WIDTH = 18;

/**
 * The newest state of a watch, laid out as top(1) does for a terminal of any size: the state of the hosts, and as many
 * domains as fit. Domains that need attention come first, then the busiest if there are rates, otherwise by host and
 * name. Columns that do not fit are left out, the least important first. It writes nothing itself.
 */
export class Screen {
  readonly #source: string;
  readonly #groups: number;
  readonly #rates: boolean;
  readonly #raw: boolean;
  readonly #now: () => number;
  readonly #hosts = new Map<string, HostLine>();
  readonly #lines = new Map<string, Line>();
  /** The lines in order; undefined when they must be sorted again. */
  #sorted: Line[] | undefined;
  /** The state of the connection to all hosts, while it is lost. */
  #lost: StatusEvent | undefined;
  /** The domains that left or failed lately, the newest last. */
  readonly #incidents = new Map<string, Incident>();
  #notice: { readonly text: string; syncs: number } | undefined;
  #longestName = 0;
  #synced = false;

  /**
   * @param source the name for the connection as a whole, such as its URI
   * @param groups the groups asked for as a mask; 0: all
   * @param rates show rates, and the busiest domains first
   * @param now a clock in ms
   * @param raw write totals as libvirt counts them
   */
  constructor(source: string, groups: number, rates: boolean, now = () => performance.now(), raw = false) {
    this.#source = source;
    this.#groups = groups;
    this.#rates = rates;
    this.#raw = raw;
    this.#now = now;
  }

  /** Takes an event. True when it is time to draw: at the end of a sweep, and after every event other than a record. */
  take(event: WatchEvent, rates?: DomainRates): boolean {
    switch (event.type) {
      case "record":
        this.#put(event.record, rates);
        // The first sweep may take long: show its records as they come.
        return !this.#synced;
      case "gone":
        if (this.#lines.delete(domainKey(event.domain))) {
          this.#sorted = undefined;
          this.#incident(event.domain, "left");
        }
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
        this.#notice = { text: gapText(event), syncs: 0 };
        return true;
    }
  }

  frame(size: ScreenSize): Frame {
    const head = this.#head(size.rows).map((line) => cut(printable(line), size.columns));
    const line = (cell: (column: Column) => string): string => cut(lineOf(columns, cell), size.columns);
    const sorted = this.#sort();
    const room = Math.max(0, size.rows - head.length - 1);
    const shown = sorted.length <= room ? sorted : sorted.slice(0, Math.max(0, room - 1));
    const columns = this.#fit(size.columns, shown);
    const rows = shown.map(({ record, rates }) => {
      const stale = this.#stale(record);
      // The last rates of a host that is not connected are out of date.
      const row: Row = { record, rates: stale === undefined ? rates : undefined };
      return line((column) => {
        if (column.title === "STATUS") return stale ?? column.text(row);
        return shorten(printable(column.text(row)), column.width);
      });
    });
    const alerts = shown.filter((each) => this.#rank(each) === 0).length;
    if (shown.length < sorted.length && room > 0)
      rows.push(cut(`and ${sorted.length - shown.length} more`, size.columns));
    return { head, title: line((column) => column.title), rows, alerts };
  }

  #put(record: DomainStatsRecord, rates: DomainRates | undefined): void {
    const key = domainKey(record.domain);
    const { host, name } = record.domain;
    this.#longestName = Math.max(this.#longestName, width(printable(nameOf(record.domain))));
    // A named domain that no host has is of no host.
    if (host !== "") this.#host(host);
    const line = this.#lines.get(key);
    if (line?.record.domain.name !== name) this.#sorted = undefined;
    const stated = record.state === undefined ? line?.stated : record;
    const failed = stated && trouble(stated);
    if (line === undefined || (stated !== undefined && failed === undefined)) this.#incidents.delete(key);
    else if (failed !== undefined && line.stated !== undefined && trouble(line.stated) !== failed) {
      this.#incident(record.domain, failed);
    }
    const next = { record, rates, attention: needsAttention(record), stated };
    if (line === undefined) this.#lines.set(key, next);
    else Object.assign(line, next);
  }

  #incident(domain: DomainIdentity, what: string): void {
    const key = domainKey(domain);
    this.#incidents.delete(key);
    const who = this.#hosts.size > 1 ? `${nameOf(domain)} of ${domain.host}` : nameOf(domain);
    this.#incidents.set(key, { text: `${who} ${what}`, at: this.#now() });
    if (this.#incidents.size > MAX_INCIDENTS) this.#incidents.delete(this.#incidents.keys().next().value!);
  }

  /** The domains that left or failed lately, the newest first; undefined when there are none. */
  #incidentsText(): string | undefined {
    const now = this.#now();
    const lately = [...this.#incidents.values()].filter(({ at }) => now - at < INCIDENT_MS).reverse();
    if (lately.length === 0) return undefined;
    const named = lately.slice(0, NAMED_INCIDENTS).map(({ text, at }) => `${text} ${ago(now - at)}`);
    const more = lately.length - named.length;
    return `lately: ${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
  }

  /** If the record's host is not connected, the reason why the record may be old. */
  #stale({ domain }: DomainStatsRecord): string | undefined {
    const status = this.#lost ?? this.#hosts.get(domain.host)?.status;
    const state = status?.state;
    return state === "reconnecting" || state === "degraded" ? `stale: ${STALE_WORDS[state]}` : undefined;
  }

  #status(event: StatusEvent): void {
    const { state } = event;
    const status = state === "connected" || state === "removed" ? undefined : event;
    if (event.host === undefined) this.#lost = status;
    for (const name of event.host?.split(",") ?? []) {
      const host = this.#host(name);
      host.status = status;
      // A host that has never answered had its URI as its name, and has another name from now on.
      if (state === "removed" || (status === undefined && host.sync === undefined)) this.#hosts.delete(name);
    }
  }

  #host(name: string): HostLine {
    const host = this.#hosts.get(name) ?? {};
    this.#hosts.set(name, host);
    return host;
  }

  #head(rows: number): string[] {
    const lines: string[] = [];
    if (this.#lost !== undefined) lines.push(sourceStatusText(this.#source, this.#lost));
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
    const incidents = this.#incidentsText();
    if (incidents !== undefined) lines.push(incidents);
    if (this.#notice !== undefined) lines.push(this.#notice.text);
    return lines.slice(0, Math.max(1, rows - 2));
  }

  #sort(): readonly Line[] {
    this.#sorted ??= [...this.#lines.values()].sort(this.#rates ? busiest : byName);
    const ranks: Line[][] = [[], [], []];
    for (const line of this.#sorted) ranks[this.#rank(line)]!.push(line);
    return ranks.flat();
  }

  /** Trouble comes first: such a domain has no rates, and would not be seen at the end. Old records come last. */
  #rank({ record, attention }: Line): 0 | 1 | 2 {
    if (this.#stale(record) !== undefined) return 2;
    return attention ? 0 : 1;
  }

  /**
   * The columns that fit into a line. The first is as wide as its names, if the rest of the line allows, and the last as
   * wide as the troubles of the shown lines.
   */
  #fit(cells: number, shown: readonly Line[]): Column[] {
    const columns = columnsOf(this.#groups, this.#rates, this.#hosts.size > 1, this.#raw);
    const status = columns.at(-1)!;
    const widths = shown.map(({ record }) => Math.min(MAX_STATUS_WIDTH, trouble(record)?.length ?? 0));
    columns[columns.length - 1] = { ...status, width: Math.max(status.width, ...widths) };
    const name = Math.min(MAX_NAME_WIDTH, Math.max(columns[0]!.title.length, this.#longestName));
    const narrow = Math.min(MIN_NAME_WIDTH, name);
    const needed = (): number => columns.reduce((sum, column, i) => sum + (i === 0 ? narrow : column.width + GAP), 0);
    while (needed() > cells) {
      const rank = Math.max(...columns.map((column) => column.rank));
      if (rank === 0) break;
      const last = columns.findLastIndex((column) => column.rank === rank);
      columns.splice(last, 1);
    }
    columns[0] = { ...columns[0]!, width: Math.max(narrow, Math.min(name, narrow + cells - needed())) };
    return columns;
  }
}

function hostText(name: string, { sync, status }: HostLine): string {
  const swept = sync === undefined ? `${name}: waiting for its first sweep` : sweepText(sync);
  return status === undefined ? swept : `${swept}; ${statusText(status)}`;
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

function ago(ms: number): string {
  return ms < 60_000 ? `${Math.floor(ms / 1_000)} s ago` : `${Math.floor(ms / 60_000)} min ago`;
}
