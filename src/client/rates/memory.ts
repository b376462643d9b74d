import type { ParamValue, TypedParams } from "../../model/params.ts";
import { cellAt, difference, finite, perSecond } from "./difference.ts";
import type { MemoryRates } from "./domain-rates.ts";
import type { RateLayout } from "./layout.ts";

/** Of a domain whose memory cannot be told. */
export const NO_MEMORY: MemoryRates = Object.freeze({
  assignedBytes: undefined,
  rssBytes: undefined,
  totalBytes: undefined,
  usedBytes: undefined,
  usedPercent: undefined,
  guestUpdatedAt: undefined,
  guestAgeMs: undefined,
  intervalMs: undefined,
  swapInBytesPerSecond: undefined,
  swapOutBytesPerSecond: undefined,
  majorFaultsPerSecond: undefined,
  minorFaultsPerSecond: undefined,
});

/** The values of a record, where they are, and when it was sampled, in ms since 1970. */
export interface MemorySample {
  readonly layout: RateLayout;
  readonly params: TypedParams;
  readonly at: number;
}

/** What the guest's balloon driver counted, and how that differs from its report before. */
export class GuestReport {
  /** When it came, in ms since 1970: by the host's clock where the host says, else by the record's. */
  readonly updatedAt: number;
  /** When a record had it first, in ms since 1970. */
  readonly seenAt: number;
  /** The number of that record, counted for the domain. */
  readonly turn: number;
  /** Swapped in and out, major and minor faults. */
  readonly counters: readonly (ParamValue | undefined)[];
  /** The time since the report before, in ms; undefined where there is none to compare with. */
  readonly intervalMs: number | undefined;
  readonly swapInBytesPerSecond: number | undefined;
  readonly swapOutBytesPerSecond: number | undefined;
  readonly majorFaultsPerSecond: number | undefined;
  readonly minorFaultsPerSecond: number | undefined;

  /** @param before the report to compare with; undefined when there is none that is fit for it */
  constructor({ layout, params, at }: MemorySample, updatedAt: number, turn: number, before: GuestReport | undefined) {
    this.updatedAt = updatedAt;
    this.seenAt = at;
    this.turn = turn;
    const counters = Array.from(layout.guest, (position) => cellAt(params, position));
    this.counters = counters;
    const intervalMs = before === undefined ? 0 : updatedAt - before.updatedAt;
    const steps = counters.map((counter, i) => difference(before?.counters[i], counter));
    const told =
      intervalMs > 0 &&
      intervalMs < Number.POSITIVE_INFINITY &&
      steps.some((step) => step >= 0) &&
      !steps.some((step) => step < 0);
    this.intervalMs = told ? intervalMs : undefined;
    this.swapInBytesPerSecond = told ? perSecond(steps[0]! * 1024, intervalMs) : undefined;
    this.swapOutBytesPerSecond = told ? perSecond(steps[1]! * 1024, intervalMs) : undefined;
    this.majorFaultsPerSecond = told ? perSecond(steps[2]!, intervalMs) : undefined;
    this.minorFaultsPerSecond = told ? perSecond(steps[3]!, intervalMs) : undefined;
  }
}

/**
 * When the guest's numbers were refreshed, in ms since 1970: by the host's word, or with the record where the host does
 * not say; undefined when there are none, or the host says that it never was.
 */
export function reportedAt({ layout, params, at }: MemorySample): number | undefined {
  if (layout.lastUpdate >= 0) {
    const seconds = size(params, layout.lastUpdate);
    return seconds === undefined || seconds === 0 ? undefined : finite(seconds * 1_000);
  }
  return layout.available >= 0 || layout.guest.some((position) => position >= 0) ? at : undefined;
}

/**
 * The memory of one record.
 *
 * @param report what the rates come from; undefined when there is none, or it is too old
 */
export function memoryRates(sample: MemorySample, report: GuestReport | undefined): MemoryRates {
  const { layout, params, at } = sample;
  const updatedAt = reportedAt(sample);
  const dated = updatedAt !== undefined && layout.lastUpdate >= 0;
  const total = updatedAt === undefined ? undefined : size(params, layout.available);
  const used = total === undefined || total === 0 ? undefined : notNegative(unavailable(sample));
  return {
    assignedBytes: bytes(size(params, layout.current)),
    rssBytes: bytes(size(params, layout.rss)),
    totalBytes: total === 0 ? undefined : bytes(total),
    usedBytes: bytes(used),
    usedPercent: used === undefined ? undefined : (used / total!) * 100,
    guestUpdatedAt: dated ? updatedAt : undefined,
    guestAgeMs: dated ? notNegative(Math.max(0, at - updatedAt)) : undefined,
    intervalMs: report?.intervalMs,
    swapInBytesPerSecond: report?.swapInBytesPerSecond,
    swapOutBytesPerSecond: report?.swapOutBytesPerSecond,
    majorFaultsPerSecond: report?.majorFaultsPerSecond,
    minorFaultsPerSecond: report?.minorFaultsPerSecond,
  };
}

/**
 * What of its memory a guest cannot give up, in KiB: negative for a moment when the balloon moves, NaN when unknown.
 */
function unavailable({ layout, params }: MemorySample): number {
  if (size(params, layout.usable) === undefined) return Number.NaN;
  return difference(cellAt(params, layout.usable), cellAt(params, layout.available));
}

/** A size or a time as a float; undefined where it is missing, no number, or negative. */
function size(params: TypedParams, position: number): number | undefined {
  const cell = cellAt(params, position);
  return typeof cell === "number" || typeof cell === "bigint" ? notNegative(Number(cell)) : undefined;
}

function notNegative(value: number): number | undefined {
  return value >= 0 ? finite(value) : undefined;
}

function bytes(kib: number | undefined): number | undefined {
  return kib === undefined ? undefined : finite(kib * 1024);
}
