import type { DomainStatsRecord } from "../../model/record.ts";
import type { TypedParams } from "../../model/typed-params.ts";
import { type DeviceKeys, type Part, RateLayout } from "./layout.ts";

/** The parts of a domain that may have several devices. */
export type Devices = Exclude<Part, "cpu">;

/**
 * The values of a record from which rates are computed. A RateMeter keeps the last sample of each part of each domain.
 */
export class Sample {
  readonly params: TypedParams;
  readonly layout: RateLayout;
  /**
   * When the record was sampled, in ms of its source's steady clock, so that intervals stay right when the wall clock
   * is set.
   */
  readonly at: number;
  /** The same moment in ms since 1970, to compare with times that the hypervisor reports. */
  readonly wallAt: number;
  #found: Partial<Record<Devices, ReadonlyMap<string | number | undefined, DeviceKeys>>> | undefined;

  constructor({ params, steadyAt, sampledAt }: Pick<DomainStatsRecord, "params" | "steadyAt" | "sampledAt">) {
    this.params = params;
    this.layout = RateLayout.of(params.schema);
    this.at = steadyAt;
    this.wallAt = sampledAt;
  }

  /** The number at a position, as a float; NaN for the position −1. */
  number(position: number): number {
    return position < 0 ? Number.NaN : this.params.doubles[position]!;
  }

  /** The exact number at a position; NaN for the position −1. */
  exact(position: number): number | bigint {
    return this.params.bigs?.get(position) ?? this.number(position);
  }

  /** The exact increase of a counter from this sample to a later one; NaN if one of them lacks it. */
  step(position: number, later: Sample, laterPosition: number): number {
    if (this.params.bigs === undefined && later.params.bigs === undefined) {
      return later.number(laterPosition) - this.number(position);
    }
    return difference(this.exact(position), later.exact(laterPosition));
  }

  /** The text at a place; undefined for the place −1. */
  text(place: number): string | undefined {
    return place < 0 ? undefined : this.params.texts[place];
  }

  /** The identity of a device across records: the number of a vCPU, the name of any other device. */
  identity(part: Devices, { number, name }: DeviceKeys): string | number | undefined {
    return part === "vcpus" ? number : this.text(name);
  }

  /**
   * The device with this identity. The search uses a map, because both samples may have many devices. It ignores
   * devices without counters, such as the other members of a disk's backing chain, which have the disk's name.
   */
  find(part: Devices, identity: string | number | undefined): DeviceKeys | undefined {
    let found = this.#found?.[part];
    if (found === undefined) {
      const counting = this.layout[part].filter(({ counts }) => counts);
      // If several devices have the same name, the first one counts.
      found = new Map(counting.toReversed().map((keys) => [this.identity(part, keys), keys]));
      this.#found = { ...this.#found, [part]: found };
    }
    return found.get(identity);
  }
}

/** A sample, and the earlier sample with which it is compared. */
export interface Pair {
  /** The earlier sample; undefined when there is none. */
  readonly before: Sample | undefined;
  readonly after: Sample;
  /** The time between the two samples, above 0; NaN when there is no earlier sample. */
  readonly intervalMs: number;
}

/**
 * Writes the increase of each counter of a device into `steps`; NaN if one of the records lacks the counter.
 *
 * @returns false, and all steps are NaN, when there is nothing to compare with, or when a counter went down. A counter
 *   that went down shows that the device was reset, so the device's other counters cannot be trusted either
 */
export function compare(
  steps: Float64Array,
  { before, after }: Pair,
  earlier: DeviceKeys | undefined,
  later: DeviceKeys,
): boolean {
  if (before === undefined || earlier === undefined || !earlier.counts || !later.counts) return unknown(steps);
  for (let i = 0; i < later.counters.length; i++) {
    const step = before.step(earlier.counters[i]!, after, later.counters[i]!);
    if (step < 0) return unknown(steps);
    steps[i] = step;
  }
  return true;
}

function unknown(steps: Float64Array): false {
  steps.fill(Number.NaN);
  return false;
}

/**
 * The increase of a counter. The subtraction is exact, and only its result is rounded to a float: this matters above
 * 2^53. Negative if the counter was reset; NaN if one of the two values is missing.
 */
export function difference(before: number | bigint, after: number | bigint): number {
  if (typeof before === "number" && typeof after === "number") return after - before;
  const isInteger = (value: number | bigint) => typeof value === "bigint" || Number.isInteger(value);
  return isInteger(before) && isInteger(after) ? Number(BigInt(after) - BigInt(before)) : Number.NaN;
}

/** A count per second; undefined for NaN, and if a tiny interval makes it infinite. */
export function perSecond(step: number, intervalMs: number): number | undefined {
  return finite((step * 1_000) / intervalMs);
}

/** Converts nanoseconds of an interval to a percentage of the interval. */
export function percentOf(nanoseconds: number, intervalMs: number): number | undefined {
  return finite(nanoseconds / (intervalMs * 10_000));
}

/** The mean time of an operation in ms; undefined when there was none. */
export function meanMs(nanoseconds: number, operations: number): number | undefined {
  return operations > 0 ? finite(nanoseconds / operations / 1e6) : undefined;
}

/** Returns the value, or undefined for infinity and NaN. */
export function finite(value: number): number | undefined {
  return value < Number.POSITIVE_INFINITY ? value : undefined;
}
