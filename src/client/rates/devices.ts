import type { ParamValue, TypedParams } from "../../model/params.ts";
import type { Counters } from "./counters.ts";
import { cellAt, finite, meanMs, percentOf, perSecond } from "./difference.ts";
import type { CpuRates, DiskRates, InterfaceRates, VcpuRates } from "./domain-rates.ts";
import type { RateLayout } from "./layout.ts";

/** The values of a record, what its part at hand is compared with, and the ms between them. */
export interface Pair {
  /** Undefined when there is nothing to compare with. */
  readonly before: Counters | undefined;
  readonly layout: RateLayout;
  readonly params: TypedParams;
  /** Above 0 where there is something to compare with. */
  readonly intervalMs: number;
}

/** How far the counters of the device at hand went; filled anew for each, and never read after the next. */
const steps = new Float64Array(8);

/** Of a domain whose processor time cannot be told. */
export const NO_CPU: CpuRates = Object.freeze({
  intervalMs: undefined,
  percent: undefined,
  userPercent: undefined,
  systemPercent: undefined,
  percentOfVcpus: undefined,
});

/** The processor's rates. */
export function cpuRates({ before, layout, params, intervalMs }: Pair): CpuRates {
  if (before?.compare(steps, 0, layout.cpu[0], params) !== true) return NO_CPU;
  const percent = percentOf(steps[0]!, intervalMs);
  if (percent === undefined) return NO_CPU;
  const vcpus = Number(cellAt(params, layout.vcpuCurrent));
  return {
    intervalMs,
    percent,
    userPercent: percentOf(steps[1]!, intervalMs),
    systemPercent: percentOf(steps[2]!, intervalMs),
    percentOfVcpus: vcpus > 0 ? finite(percent / vcpus) : undefined,
  };
}

/** The rates of each vCPU that is online. They are matched by their numbers. */
export function vcpuRates({ before, layout, params, intervalMs }: Pair): VcpuRates[] {
  const rates: VcpuRates[] = [];
  const { vcpus } = layout;
  for (let i = 0; i < vcpus.length; i++) {
    const row = vcpus[i]!;
    const told = before?.compare(steps, before.numbered(row, i), row, params) === true;
    rates.push({
      number: row.number,
      intervalMs: told ? intervalMs : undefined,
      percent: told ? percentOf(steps[0]!, intervalMs) : undefined,
      waitPercent: told ? percentOf(steps[1]!, intervalMs) : undefined,
      stealPercent: told ? percentOf(steps[2]!, intervalMs) : undefined,
    });
  }
  return rates;
}

/** The rates of each disk. Rows of a backing chain are not disks and are left out. */
export function diskRates({ before, layout, params, intervalMs }: Pair): DiskRates[] {
  const { disks, hasChains } = layout;
  const chained = hasChains ? namesThatCount(layout, params) : undefined;
  const rates: DiskRates[] = [];
  for (let i = 0; i < disks.length; i++) {
    const row = disks[i]!;
    const name = cellAt(params, row.labels[0]!);
    // A device without a name cannot be found again.
    if (typeof name !== "string") continue;
    if (chained !== undefined && !row.counts) {
      if (chained.has(name)) continue;
      chained.add(name);
    }
    const path = cellAt(params, row.labels[1]!);
    const told = before?.compare(steps, before.labelled(row, params, i), row, params) === true;
    rates.push({
      index: row.number,
      name,
      path: typeof path === "string" ? path : undefined,
      intervalMs: told ? intervalMs : undefined,
      readBytesPerSecond: told ? perSecond(steps[0]!, intervalMs) : undefined,
      writeBytesPerSecond: told ? perSecond(steps[1]!, intervalMs) : undefined,
      readsPerSecond: told ? perSecond(steps[2]!, intervalMs) : undefined,
      writesPerSecond: told ? perSecond(steps[3]!, intervalMs) : undefined,
      flushesPerSecond: told ? perSecond(steps[4]!, intervalMs) : undefined,
      readLatencyMs: told ? meanMs(steps[5]!, steps[2]!) : undefined,
      writeLatencyMs: told ? meanMs(steps[6]!, steps[3]!) : undefined,
      flushLatencyMs: told ? meanMs(steps[7]!, steps[4]!) : undefined,
    });
  }
  return rates;
}

/** The rates of each network interface. */
export function interfaceRates({ before, layout, params, intervalMs }: Pair): InterfaceRates[] {
  const rates: InterfaceRates[] = [];
  const { interfaces } = layout;
  for (let i = 0; i < interfaces.length; i++) {
    const row = interfaces[i]!;
    const name = cellAt(params, row.labels[0]!);
    if (typeof name !== "string") continue;
    const told = before?.compare(steps, before.labelled(row, params, i), row, params) === true;
    rates.push({
      index: row.number,
      name,
      intervalMs: told ? intervalMs : undefined,
      receivedBytesPerSecond: told ? perSecond(steps[0]!, intervalMs) : undefined,
      transmittedBytesPerSecond: told ? perSecond(steps[1]!, intervalMs) : undefined,
      receivedPacketsPerSecond: told ? perSecond(steps[2]!, intervalMs) : undefined,
      transmittedPacketsPerSecond: told ? perSecond(steps[3]!, intervalMs) : undefined,
      receiveErrorsPerSecond: told ? perSecond(steps[4]!, intervalMs) : undefined,
      transmitErrorsPerSecond: told ? perSecond(steps[5]!, intervalMs) : undefined,
      receiveDropsPerSecond: told ? perSecond(steps[6]!, intervalMs) : undefined,
      transmitDropsPerSecond: told ? perSecond(steps[7]!, intervalMs) : undefined,
    });
  }
  return rates;
}

function namesThatCount(layout: RateLayout, params: TypedParams): Set<ParamValue | undefined> {
  const names = new Set<ParamValue | undefined>();
  for (const row of layout.disks) if (row.counts) names.add(cellAt(params, row.labels[0]!));
  return names;
}
