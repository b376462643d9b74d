import type { MemoryRates } from "./domain-rates.ts";
import { difference, finite, perSecond, type Sample } from "./sample.ts";

/** The members of MemoryRates that come from two reports of the guest. */
type GuestRates = Pick<
  MemoryRates,
  "intervalMs" | "swapInBytesPerSecond" | "swapOutBytesPerSecond" | "majorFaultsPerSecond" | "minorFaultsPerSecond"
>;

const NO_GUEST_RATES = guestRates([], Number.NaN);

/**
 * The host dates reports by its wall clock, to the second. When the wall clock was set by more than this value between
 * two reports, the time between them is unknown.
 */
const LARGEST_STEP_MS = 1_000;

/** One report of the guest's balloon driver: its counters, and the rates since the report before it. */
export class GuestReport {
  /** See reportedAt(). */
  readonly updatedAt: number;
  /** When the first record with this report was sampled, in ms of the steady clock. */
  readonly seenAt: number;
  readonly rates: GuestRates;
  /**
   * How many ms the wall clock was ahead of the steady clock at `seenAt`; NaN if the host does not say when the report
   * was made.
   */
  readonly #wallAhead: number;
  /**
   * The counters of swapping in and out, and of major and minor faults. A report stays in memory for many records, so
   * it keeps only these counters and not the whole sample.
   */
  readonly counters: readonly (number | bigint)[];

  /** @param longestMs the longest permitted interval between the two reports; beyond it, the rates are unknown */
  constructor(sample: Sample, updatedAt: number, before: GuestReport | undefined, longestMs: number) {
    this.updatedAt = updatedAt;
    this.seenAt = sample.at;
    this.#wallAhead = isDated(sample) ? sample.wallAt - sample.at : Number.NaN;
    this.counters = Array.from(sample.layout.guest, (position) => sample.exact(position));
    const intervalMs = before === undefined ? Number.NaN : this.#since(before);
    const steps = this.counters.map((counter, i) => difference(before?.counters[i] ?? Number.NaN, counter));
    const known =
      intervalMs > 0 && intervalMs <= longestMs && steps.some((step) => step >= 0) && !steps.some((step) => step < 0);
    this.rates = guestRates(steps, known ? intervalMs : Number.NaN);
  }

  /**
   * The ms between two reports; NaN if the host dated only one of them, or if the wall clock was set between them.
   */
  #since(before: GuestReport): number {
    const stepMs = Math.abs(this.#wallAhead - before.#wallAhead);
    const undated = Number.isNaN(this.#wallAhead) && Number.isNaN(before.#wallAhead);
    return undated || stepMs <= LARGEST_STEP_MS ? this.updatedAt - before.updatedAt : Number.NaN;
  }
}

/** True if the host reports when the guest made its report. */
export function isDated({ layout }: Sample): boolean {
  return layout.lastUpdate >= 0;
}

/**
 * The time of the guest's report. If the host says when the guest made the report, the result is the time that the host
 * says, in ms since 1970. Otherwise the result is the time of the sample with the report, in ms of the steady clock.
 * Undefined without a report.
 */
export function reportedAt(sample: Sample): number | undefined {
  const { layout } = sample;
  if (isDated(sample)) {
    const seconds = sample.number(layout.lastUpdate);
    return seconds > 0 ? finite(seconds * 1_000) : undefined;
  }
  return layout.available >= 0 || layout.guest.some((position) => position >= 0) ? sample.at : undefined;
}

/**
 * The memory rates of one record. They include the rates of the guest's report. The caller leaves out a report that is
 * too old.
 */
export function memoryRates(sample: Sample, report: GuestReport | undefined): MemoryRates {
  const { layout, wallAt } = sample;
  const updatedAt = reportedAt(sample);
  const dated = updatedAt !== undefined && isDated(sample);
  const totalKib = updatedAt === undefined ? Number.NaN : sample.number(layout.available);
  // While the balloon changes its size, the usable memory may exceed the total for a moment. The used memory is then
  // unknown.
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
    guestAgeMs: dated ? notNegative(Math.max(0, wallAt - updatedAt)) : undefined,
    ...(report?.rates ?? NO_GUEST_RATES),
  };
}

/** @param intervalMs NaN: the rates are not known */
function guestRates(steps: readonly number[], intervalMs: number): GuestRates {
  return {
    intervalMs: finite(intervalMs),
    swapInBytesPerSecond: perSecond(steps[0]! * 1024, intervalMs),
    swapOutBytesPerSecond: perSecond(steps[1]! * 1024, intervalMs),
    majorFaultsPerSecond: perSecond(steps[2]!, intervalMs),
    minorFaultsPerSecond: perSecond(steps[3]!, intervalMs),
  };
}

function bytes(kib: number): number | undefined {
  return notNegative(kib * 1024);
}

function notNegative(value: number): number | undefined {
  return value >= 0 ? finite(value) : undefined;
}
