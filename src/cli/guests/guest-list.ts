import type { TableRow } from "../../client/table/rows.ts";
import type { Absent } from "../../model/record.ts";
import { printable } from "../format/text.ts";
import { type Column, RATE_COLUMNS } from "./columns.ts";
import { type GuestLine, type HostLine, judged, type Line, nameOf } from "./line.ts";
import { severity, type TroubleKind } from "./verdict.ts";

/** The figures of all guests together. */
export interface Totals {
  readonly guests: number;
  readonly hosts: readonly string[];
  readonly absent: number;
  readonly troubles: ReadonlyMap<TroubleKind, number>;
  /** Processors in use, and all vCPUs of running guests. */
  readonly cpus: number | undefined;
  readonly vcpus: number;
  /** Memory in use by the guests' own report or their processes, and what the hosts let them have, in bytes. */
  readonly usedBytes: number;
  readonly assignedBytes: number;
}

/** How the list is ordered and filtered. */
export interface ListView {
  /** The name of a column. */
  readonly sort: string;
  readonly ascending: boolean;
  /** A part of the name of a guest or a host; "" shows all. */
  readonly filter: string;
}

/** A guest that left, or got into trouble, lately. */
interface Incident {
  readonly text: string;
  readonly at: number;
}

interface Memory {
  name: string;
  kind: TroubleKind | undefined;
  since: number;
}

/** What has happened to a guest that has got into trouble. */
const INCIDENTS: Readonly<Record<TroubleKind, string>> = {
  stuck: "stuck",
  "io-error": "I/O error",
  crashed: "crashed",
  failed: "failed",
  denied: "denied",
  incomplete: "incomplete",
};
const INCIDENT_MS = 600_000;
const MAX_INCIDENTS = 50;

/**
 * The guests of a table, judged: what is wrong with each and since when, which hosts are absent, and which guests left or failed
 * lately. It writes nothing and has no timer.
 */
export class GuestList {
  readonly #now: () => number;
  readonly #memory = new Map<string, Memory>();
  /** By the key of the guest, the newest last. */
  readonly #incidents = new Map<string, Incident>();
  #guests: GuestLine[] = [];
  #hosts: HostLine[] = [];
  #hostNames: string[] = [];
  #begun = false;
  #totals: Totals | undefined;
  /** The lines of the last view; undefined: they must be sorted again. */
  #sorted: { readonly view: ListView; readonly lines: readonly Line[] } | undefined;

  /** @param now a clock in ms */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Takes the state of the table at the end of a tick. */
  update(rows: readonly TableRow[], absent: readonly Absent[], hosts: readonly string[]): void {
    const now = this.#now();
    const away = new Map(
      absent.map((each) => [each.host, { guests: 0, ageMs: undefined as number | undefined, each }]),
    );
    const seen = new Set<string>();
    this.#guests = [];
    for (const row of rows) {
      seen.add(row.key);
      const host = away.get(row.domain.host);
      if (host === undefined) {
        this.#guests.push(this.#judge(row, now));
        continue;
      }
      host.guests++;
      host.ageMs = Math.min(host.ageMs ?? Number.POSITIVE_INFINITY, row.ageMs);
    }
    for (const [key, { name }] of this.#memory) {
      if (seen.has(key)) continue;
      this.#memory.delete(key);
      this.#incident(key, `${name} left`, now);
    }
    this.#hosts = [...away.values()].map(({ each, ...rest }) => ({ key: `host ${each.host}`, host: each, ...rest }));
    this.#hostNames = [...new Set([...hosts, ...absent.map(({ host }) => host)])].sort();
    this.#begun = true;
    this.#totals = undefined;
    this.#sorted = undefined;
  }

  /** All guests, in the order in which they came, and all absent hosts. */
  get guests(): readonly GuestLine[] {
    return this.#guests;
  }

  /** The hosts that are absent. */
  get hosts(): readonly HostLine[] {
    return this.#hosts;
  }

  /** The line with a key. */
  line(key: string | undefined): Line | undefined {
    return [...this.#hosts, ...this.#guests].find((line) => line.key === key);
  }

  /** The guests that left or failed in the last ten minutes, the newest first. */
  get incidents(): readonly Incident[] {
    const now = this.#now();
    return [...this.#incidents.values()].filter(({ at }) => now - at < INCIDENT_MS).toReversed();
  }

  get totals(): Totals {
    this.#totals ??= this.#sum();
    return this.#totals;
  }

  /** The lines that pass the filter: trouble first, then absent hosts, then by the column. */
  lines({ sort, ascending, filter }: ListView): readonly Line[] {
    const last = this.#sorted?.view;
    if (last === undefined || last.sort !== sort || last.ascending !== ascending || last.filter !== filter) {
      const view = { sort, ascending, filter };
      this.#sorted = { view, lines: this.#linesOf(view) };
    }
    return this.#sorted!.lines;
  }

  #linesOf({ sort, ascending, filter }: ListView): Line[] {
    const wanted = filter.toLowerCase();
    const matches = (...texts: string[]): boolean => texts.some((text) => text.toLowerCase().includes(wanted));
    const column = RATE_COLUMNS.find(({ name }) => name === sort)!;
    const guests = this.#guests.filter(({ row: { domain } }) => matches(domain.name, domain.host, domain.uuid));
    const hosts = this.#hosts.filter(({ host }) => matches(host.host));
    return inOrder(guests, hosts, column, ascending);
  }

  #sum(): Totals {
    const troubles = new Map<TroubleKind, number>();
    let [cpus, vcpus, usedBytes, assignedBytes]: [number | undefined, number, number, number] = [undefined, 0, 0, 0];
    for (const { row, verdict } of this.#guests) {
      if (verdict.kind !== undefined) troubles.set(verdict.kind, (troubles.get(verdict.kind) ?? 0) + 1);
      if (row.domain.id < 0) continue;
      const { cpu, memory } = row.rates;
      if (cpu.percent !== undefined) cpus = (cpus ?? 0) + cpu.percent / 100;
      vcpus += row.record.params.number("vcpu.current") ?? 0;
      usedBytes += memory.usedBytes ?? memory.rssBytes ?? 0;
      assignedBytes += memory.assignedBytes ?? 0;
    }
    const guests = this.#guests.length + this.#hosts.reduce((sum, host) => sum + host.guests, 0);
    const hosts = this.#hostNames;
    return { guests, hosts, absent: this.#hosts.length, troubles, cpus, vcpus, usedBytes, assignedBytes };
  }

  #judge(row: TableRow, now: number): GuestLine {
    const { key, record } = row;
    const known = this.#memory.get(key);
    const line = judged(row, now, known);
    const { kind } = line.verdict;
    const name = printable(nameOf(record.domain));
    this.#memory.set(key, { name, kind, since: line.since });
    // At the first look nothing has happened yet.
    if (kind === undefined) this.#incidents.delete(key);
    else if (known?.kind !== kind && this.#begun) this.#incident(key, `${name} ${INCIDENTS[kind]}`, now);
    return line;
  }

  #incident(key: string, text: string, at: number): void {
    this.#incidents.delete(key);
    this.#incidents.set(key, { text, at });
    if (this.#incidents.size > MAX_INCIDENTS) this.#incidents.delete(this.#incidents.keys().next().value!);
  }
}

/** Trouble first, the worst before the rest, then absent hosts, and then the guests that are well: each by the column. */
export function inOrder(guests: GuestLine[], hosts: readonly HostLine[], column: Column, ascending: boolean): Line[] {
  guests.sort((one, other) => severity(one.verdict) - severity(other.verdict) || order(column, ascending, one, other));
  const well = guests.findIndex(({ verdict }) => !verdict.bad);
  const troubled = well < 0 ? guests.length : well;
  return [...guests.slice(0, troubled), ...hosts, ...guests.slice(troubled)];
}

/** Guests without a value come last, in either order; equal ones by name. */
function order({ value }: Column, ascending: boolean, one: GuestLine, other: GuestLine): number {
  const [a, b] = [value(one), value(other)];
  const byName =
    compare(one.row.domain.name, other.row.domain.name) || compare(one.row.domain.host, other.row.domain.host);
  if (a === undefined || b === undefined) return Number(a === undefined) - Number(b === undefined) || byName;
  return (ascending ? compare(a, b) : compare(b, a)) || byName;
}

function compare(one: string | number | bigint, other: string | number | bigint): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
