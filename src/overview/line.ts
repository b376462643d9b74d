import type { DiskRates, DomainRates, InterfaceRates, VcpuRates } from "../client/rates.ts";
import { TableRow } from "../client/table/rows.ts";
import { type Absent, type DomainIdentity, domainKey } from "../model/record.ts";
import { type TroubleKind, type Verdict, verdictOf } from "./verdict.ts";

/** One line of the list: a guest, or a host that is absent. */
export type Line = GuestLine | HostLine;

/** A guest, or one of its devices. */
export interface GuestLine {
  readonly key: string;
  readonly row: TableRow;
  readonly verdict: Verdict;
  /** Since when its record is not whole, or its state tells of trouble, in ms of the list's clock. */
  readonly since: number;
  /** The device that the line is about: at most one of the three. */
  readonly disk?: DiskRates;
  readonly nic?: InterfaceRates;
  readonly vcpu?: VcpuRates;
}

/** A host that cannot be reached, in place of its guests. */
export interface HostLine {
  readonly key: string;
  readonly host: Absent;
  /** How many guests it had; 0 where none is known. */
  readonly guests: number;
  /** How old the newest record of them is, in ms; undefined where there is none. */
  readonly ageMs: number | undefined;
}

/**
 * The line of a guest. A trouble that is new is as old as the record that has it.
 *
 * @param now the list's clock, in ms
 * @param known the guest's last trouble
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

/** The row of a recording: its age is that at a moment, in ms since 1970, on a clock that stands still there. */
export function recordedRow(rates: DomainRates, at: number): TableRow {
  const { record } = rates;
  return new TableRow(domainKey(record.domain), record, rates, false, () => at - record.sampledAt + record.steadyAt);
}

/** The name of a domain. A query can name a domain by its uuid that no host has: then the uuid, because it has no name. */
export function nameOf({ name, uuid }: DomainIdentity): string {
  return name || uuid;
}

/** A guest whose record is older than this many intervals, and the time that a sweep may take besides, is old. */
const OLD_INTERVALS = 2.5;
const SWEEP_MS = 1_000;

/** True if figures are to be dim: the guest's next record is overdue, or its host is away. A guest that hangs makes a sweep longer. */
export function isOld({ stale, ageMs }: TableRow, intervalMs: number): boolean {
  return stale || ageMs > OLD_INTERVALS * intervalMs + SWEEP_MS;
}
