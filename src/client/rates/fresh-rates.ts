import type { DomainStatsRecord } from "../../model/record.ts";
import { cpuRates, diskRates, interfaceRates, vcpuRates } from "./devices.ts";
import type { CpuRates, DiskRates, DomainRates, InterfaceRates, MemoryRates, VcpuRates } from "./domain-rates.ts";
import type { Part } from "./layout.ts";
import { type GuestReport, memoryRates } from "./memory.ts";
import { finite, type Pair, type Sample } from "./sample.ts";

/** For each part of a domain, the earlier sample with which this part is compared; undefined if there is none. */
export type Before = Readonly<Record<Part, Sample | undefined>>;

/**
 * The rates of a record. Each time a part is read, its rates are computed again, and they are not kept.
 *
 * The rates of a guest are about fifty objects. A list of 10,000 guests reads the rates of each guest once or twice,
 * and shows those of forty. If all these objects lived until the next sweep, V8's garbage collector would have to copy
 * them twice, while the page stands still.
 */
export class FreshRates implements DomainRates {
  readonly record: DomainStatsRecord;
  readonly #sample: Sample;
  readonly #before: Before;
  readonly #report: GuestReport | undefined;

  constructor(record: DomainStatsRecord, sample: Sample, before: Before, report: GuestReport | undefined) {
    this.record = record;
    this.#sample = sample;
    this.#before = before;
    this.#report = report;
  }

  get intervalMs(): number | undefined {
    const { cpu, vcpus, disks, interfaces } = this.#before;
    let latest = Number.NEGATIVE_INFINITY;
    for (const before of [cpu, vcpus, disks, interfaces])
      if (before !== undefined && before.at > latest) latest = before.at;
    return finite(this.#sample.at - latest);
  }

  get cpu(): CpuRates {
    return cpuRates(this.#pair("cpu"));
  }

  get vcpus(): VcpuRates[] {
    return vcpuRates(this.#pair("vcpus"));
  }

  get disks(): DiskRates[] {
    return diskRates(this.#pair("disks"));
  }

  get interfaces(): InterfaceRates[] {
    return interfaceRates(this.#pair("interfaces"));
  }

  get memory(): MemoryRates {
    return memoryRates(this.#sample, this.#report);
  }

  /** Computes all rates now, and returns them as a plain object. */
  plain(): DomainRates {
    const { record, intervalMs, cpu, vcpus, disks, interfaces, memory } = this;
    return { record, intervalMs, cpu, vcpus, disks, interfaces, memory };
  }

  #pair(part: Part): Pair {
    const after = this.#sample;
    const before = this.#before[part];
    return { before, after, intervalMs: before === undefined ? Number.NaN : after.at - before.at };
  }
}
