import type { Dialect, Family, LibvirtUnit } from "./family.ts";
import type { PartName } from "./record-layout.ts";

type Row = readonly [
  name: string,
  type: "counter" | "gauge",
  of: "domain" | PartName,
  field: string,
  unit: LibvirtUnit,
  help: string,
  dialect?: Exclude<Dialect, "both">,
];

/**
 * The families that each have one parameter as their value. The names, types and labels are those of the exporters
 * tinkoff/libvirt-exporter and inovex/prometheus-libvirt-exporter; a row without a dialect has a name that both
 * exporters use.
 *
 * Columns: name, type, what has the parameter (the domain, or a kind of part), libvirt's key (for a part, only what
 * follows the part's number), libvirt's unit, help, dialect.
 */
// biome-ignore format: one row per line
const VALUES: readonly Row[] = [
  ["libvirt_domain_info_maximum_memory_bytes", "gauge", "domain", "balloon.maximum", "KiB", "Memory that the domain may have at most."],
  ["libvirt_domain_info_memory_usage_bytes", "gauge", "domain", "balloon.current", "KiB", "Memory that the domain has now."],
  ["libvirt_domain_info_virtual_cpus", "gauge", "domain", "vcpu.current", "", "Virtual CPUs that are online."],
  ["libvirt_domain_info_cpu_time_seconds_total", "counter", "domain", "cpu.time", "ns", "CPU time that the domain has used."],
  ["libvirt_domain_info_vstate", "gauge", "domain", "state.state", "", "State: 0 none, 1 running, 2 blocked, 3 paused, 4 shutting down, 5 shut off, 6 crashed, 7 suspended by the guest.", "tinkoff"],
  ["libvirt_domain_info_state_reason", "gauge", "domain", "state.reason", "", "Why the domain is in its state, by libvirt's number; the numbers differ by state."],
  ["libvirt_domain_vcpu_current", "gauge", "domain", "vcpu.current", "", "Virtual CPUs that are online.", "inovex"],
  ["libvirt_domain_vcpu_maximum", "gauge", "domain", "vcpu.maximum", "", "Virtual CPUs that may be online at most.", "inovex"],
  ["libvirt_domain_vcpu_state", "gauge", "vcpu", "state", "", "State of the virtual CPU: 0 offline, 1 running, 2 blocked."],
  ["libvirt_domain_vcpu_time_seconds_total", "counter", "vcpu", "time", "ns", "CPU time that the virtual CPU has used."],
  ["libvirt_domain_vcpu_delay_seconds_total", "counter", "vcpu", "delay", "ns", "Time that the virtual CPU waited in the host's run queue: the guest's steal time."],
  ["libvirt_domain_vcpu_wait_seconds_total", "counter", "vcpu", "wait", "ns", "Time that the virtual CPU's thread was ready to run while another ran."],
  ["libvirt_domain_block_stats_read_bytes_total", "counter", "block", "rd.bytes", "", "Bytes read from the disk."],
  ["libvirt_domain_block_stats_read_requests_total", "counter", "block", "rd.reqs", "", "Read requests."],
  ["libvirt_domain_block_stats_read_time_seconds_total", "counter", "block", "rd.times", "ns", "Time that reads took, summed."],
  ["libvirt_domain_block_stats_write_bytes_total", "counter", "block", "wr.bytes", "", "Bytes written to the disk."],
  ["libvirt_domain_block_stats_write_requests_total", "counter", "block", "wr.reqs", "", "Write requests."],
  ["libvirt_domain_block_stats_write_time_seconds_total", "counter", "block", "wr.times", "ns", "Time that writes took, summed."],
  ["libvirt_domain_block_stats_flush_requests_total", "counter", "block", "fl.reqs", "", "Flush requests."],
  ["libvirt_domain_block_stats_flush_time_seconds_total", "counter", "block", "fl.times", "ns", "Time that flushes took, summed."],
  ["libvirt_domain_block_stats_capacity_bytes", "gauge", "block", "capacity", "", "Size of the disk as the guest sees it."],
  ["libvirt_domain_block_stats_allocation", "gauge", "block", "allocation", "", "Highest written offset of the disk's image, in bytes.", "tinkoff"],
  ["libvirt_domain_block_stats_physicalsize_bytes", "gauge", "block", "physical", "", "Size of the disk's image on the host.", "tinkoff"],
  ["libvirt_domain_interface_stats_receive_bytes_total", "counter", "net", "rx.bytes", "", "Bytes received."],
  ["libvirt_domain_interface_stats_receive_packets_total", "counter", "net", "rx.pkts", "", "Packets received."],
  ["libvirt_domain_interface_stats_receive_errors_total", "counter", "net", "rx.errs", "", "Errors on receive."],
  ["libvirt_domain_interface_stats_receive_drops_total", "counter", "net", "rx.drop", "", "Received packets that were dropped."],
  ["libvirt_domain_interface_stats_transmit_bytes_total", "counter", "net", "tx.bytes", "", "Bytes sent."],
  ["libvirt_domain_interface_stats_transmit_packets_total", "counter", "net", "tx.pkts", "", "Packets sent."],
  ["libvirt_domain_interface_stats_transmit_errors_total", "counter", "net", "tx.errs", "", "Errors on transmit."],
  ["libvirt_domain_interface_stats_transmit_drops_total", "counter", "net", "tx.drop", "", "Packets to send that were dropped."],
  ["libvirt_domain_memory_stats_unused_bytes", "gauge", "domain", "balloon.unused", "KiB", "Memory that the guest leaves unused."],
  ["libvirt_domain_memory_stats_available_bytes", "gauge", "domain", "balloon.available", "KiB", "Memory that the guest sees as its total."],
  ["libvirt_domain_memory_stats_usable_bytes", "gauge", "domain", "balloon.usable", "KiB", "Memory that the balloon could take without swapping in the guest."],
  ["libvirt_domain_memory_stats_rss_bytes", "gauge", "domain", "balloon.rss", "KiB", "Resident memory of the domain's process on the host."],
  ["libvirt_domain_memory_stats_major_fault_total", "counter", "domain", "balloon.major_fault", "", "Page faults in the guest that needed its disk."],
  ["libvirt_domain_memory_stats_minor_fault_total", "counter", "domain", "balloon.minor_fault", "", "Page faults in the guest that did not need its disk."],
  ["libvirt_domain_memory_stats_actual_balloon_bytes", "gauge", "domain", "balloon.current", "KiB", "Memory that the domain has now.", "tinkoff"],
  ["libvirt_domain_memory_stats_disk_cache_bytes", "gauge", "domain", "balloon.disk_caches", "KiB", "Memory of the guest's caches that needs no disk to be freed.", "tinkoff"],
  ["libvirt_domain_memory_stats_current_balloon_bytes", "gauge", "domain", "balloon.current", "KiB", "Memory that the domain has now.", "inovex"],
  ["libvirt_domain_memory_stats_maximum_bytes", "gauge", "domain", "balloon.maximum", "KiB", "Memory that the domain may have at most.", "inovex"],
  ["libvirt_domain_memory_stats_disk_caches_bytes", "gauge", "domain", "balloon.disk_caches", "KiB", "Memory of the guest's caches that needs no disk to be freed.", "inovex"],
  ["libvirt_domain_memory_stats_swap_in_bytes", "gauge", "domain", "balloon.swap_in", "KiB", "Bytes that the guest has read from its swap: a running total.", "inovex"],
  ["libvirt_domain_memory_stats_swap_out_bytes", "gauge", "domain", "balloon.swap_out", "KiB", "Bytes that the guest has written to its swap: a running total.", "inovex"],
  ["libvirt_domain_memory_stats_hugetlb_pgalloc_total", "counter", "domain", "balloon.hugetlb_pgalloc", "", "Huge pages that the guest has allocated.", "inovex"],
  ["libvirt_domain_memory_stats_hugetlb_pgfail_total", "counter", "domain", "balloon.hugetlb_pgfail", "", "Huge pages that the guest failed to allocate.", "inovex"],
];

/** The families that each have one parameter as their value. */
export const VALUE_FAMILIES: readonly Family[] = VALUES.map(([name, type, of, field, unit, help, dialect]) => ({
  name,
  type,
  source: { of, field, unit },
  help,
  ...(dialect && { dialect }),
}));
