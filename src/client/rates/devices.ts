import type { CpuRates, DiskRates, InterfaceRates, VcpuRates } from "./domain-rates.ts";
import type { DeviceKeys } from "./layout.ts";
import { compare, type Devices, finite, meanMs, type Pair, percentOf, perSecond } from "./sample.ts";

/**
 * The increase of each counter of the device whose rates are being computed. All devices use this array in turn.
 */
const steps = new Float64Array(8);

/** The rates of the whole domain's processor time. */
export function cpuRates(pair: Pair): CpuRates {
  const { before, after, intervalMs } = pair;
  const known = compare(steps, pair, before?.layout.cpu[0], after.layout.cpu[0]!);
  const percent = percentOf(steps[0]!, intervalMs);
  const vcpus = after.number(after.layout.vcpuCurrent);
  return {
    intervalMs: known ? intervalMs : undefined,
    percent,
    userPercent: percentOf(steps[1]!, intervalMs),
    systemPercent: percentOf(steps[2]!, intervalMs),
    percentOfVcpus: percent !== undefined && vcpus > 0 ? finite(percent / vcpus) : undefined,
  };
}

/** The rates of each vCPU that is online. vCPUs are matched by their numbers. */
export function vcpuRates(pair: Pair): VcpuRates[] {
  const { after, intervalMs } = pair;
  return after.layout.vcpus.map((keys, i) => {
    const known = compare(steps, pair, match(pair, "vcpus", i), keys);
    return {
      number: keys.number,
      intervalMs: known ? intervalMs : undefined,
      percent: percentOf(steps[0]!, intervalMs),
      waitPercent: percentOf(steps[1]!, intervalMs),
      stealPercent: percentOf(steps[2]!, intervalMs),
    };
  });
}

/** The rates of each disk. The other members of a disk's backing chain are not disks and are left out. */
export function diskRates(pair: Pair): DiskRates[] {
  const { after, intervalMs } = pair;
  const { disks, hasChains } = after.layout;
  const chained = hasChains
    ? new Set(disks.filter(({ counts }) => counts).map((keys) => after.text(keys.name)))
    : undefined;
  const rates: DiskRates[] = [];
  for (let i = 0; i < disks.length; i++) {
    const keys = disks[i]!;
    const name = after.text(keys.name);
    // A device without a name cannot be found again in the next record.
    if (name === undefined) continue;
    if (chained !== undefined && !keys.counts) {
      if (chained.has(name)) continue;
      chained.add(name);
    }
    const known = compare(steps, pair, match(pair, "disks", i), keys);
    rates.push({
      index: keys.number,
      name,
      path: after.text(keys.path),
      intervalMs: known ? intervalMs : undefined,
      readBytesPerSecond: perSecond(steps[0]!, intervalMs),
      writeBytesPerSecond: perSecond(steps[1]!, intervalMs),
      readsPerSecond: perSecond(steps[2]!, intervalMs),
      writesPerSecond: perSecond(steps[3]!, intervalMs),
      flushesPerSecond: perSecond(steps[4]!, intervalMs),
      readLatencyMs: meanMs(steps[5]!, steps[2]!),
      writeLatencyMs: meanMs(steps[6]!, steps[3]!),
      flushLatencyMs: meanMs(steps[7]!, steps[4]!),
    });
  }
  return rates;
}

/** The rates of each network interface. */
export function interfaceRates(pair: Pair): InterfaceRates[] {
  const { after, intervalMs } = pair;
  const { interfaces } = after.layout;
  const rates: InterfaceRates[] = [];
  for (let i = 0; i < interfaces.length; i++) {
    const keys = interfaces[i]!;
    const name = after.text(keys.name);
    if (name === undefined) continue;
    const known = compare(steps, pair, match(pair, "interfaces", i), keys);
    rates.push({
      index: keys.number,
      name,
      intervalMs: known ? intervalMs : undefined,
      receivedBytesPerSecond: perSecond(steps[0]!, intervalMs),
      transmittedBytesPerSecond: perSecond(steps[1]!, intervalMs),
      receivedPacketsPerSecond: perSecond(steps[2]!, intervalMs),
      transmittedPacketsPerSecond: perSecond(steps[3]!, intervalMs),
      receiveErrorsPerSecond: perSecond(steps[4]!, intervalMs),
      transmitErrorsPerSecond: perSecond(steps[5]!, intervalMs),
      receiveDropsPerSecond: perSecond(steps[6]!, intervalMs),
      transmitDropsPerSecond: perSecond(steps[7]!, intervalMs),
    });
  }
  return rates;
}

/**
 * Finds the device of the earlier record that is the same as the i-th device of the later record. vCPUs match by
 * number, other devices by name, and disks also by path and backing index. The path matters because another disk may be
 * plugged in under an old name, and rates from the counters of both disks would be wrong but plausible. So a disk that
 * got a new image by a snapshot has no rates for one pair of records, although it is the same disk.
 */
function match({ before, after }: Pair, part: Devices, i: number): DeviceKeys | undefined {
  if (before === undefined) return undefined;
  const keys = after.layout[part][i]!;
  const isSame = (earlier: DeviceKeys | undefined): boolean =>
    earlier !== undefined &&
    before.identity(part, earlier) === after.identity(part, keys) &&
    before.text(earlier.path) === after.text(keys.path) &&
    Object.is(before.number(earlier.backingIndex), after.number(keys.backingIndex));
  const guess = before.layout[part][i];
  if (isSame(guess)) return guess;
  // If a device was plugged in or unplugged, the devices after it have other positions now.
  const found = before.find(part, after.identity(part, keys));
  return isSame(found) ? found : undefined;
}
