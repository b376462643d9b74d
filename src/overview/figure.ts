import type { DiskRates, DomainRates, InterfaceRates } from "../client/rates.ts";
import { narrowBytes } from "./quantity.ts";

/** The figures of a whole domain, computed from those of its devices. A figure is undefined if no device has it. */

/** The percentage of the time in which the vCPUs waited for a processor of the host, as the mean over the vCPUs. */
export function meanSteal({ vcpus }: DomainRates): number | undefined {
  const known = vcpus.flatMap(({ stealPercent }) => stealPercent ?? []);
  return known.length === 0 ? undefined : total(known) / known.length;
}

/** The amount of memory that memoryText() writes, in bytes, without the mark `~` or `≤`. */
export function memoryInUse({ record, memory }: DomainRates): number | undefined {
  return record.domain.id < 0 ? undefined : (memory.usedBytes ?? memory.rssBytes ?? memory.assignedBytes);
}

/**
 * The memory that a guest uses, from its own report. Without a report: `~` and the memory of its process on the host,
 * or `≤` and the memory that the host lets the guest have.
 */
export function memoryText({
  record,
  memory: { usedBytes, rssBytes, assignedBytes },
}: DomainRates): string | undefined {
  if (record.domain.id < 0) return undefined;
  if (usedBytes !== undefined) return narrowBytes(usedBytes);
  if (rssBytes !== undefined) return `~${narrowBytes(rssBytes)}`;
  return assignedBytes === undefined ? undefined : `≤${narrowBytes(assignedBytes)}`;
}

/** The sum of a figure over a domain's disks. */
export function disksSum(
  { disks }: DomainRates,
  figure: Exclude<keyof DiskRates, "name" | "path">,
): number | undefined {
  const known = disks.flatMap((disk) => disk[figure] ?? []);
  return known.length === 0 ? undefined : total(known);
}

/** The sum of a figure over a domain's network interfaces. */
export function nicsSum(
  { interfaces }: DomainRates,
  figure: Exclude<keyof InterfaceRates, "name">,
): number | undefined {
  const known = interfaces.flatMap((nic) => nic[figure] ?? []);
  return known.length === 0 ? undefined : total(known);
}

/**
 * The mean time of a read or write over all disks, in ms. Each request counts once, so a busy disk weighs more than an
 * idle one.
 */
export function meanLatency({ disks }: DomainRates): number | undefined {
  let operations = 0;
  let time = 0;
  const add = (perSecond: number | undefined, latencyMs: number | undefined): void => {
    if (perSecond === undefined || latencyMs === undefined) return;
    operations += perSecond;
    time += perSecond * latencyMs;
  };
  for (const disk of disks) {
    add(disk.readsPerSecond, disk.readLatencyMs);
    add(disk.writesPerSecond, disk.writeLatencyMs);
  }
  return operations > 0 ? time / operations : undefined;
}

function total(values: readonly number[]): number {
  return values.reduce((sum, each) => sum + each, 0);
}
