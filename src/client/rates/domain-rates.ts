import type { DomainStatsRecord } from "../../model/record.ts";

/**
 * What a domain did between two records: rates, percentages and latencies.
 *
 * Every figure is a finite number that is never negative, or undefined where it cannot be told: on the first record,
 * after a reset or a gap, where a parameter is missing. 0 says that nothing happened, never that nothing is known. All
 * formulas are in docs/rates.md.
 */
export interface DomainRates {
  /** The newer record of the pair. It carries the domain, its state, and every value that is not a rate. */
  readonly record: DomainStatsRecord;
  /**
   * The time since the record that this one is compared with, in ms, by their `sampledAt`. After a partial record,
   * where the parts go back to different ones, the shortest. Undefined when there is none to compare with.
   */
  readonly intervalMs: number | undefined;
  readonly cpu: CpuRates;
  /** The vCPUs that are online; their numbers may have holes. */
  readonly vcpus: readonly VcpuRates[];
  /** The disks, each once, whatever its backing chain. */
  readonly disks: readonly DiskRates[];
  readonly interfaces: readonly InterfaceRates[];
  readonly memory: MemoryRates;
}

/** The processor time of the whole domain, its vCPUs and the hypervisor's own threads for it. */
export interface CpuRates {
  /** The time over which these are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  /** Of one processor: 100 is one that is busy all the time, 400 are four. */
  readonly percent: number | undefined;
  /** The part of `percent` in user mode on the host. */
  readonly userPercent: number | undefined;
  /** The part of `percent` in the host's kernel. */
  readonly systemPercent: number | undefined;
  /** Of all the domain's online vCPUs. May be a little above 100: the hypervisor's own threads count too. */
  readonly percentOfVcpus: number | undefined;
}

/** One vCPU. */
export interface VcpuRates {
  /** libvirt's number of it. */
  readonly number: number;
  /** The time over which these are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  /** How much of the time its thread ran on a processor, guest mode included. */
  readonly percent: number | undefined;
  /**
   * How much of the time it wanted to run and something else did, by the scheduler's wait_sum. It measures what
   * `stealPercent` does, elsewhere in the kernel: never add the two.
   */
  readonly waitPercent: number | undefined;
  /**
   * How much of the time it stood in the host's run queue, by the scheduler's run_delay: the guest sees it as steal.
   */
  readonly stealPercent: number | undefined;
}

/** One disk. Bytes are bytes, times are ms. */
export interface DiskRates {
  /** libvirt's number of it in this record; another one in the next, when a disk before it was unplugged. */
  readonly index: number;
  /** The target in the guest, such as `vda`. */
  readonly name: string;
  /** The file or device behind it; undefined where libvirt names none, as for an empty drive. */
  readonly path: string | undefined;
  /** The time over which these are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  readonly readBytesPerSecond: number | undefined;
  readonly writeBytesPerSecond: number | undefined;
  readonly readsPerSecond: number | undefined;
  readonly writesPerSecond: number | undefined;
  readonly flushesPerSecond: number | undefined;
  /** The mean time of a read that was completed in the interval, in ms; undefined when there was none. */
  readonly readLatencyMs: number | undefined;
  /** The mean time of a write, in ms; undefined when there was none. */
  readonly writeLatencyMs: number | undefined;
  /** The mean time of a flush, in ms; undefined when there was none. */
  readonly flushLatencyMs: number | undefined;
}

/** One network interface, seen from the guest: what it received, what it transmitted. */
export interface InterfaceRates {
  /** libvirt's number of it in this record. */
  readonly index: number;
  /** The device on the host, such as `vnet0`. */
  readonly name: string;
  /** The time over which these are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  readonly receivedBytesPerSecond: number | undefined;
  readonly transmittedBytesPerSecond: number | undefined;
  readonly receivedPacketsPerSecond: number | undefined;
  readonly transmittedPacketsPerSecond: number | undefined;
  readonly receiveErrorsPerSecond: number | undefined;
  readonly transmitErrorsPerSecond: number | undefined;
  readonly receiveDropsPerSecond: number | undefined;
  readonly transmitDropsPerSecond: number | undefined;
}

/**
 * Memory. The sizes are those of this record alone. What the guest itself reports (used, total, swap, faults) is there
 * only when it has a balloon driver and the domain a period for its statistics, and is as old as `guestAgeMs` says.
 */
export interface MemoryRates {
  /** What the host lets the guest have at present: the balloon's size. */
  readonly assignedBytes: number | undefined;
  /** What the hypervisor's process holds in the host's memory. */
  readonly rssBytes: number | undefined;
  /** What the guest sees as its memory; less than assigned, by what its kernel keeps for itself. */
  readonly totalBytes: number | undefined;
  /**
   * What the guest could not give up without swapping: its total less what is available to programs. Caches are not
   * used.
   */
  readonly usedBytes: number | undefined;
  /** `usedBytes` of `totalBytes`. */
  readonly usedPercent: number | undefined;
  /** When the guest reported, in ms since 1970 by the host's clock, to the second. */
  readonly guestUpdatedAt: number | undefined;
  /** How old that was when the record was sampled, in ms; 0 where the host's clock is ahead of ours. */
  readonly guestAgeMs: number | undefined;
  /**
   * The time between the guest's two last reports, in ms, over which the four rates are means; undefined without two.
   */
  readonly intervalMs: number | undefined;
  /** Read back from the guest's swap. */
  readonly swapInBytesPerSecond: number | undefined;
  /** Written to the guest's swap. */
  readonly swapOutBytesPerSecond: number | undefined;
  /** Page faults in the guest that needed a disk. */
  readonly majorFaultsPerSecond: number | undefined;
  /** Page faults in the guest that did not. */
  readonly minorFaultsPerSecond: number | undefined;
}
