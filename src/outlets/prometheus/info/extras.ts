import { EXTRAS as DOMAIN_EXTRAS } from "../../identity/identities.ts";
import { type Family, ofHost, ofRow } from "../family.ts";
import { labelText } from "../row.ts";

/** Parts of a page that exist only on request, because they cost the hypervisor more calls. */
export const PAGE_EXTRAS = [...DOMAIN_EXTRAS, "pools"] as const;
/**
 * The name of one of these parts. Besides the extras of domains, there is `pools`: the storage pools, which cost a call
 * for each pool every 60 s.
 */
export type PageExtra = (typeof PAGE_EXTRAS)[number];

/**
 * For each I/O limit: the family's name after `libvirt_domain_block_stats_`, libvirt's name of the limit, and the
 * meaning of the limit.
 */
// biome-ignore format: one row per line
const LIMITS: readonly (readonly [name: string, field: string, help: string])[] = [
  ["limit_total_bytes", "total_bytes_sec", "Bytes per second that may be read and written."],
  ["limit_write_bytes", "write_bytes_sec", "Bytes per second that may be written."],
  ["limit_read_bytes", "read_bytes_sec", "Bytes per second that may be read."],
  ["limit_total_requests", "total_iops_sec", "Requests per second."],
  ["limit_write_requests", "write_iops_sec", "Write requests per second."],
  ["limit_read_requests", "read_iops_sec", "Read requests per second."],
  ["limit_burst_total_bytes", "total_bytes_sec_max", "Bytes per second that may be read and written in a burst."],
  ["limit_burst_write_bytes", "write_bytes_sec_max", "Bytes per second that may be written in a burst."],
  ["limit_burst_read_bytes", "read_bytes_sec_max", "Bytes per second that may be read in a burst."],
  ["limit_burst_total_requests", "total_iops_sec_max", "Requests per second in a burst."],
  ["limit_burst_write_requests", "write_iops_sec_max", "Write requests per second in a burst."],
  ["limit_burst_read_requests", "read_iops_sec_max", "Read requests per second in a burst."],
  ["limit_burst_total_bytes_length_seconds", "total_bytes_sec_max_length", "How long a burst of bytes may take."],
  ["limit_burst_write_bytes_length_seconds", "write_bytes_sec_max_length", "How long a burst of written bytes may take."],
  ["limit_burst_read_bytes_length_seconds", "read_bytes_sec_max_length", "How long a burst of read bytes may take."],
  ["limit_burst_length_total_requests_seconds", "total_iops_sec_max_length", "How long a burst of requests may take."],
  ["limit_burst_length_write_requests_seconds", "write_iops_sec_max_length", "How long a burst of write requests may take."],
  ["limit_burst_length_read_requests_seconds", "read_iops_sec_max_length", "How long a burst of read requests may take."],
  ["size_iops_bytes", "size_iops_sec", "The size up to which a request counts as one."],
];

/**
 * The families of I/O limits, of the CPUs that virtual CPUs run on, and of versions. Limits and CPUs need further
 * calls, so they have samples only on request. In libvirt, a limit of 0 means that there is no limit.
 */
export const EXTRA_FAMILIES: readonly Family[] = [
  ...LIMITS.map(([name, field, help]) =>
    ofRow(`libvirt_domain_block_stats_${name}`, `${help} 0: no limit.`, ({ description, labels }, add) => {
      for (const [target, limits] of description?.limits ?? []) {
        const value = limits.getUnknown(field);
        add(`${labels},${labelText({ target_device: target })}`, value === undefined ? undefined : Number(value));
      }
    }),
  ),
  ofRow(
    "libvirt_domain_vcpu_cpu",
    "The CPU of the host that the virtual CPU runs on.",
    ({ description, labels }, add) => {
      for (const [vcpu, cpu] of description?.placement ?? []) add(`${labels},vcpu="${vcpu}"`, cpu);
    },
  ),
  ofHost(
    "libvirt_versions_info",
    "The versions of the hypervisor and of libvirt. virstream uses no library of libvirt.",
    ({ versions = [], several }, add) => {
      for (const { host, hypervisor = "", libvirt } of versions) {
        const labels = { hypervisor_running: hypervisor, libvirtd_running: libvirt, libvirt_library: "" };
        add(labelText(several ? { ...labels, host } : labels), 1);
      }
    },
    { dialect: "tinkoff" },
  ),
];
