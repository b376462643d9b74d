import type { DiskRates, DomainRates } from "../../client/rates.ts";

/**
 * The rates of a whole domain, as a line of a table has room for: over all its devices. What cannot be told of any is
 * undefined; a device of which it cannot be told counts as nothing beside the others.
 */
export interface RateFigures {
  /** Of one processor: 400 are four. */
  readonly cpuPercent: number | undefined;
  /** Of one processor, over all vCPUs. */
  readonly stealPercent: number | undefined;
  /** What the guest uses. */
  readonly usedBytes: number | undefined;
  /** The following six per second. */
  readonly receivedBytes: number | undefined;
  readonly transmittedBytes: number | undefined;
  readonly readBytes: number | undefined;
  readonly writtenBytes: number | undefined;
  readonly reads: number | undefined;
  readonly writes: number | undefined;
  /** The mean time of a read or write, in ms; undefined when there was none. */
  readonly latencyMs: number | undefined;
}

/** Sums up the rates of a domain's devices. */
export function rateFigures({ cpu, vcpus, disks, interfaces, memory }: DomainRates): RateFigures {
  return {
    cpuPercent: cpu.percent,
    stealPercent: sum(vcpus, (vcpu) => vcpu.stealPercent),
    usedBytes: memory.usedBytes,
    receivedBytes: sum(interfaces, (nic) => nic.receivedBytesPerSecond),
    transmittedBytes: sum(interfaces, (nic) => nic.transmittedBytesPerSecond),
    readBytes: sum(disks, (disk) => disk.readBytesPerSecond),
    writtenBytes: sum(disks, (disk) => disk.writeBytesPerSecond),
    reads: sum(disks, (disk) => disk.readsPerSecond),
    writes: sum(disks, (disk) => disk.writesPerSecond),
    latencyMs: meanLatency(disks),
  };
}

function sum<T>(devices: readonly T[], figure: (device: T) => number | undefined): number | undefined {
  let total: number | undefined;
  for (const device of devices) {
    const value = figure(device);
    if (value !== undefined) total = (total ?? 0) + value;
  }
  return total;
}

/** Over all disks, each operation counted once: a busy disk weighs more than an idle one. */
function meanLatency(disks: readonly DiskRates[]): number | undefined {
  let operations = 0;
  let time = 0;
  for (const { readsPerSecond, readLatencyMs, writesPerSecond, writeLatencyMs } of disks) {
    if (readsPerSecond !== undefined && readLatencyMs !== undefined) {
      operations += readsPerSecond;
      time += readsPerSecond * readLatencyMs;
    }
    if (writesPerSecond !== undefined && writeLatencyMs !== undefined) {
      operations += writesPerSecond;
      time += writesPerSecond * writeLatencyMs;
    }
  }
  return operations > 0 ? time / operations : undefined;
}
