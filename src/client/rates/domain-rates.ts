import type { DomainStatsRecord } from "../../model/record.ts";

/**
 * The activity of a domain between two records: rates, percentages and latencies.
 *
 * Every figure is a finite number, never negative, or undefined when it is unknown: for the first record, after a reset or
 * a gap, and when a parameter is missing. 0 means that nothing happened, never that nothing is known. docs/rates.md has
 * all formulas.
 */
export interface DomainRates {
  /** The newer record of the pair. It has the domain, its state, and every value that is not a rate. */
  readonly record: DomainStatsRecord;
  /**
   * The time from the earlier record to this one, in ms, by their `steadyAt`; undefined when there is no earlier
   * record. After a partial record, the parts (CPU, disks, …) may be compared with different earlier records.
   * `intervalMs` is then the time since the latest of these.
   */
  readonly intervalMs: number | undefined;
  readonly cpu: CpuRates;
  /** The vCPUs that are online; their numbers may have holes. */
  readonly vcpus: readonly VcpuRates[];
  /** One entry for each disk, however long its backing chain is. */
  readonly disks: readonly DiskRates[];
  readonly interfaces: readonly InterfaceRates[];
  readonly memory: MemoryRates;
}

/** The processor time of the whole domain, its vCPUs and the hypervisor's own threads for it. */
export interface CpuRates {
  /** The time over which these rates are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  /**
   * The processor time in percent of one processor: 100 means that one processor is busy all the time, 400 that four
   * are.
   */
  readonly percent: number | undefined;
  /** The part of `percent` that was spent in user mode on the host. */
  readonly userPercent: number | undefined;
  /** The part of `percent` that was spent in the host's kernel. */
  readonly systemPercent: number | undefined;
  /**
   * `percent` divided by the number of the domain's online vCPUs. May be a little above 100: the hypervisor's own
   * threads count too.
   */
  readonly percentOfVcpus: number | undefined;
}

/** The rates of one vCPU. */
export interface VcpuRates {
  /** libvirt's number of the vCPU. */
  readonly number: number;
  /** The time over which these rates are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  /** The percentage of the time in which the vCPU's thread ran on a processor, guest mode included. */
  readonly percent: number | undefined;
  /**
   * The percentage of the time in which the vCPU's thread was ready to run and did not run, by the scheduler's
   * wait_sum. `stealPercent` is the same time, measured at another place in the kernel: never add the two.
   */
  readonly waitPercent: number | undefined;
  /**
   * The percentage of the time in which the vCPU's thread waited in the host's run queue, by the scheduler's run_delay.
   * The guest sees it as steal time.
   */
  readonly stealPercent: number | undefined;
}

/** The rates of one disk. */
export interface DiskRates {
  /** libvirt's number of the disk in this record. It changes when a disk before it is unplugged. */
  readonly index: number;
  /** The target in the guest, such as `vda`. */
  readonly name: string;
  /** The disk's file or device on the host; undefined when libvirt names none, as for an empty drive. */
  readonly path: string | undefined;
  /** The time over which these rates are means, in ms; undefined when there was nothing to compare with. */
  readonly intervalMs: number | undefined;
  readonly readBytesPerSecond: number | undefined;
  readonly writeBytesPerSecond: number | undefined;
  readonly readsPerSecond: number | undefined;
  readonly writesPerSecond: number | undefined;
  readonly flushesPerSecond: number | undefined;
  /** The mean time of a read that was completed in the interval, in ms; undefined when there was no such read. */
  readonly readLatencyMs: number | undefined;
  /** The mean time of a write in the same interval, in ms; undefined when there was no write. */
  readonly writeLatencyMs: number | undefined;
  /** The mean time of a flush in the same interval, in ms; undefined when there was no flush. */
  readonly flushLatencyMs: number | undefined;
}

/** The rates of one network interface, from the guest's view: received means received by the guest. */
export interface InterfaceRates {
  /** libvirt's number of the interface in this record. */
  readonly index: number;
  /** The device on the host, such as `vnet0`. */
  readonly name: string;
  /** The time over which these rates are means, in ms; undefined when there was nothing to compare with. */
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
 * The memory of a domain. Sizes come from the newer record alone; rates compare two reports of the guest. The used and
 * total memory, swapping and page faults come from the guest's own report. They are known only if the guest has a
 * balloon driver, and the domain has a period for its memory statistics. `guestAgeMs` is the age of the guest's report.
 */
export interface MemoryRates {
  /** The memory that the host lets the guest have at present: the balloon's size. */
  readonly assignedBytes: number | undefined;
  /** The memory of the host that the hypervisor's process occupies. */
  readonly rssBytes: number | undefined;
  /** The memory that the guest sees: the assigned memory minus the part that its kernel reserves. */
  readonly totalBytes: number | undefined;
  /**
   * The memory that the guest could not give up without swapping: `totalBytes` minus the memory that is available to
   * the guest's programs. Caches do not count as used.
   */
  readonly usedBytes: number | undefined;
  /** `usedBytes` in percent of `totalBytes`. */
  readonly usedPercent: number | undefined;
  /** When the guest reported, in ms since 1970 by the host's clock, exact to the second. */
  readonly guestUpdatedAt: number | undefined;
  /** The age of that report at `sampledAt` of the record, in ms; 0 if the report has a later time than `sampledAt`. */
  readonly guestAgeMs: number | undefined;
  /**
   * The time between the guest's last two reports, in ms. The four rates below are means over this time. Undefined
   * without two reports.
   */
  readonly intervalMs: number | undefined;
  /** Bytes that the guest read back from its swap. */
  readonly swapInBytesPerSecond: number | undefined;
  /** Bytes that the guest wrote to its swap. */
  readonly swapOutBytesPerSecond: number | undefined;
  /** Page faults in the guest that needed a disk. */
  readonly majorFaultsPerSecond: number | undefined;
  /** Page faults in the guest that did not need a disk. */
  readonly minorFaultsPerSecond: number | undefined;
}
