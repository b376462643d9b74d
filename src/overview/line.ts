import type { DiskRates, DomainRates, InterfaceRates, VcpuRates } from "../client/rates.ts";
import { TableRow } from "../client/table/rows.ts";
import { type Absent, type DomainIdentity, domainKey } from "../model/record.ts";
import { known, narrowMs, span, UNKNOWN } from "./quantity.ts";
import { type TroubleKind, type Verdict, verdictOf } from "./verdict.ts";

/** One line of the list: a guest, or a host that is absent. */
export type Line = GuestLine | HostLine;

/** A guest, or one of its devices. */
export interface GuestLine {
  readonly key: string;
  readonly row: TableRow;
  readonly verdict: Verdict;
  /** When the guest's record became incomplete, or its state began to show trouble, in ms of the list's clock. */
  readonly since: number;
  /** The device of this line: at most one of the three. */
  readonly disk?: DiskRates;
  readonly nic?: InterfaceRates;
  readonly vcpu?: VcpuRates;
}

/** The line of a host that cannot be reached. It replaces the lines of the host's guests. */
export interface HostLine {
  readonly key: string;
  readonly host: Absent;
  /** How many guests the host had; 0 if none is known. */
  readonly guests: number;
  /** How old the newest record of these guests is, in ms; undefined if there is none. */
  readonly ageMs: number | undefined;
}

/**
 * The line of a guest. New trouble is as old as the record that shows it.
 *
 * @param now the list's clock, in ms
 * @param known the trouble that the list last saw of this guest
 */
export function judged(
  row: TableRow,
  now: number,
  known?: { readonly kind: TroubleKind | undefined; readonly since: number },
): GuestLine {
  const verdict = verdictOf(row.record, 0);
  const { kind } = verdict;
  const since = known !== undefined && known.kind === kind ? known.since : now - row.ageMs;
  return { key: row.key, row, verdict: verdict.bad ? verdictOf(row.record, now - since) : verdict, since };
}

/** A row of a recording at a moment, in ms since 1970. The row's age is the time from its record to this moment. */
export function recordedRow(rates: DomainRates, at: number): TableRow {
  const { record } = rates;
  return new TableRow(domainKey(record.domain), record, rates, false, () => at - record.sampledAt + record.steadyAt);
}

/** The identity, the state and the age of a guest, in one line. */
export function factsText({ record, ageMs }: TableRow): string {
  const { domain, state, tookMs } = record;
  const id = domain.id < 0 ? UNKNOWN : domain.id;
  const words = known(state, ({ state, reason }) => `${state} (${reason})`);
  return `uuid ${domain.uuid}   id ${id}   state ${words}   ${span(ageMs)} old, answered in ${narrowMs(tookMs)}`;
}

/**
 * The name of a domain. If a query has a uuid that belongs to no domain, there is no name, and the result is the uuid.
 */
export function nameOf({ name, uuid }: DomainIdentity): string {
  return name || uuid;
}

/** A record is old after this many intervals, plus the time that a sweep may take. */
const OLD_INTERVALS = 2.5;
const SWEEP_MS = 1_000;

/**
 * True if the figures of a guest should be shown dim, because the guest's next record is overdue, or its host is
 * absent. The limit has a margin, because a guest that hangs makes a sweep longer.
 */
export function isOld({ stale, ageMs }: TableRow, intervalMs: number): boolean {
  return stale || ageMs > OLD_INTERVALS * intervalMs + SWEEP_MS;
}
