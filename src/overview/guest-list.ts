import type { TableRow } from "../client/table/rows.ts";
import type { Absent } from "../model/record.ts";
import { type Column, RATE_COLUMNS, screenColumn, type Value } from "./columns.ts";
import { type GuestLine, type HostLine, judged, type Line, nameOf } from "./line.ts";
import { type Slowness, slownessOf } from "./slowness.ts";
import { severity, type TroubleKind } from "./verdict.ts";
import { printable } from "./words.ts";

/** The figures of all guests together. */
export interface Totals {
  readonly guests: number;
  readonly hosts: readonly string[];
  readonly absent: number;
  readonly troubles: ReadonlyMap<TroubleKind, number>;
  /** How many guests are slow. */
  readonly slow: number;
  /** `cpus`: how many processors the guests use. `vcpus`: how many vCPUs all running guests have. */
  readonly cpus: number | undefined;
  readonly vcpus: number;
  /**
   * In bytes. `usedBytes`: the memory in use, by the guests' own reports or by the size of their processes.
   * `assignedBytes`: the memory that the hosts let the guests have.
   */
  readonly usedBytes: number;
  readonly assignedBytes: number;
  /** True if at least one guest does not report its memory, so that the memory of its process counts as used. */
  readonly isUsedEstimated: boolean;
}

/** How the list is ordered and filtered. */
export interface ListView {
  /** The name of the column by which the list is sorted. */
  readonly sort: string;
  readonly ascending: boolean;
  /** A part of the name or uuid of a guest, or of the name of a host; "" shows all. */
  readonly filter: string;
}

/** The order after the user has chosen a column. If this column already sorts the list, the order is reversed. */
export function sortedBy(view: ListView, sort: string): Pick<ListView, "sort" | "ascending"> {
  return { sort, ascending: view.sort === sort ? !view.ascending : screenColumn(sort)?.isText === true };
}

/** A recent event: a guest left, or got into trouble. */
interface Incident {
  readonly text: string;
  readonly at: number;
}

/** What the list remembers of a guest that was recently slow: when it was slow first and last, and how. */
interface SlowMemory {
  readonly first: number;
  readonly last: number;
  readonly slow: Slowness;
}

interface Memory {
  readonly name: string;
  readonly kind: TroubleKind | undefined;
  readonly since: number;
}

/** The word for each kind of trouble in the text of an incident. */
const INCIDENTS: Readonly<Record<TroubleKind, string>> = {
  stuck: "stuck",
  "io-error": "I/O error",
  crashed: "crashed",
  failed: "failed",
  denied: "denied",
  incomplete: "incomplete",
};
/** The list shows a guest as slow once it has been slow for this many ms. So the list does not flicker. */
const SLOW_AFTER_MS = 3_000;
/** The list shows a guest as slow until more than this many ms have passed since the guest was last slow. */
const WELL_AFTER_MS = 10_000;
/** How many guests are judged in one step of `updating`. */
const STEP = 500;
const INCIDENT_MS = 600_000;
const MAX_INCIDENTS = 50;

/**
 * The guests of a table with a verdict on each: what is wrong, and since when. The list also has the absent hosts, and
 * the guests that recently left or failed. It prints nothing and has no timer.
 */
export class GuestList {
  readonly #now: () => number;
  readonly #slowAfterMs: number;
  readonly #memory = new Map<string, Memory>();
  readonly #slow = new Map<string, SlowMemory>();
  /** The newest incident of each guest, by the guest's key. The newest of all is last. */
  readonly #incidents = new Map<string, Incident>();
  #guests: GuestLine[] = [];
  #hosts: HostLine[] = [];
  #hostNames: string[] = [];
  #begun = false;
  #sums = new Sums();
  /** The lines that lines() returned last, with their view; undefined: the lines must be sorted again. */
  #sorted: { readonly view: ListView; readonly lines: readonly Line[] } | undefined;

  /**
   * @param now a clock in ms
   * @param slowAfterMs how long a guest must have been slow before the list shows it as slow, in ms; 0: at once, for a
   *   list that is printed
   */
  constructor(now: () => number, slowAfterMs: number = SLOW_AFTER_MS) {
    this.#now = now;
    this.#slowAfterMs = slowAfterMs;
  }

  /** Takes the rows and the hosts of the table at the end of a tick. */
  update(rows: readonly TableRow[], absent: readonly Absent[], hosts: readonly string[]): void {
    for (const _ of this.updating(rows, absent, hosts)) {
      // Runs all steps one after the other.
    }
  }

  /**
   * Does the same as `update`, in steps of some hundred guests, for a page that must not block. The list changes with
   * the last step.
   */
  *updating(rows: readonly TableRow[], absent: readonly Absent[], hosts: readonly string[]): Generator<void> {
    const now = this.#now();
    const away = new Map(
      absent.map((each) => [each.host, { guests: 0, ageMs: undefined as number | undefined, each }]),
    );
    const seen = new Set<string>();
    const guests: GuestLine[] = [];
    const sums = new Sums();
    for (const [i, row] of rows.entries()) {
      if (i % STEP === STEP - 1) yield;
      seen.add(row.key);
      const host = away.get(row.domain.host);
      if (host === undefined) {
        const line = this.#judge(row, now);
        sums.add(line);
        guests.push(line);
        continue;
      }
      host.guests++;
      host.ageMs = Math.min(host.ageMs ?? Number.POSITIVE_INFINITY, row.ageMs);
    }
    for (const [key, { name }] of this.#memory) {
      if (seen.has(key)) continue;
      this.#memory.delete(key);
      this.#slow.delete(key);
      this.#incident(key, `${printable(name)} left`, now);
    }
    this.#guests = guests;
    this.#hosts = [...away.values()].map(({ each, ...rest }) => ({ key: `host ${each.host}`, host: each, ...rest }));
    this.#hostNames = [...new Set([...hosts, ...absent.map(({ host }) => host)])].sort();
    this.#begun = true;
    this.#sums = sums;
    this.#sorted = undefined;
  }

  /** True after the first update. */
  get begun(): boolean {
    return this.#begun;
  }

  /** The guests in trouble, the worst first, and the absent hosts. The filter does not apply. */
  get trouble(): readonly Line[] {
    const guests = this.#guests.filter(({ verdict }) => verdict.bad);
    return [...guests.sort((one, other) => severity(one.verdict) - severity(other.verdict)), ...this.#hosts];
  }

  /** The guests that are slow, those with slow disks first. */
  get slow(): readonly GuestLine[] {
    const slow = this.#guests.filter(({ verdict }) => verdict.slow !== undefined);
    const rank = ({ verdict }: GuestLine): number => (verdict.slow?.kind === "disk" ? 0 : 1);
    return slow.sort((one, other) => rank(one) - rank(other) || compare(one.row.domain.name, other.row.domain.name));
  }

  /** All guests whose hosts are not absent, in the order in which they came. */
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
    const { troubles, slow, cpus, vcpus, usedBytes, assignedBytes, isUsedEstimated } = this.#sums;
    const guests = this.#guests.length + this.#hosts.reduce((sum, host) => sum + host.guests, 0);
    const hosts = this.#hostNames;
    const memory = { usedBytes, assignedBytes, isUsedEstimated };
    return { guests, hosts, absent: this.#hosts.length, troubles, slow, cpus, vcpus, ...memory };
  }

  /**
   * The lines that pass the filter, in the order of inOrder(): guests in trouble first, then absent hosts, then the
   * other guests.
   */
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
    const guests = this.#guests.filter(
      ({ row: { domain } }) => wanted === "" || matches(domain.name, domain.host, domain.uuid),
    );
    const hosts = this.#hosts.filter(({ host }) => matches(host.host));
    return inOrder(guests, hosts, column, ascending);
  }

  #judge(row: TableRow, now: number): GuestLine {
    const { key, record } = row;
    const known = this.#memory.get(key);
    const line = this.#withSlowness(judged(row, now, known), now);
    const { kind } = line.verdict;
    const name = nameOf(record.domain);
    if (known?.kind !== kind || known?.name !== name) this.#memory.set(key, { name, kind, since: line.since });
    // The first update has no earlier state to compare with, so it adds no incident.
    if (kind === undefined) this.#incidents.delete(key);
    else if (known?.kind !== kind && this.#begun) this.#incident(key, `${printable(name)} ${INCIDENTS[kind]}`, now);
    return line;
  }

  #withSlowness(line: GuestLine, now: number): GuestLine {
    const { key, row, verdict } = line;
    const all = verdict.kind === undefined ? slownessOf(row.glance) : [];
    const slow = all[0] && { ...all[0], sentence: all.map(({ sentence }) => sentence).join(", and ") };
    const known = this.#slow.get(key);
    const lately = known !== undefined && now - known.last <= WELL_AFTER_MS ? known : undefined;
    if (slow !== undefined) this.#slow.set(key, { first: lately?.first ?? now, last: now, slow });
    else if (lately === undefined || verdict.kind !== undefined) this.#slow.delete(key);
    const last = this.#slow.get(key);
    if (last === undefined || last.last - last.first < this.#slowAfterMs) return line;
    return { ...line, verdict: { ...verdict, words: last.slow.words, slow: last.slow } };
  }

  #incident(key: string, text: string, at: number): void {
    this.#incidents.delete(key);
    this.#incidents.set(key, { text, at });
    if (this.#incidents.size > MAX_INCIDENTS) this.#incidents.delete(this.#incidents.keys().next().value!);
  }
}

/** The sums over the guests of an update. */
class Sums {
  readonly troubles = new Map<TroubleKind, number>();
  slow = 0;
  cpus: number | undefined;
  vcpus = 0;
  usedBytes = 0;
  assignedBytes = 0;
  isUsedEstimated = false;

  add({ row, verdict: { kind, slow } }: GuestLine): void {
    if (slow !== undefined) this.slow++;
    if (kind !== undefined) this.troubles.set(kind, (this.troubles.get(kind) ?? 0) + 1);
    if (row.domain.id < 0) return;
    const { cpu, memory } = row.glance;
    if (cpu.percent !== undefined) this.cpus = (this.cpus ?? 0) + cpu.percent / 100;
    this.vcpus += row.record.params.number("vcpu.current") ?? 0;
    this.usedBytes += memory.usedBytes ?? memory.rssBytes ?? 0;
    this.isUsedEstimated ||= memory.usedBytes === undefined && memory.rssBytes !== undefined;
    this.assignedBytes += memory.assignedBytes ?? 0;
  }
}

/**
 * Guests in trouble first, the worst at the top; then absent hosts; then the guests that are well. The column sorts
 * guests with equally bad trouble, and the guests that are well.
 */
export function inOrder(
  guests: readonly GuestLine[],
  hosts: readonly HostLine[],
  { value }: Column,
  ascending: boolean,
): Line[] {
  const troubled: RankedLine[] = [];
  const well: RankedLine[] = [];
  // Computes the value once for each guest, because a sort compares it many times.
  for (const line of guests) (line.verdict.bad ? troubled : well).push({ line, value: value(line) });
  const sign = ascending ? 1 : -1;
  troubled.sort((one, other) => severity(one.line.verdict) - severity(other.line.verdict) || order(one, other, sign));
  well.sort((one, other) => order(one, other, sign));
  return [...troubled.map(({ line }) => line), ...hosts, ...well.map(({ line }) => line)];
}

/** A guest with the value that it is sorted by. */
interface RankedLine {
  readonly line: GuestLine;
  readonly value: Value | undefined;
}

/** Guests without a value come last in both orders. Guests with equal values are in the order of their names. */
function order({ line: one, value: a }: RankedLine, { line: other, value: b }: RankedLine, sign: 1 | -1): number {
  const byValue =
    a === undefined || b === undefined ? Number(a === undefined) - Number(b === undefined) : sign * compare(a, b);
  if (byValue !== 0) return byValue;
  const [{ domain }, { domain: otherDomain }] = [one.row, other.row];
  return compare(domain.name, otherDomain.name) || compare(domain.host, otherDomain.host);
}

function compare(one: Value, other: Value): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
