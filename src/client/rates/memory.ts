import type { MemoryRates } from "./domain-rates.ts";
import { difference, finite, perSecond, type Sample } from "./sample.ts";

/** The memory of a record that has failed. */
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

/** What the guest's balloon driver counted, and how that differs from its report before. */
export class GuestReport {
  /** When the guest reported, in ms since 1970: by the host's clock where the host says, else by the record's. */
  readonly updatedAt: number;
  /** When a record had the report first, in ms since 1970. */
  readonly seenAt: number;
  /** The number of that record among the domain's. */
  readonly sequence: number;
  /** Swapped in and out, major and minor faults. Not the whole sample: a report is kept for many records. */
  readonly counters: readonly (number | bigint)[];
  /** The time since the report before, in ms; undefined where there is none to compare with. */
  readonly intervalMs: number | undefined;
  readonly swapInBytesPerSecond: number | undefined;
  readonly swapOutBytesPerSecond: number | undefined;
  readonly majorFaultsPerSecond: number | undefined;
  readonly minorFaultsPerSecond: number | undefined;

  /** @param before the report to compare with; undefined when there is none, or it is too old */
  constructor(sample: Sample, updatedAt: number, sequence: number, before: GuestReport | undefined) {
    this.updatedAt = updatedAt;
    this.seenAt = sample.at;
    this.sequence = sequence;
    this.counters = Array.from(sample.layout.guest, (position) => sample.exact(position));
    const intervalMs = before === undefined ? 0 : updatedAt - before.updatedAt;
    const steps = this.counters.map((counter, i) => difference(before?.counters[i] ?? Number.NaN, counter));
    const known =
      intervalMs > 0 &&
      intervalMs < Number.POSITIVE_INFINITY &&
      steps.some((step) => step >= 0) &&
      !steps.some((step) => step < 0);
    this.intervalMs = known ? intervalMs : undefined;
    const perInterval = (step: number) => (known ? perSecond(step, intervalMs) : undefined);
    this.swapInBytesPerSecond = perInterval(steps[0]! * 1024);
    this.swapOutBytesPerSecond = perInterval(steps[1]! * 1024);
    this.majorFaultsPerSecond = perInterval(steps[2]!);
    this.minorFaultsPerSecond = perInterval(steps[3]!);
  }
}

/**
 * When the guest's numbers were refreshed, in ms since 1970: by the host's word, or with the record where the host does
 * not say; undefined when there are none, or the host says that it never was.
 */
export function reportedAt(sample: Sample): number | undefined {
  const { layout, at } = sample;
  if (layout.lastUpdate >= 0) {
    const seconds = sample.number(layout.lastUpdate);
    return seconds > 0 ? finite(seconds * 1_000) : undefined;
  }
  return layout.available >= 0 || layout.guest.some((position) => position >= 0) ? at : undefined;
}

/**
 * The memory of one record.
 *
 * @param report what the rates come from; undefined when there is none, or it is too old
 */
export function memoryRates(sample: Sample, report: GuestReport | undefined): MemoryRates {
  const { layout, at } = sample;
  const updatedAt = reportedAt(sample);
  const dated = updatedAt !== undefined && layout.lastUpdate >= 0;
  const totalKib = updatedAt === undefined ? Number.NaN : sample.number(layout.available);
  // More may be usable than there is for a moment, when the balloon moves.
  const usedKib =
    totalKib > 0 && sample.number(layout.usable) >= 0
      ? difference(sample.exact(layout.usable), sample.exact(layout.available))
      : Number.NaN;
  const used = bytes(usedKib);
  return {
    assignedBytes: bytes(sample.number(layout.current)),
    rssBytes: bytes(sample.number(layout.rss)),
    totalBytes: totalKib > 0 ? bytes(totalKib) : undefined,
    usedBytes: used,
    usedPercent: used === undefined ? undefined : (usedKib / totalKib) * 100,
    guestUpdatedAt: dated ? updatedAt : undefined,
    guestAgeMs: dated ? notNegative(Math.max(0, at - updatedAt)) : undefined,
    intervalMs: report?.intervalMs,
    swapInBytesPerSecond: report?.swapInBytesPerSecond,
    swapOutBytesPerSecond: report?.swapOutBytesPerSecond,
    majorFaultsPerSecond: report?.majorFaultsPerSecond,
    minorFaultsPerSecond: report?.minorFaultsPerSecond,
  };
}

function bytes(kib: number): number | undefined {
  return notNegative(kib * 1024);
}

function notNegative(value: number): number | undefined {
  return value >= 0 ? finite(value) : undefined;
}
