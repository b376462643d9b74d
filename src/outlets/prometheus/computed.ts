import { groupMask } from "../../model/group.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { VERSION } from "../../version.ts";
import { FAMILY_GROUPS, type Family, type Host, ofHost, ofRow } from "./family.ts";
import type { Row } from "./row.ts";
import { labelText } from "./row.ts";

/** libvirt's description of each state, as the inovex dialect shows it. */
const STATE_TEXTS = [
  "no state",
  "the domain is running",
  "the domain is blocked on resource",
  "the domain is paused by user",
  "the domain is being shut down",
  "the domain is shut off",
  "the domain is crashed",
  "the domain is suspended by guest power management",
];

const SCRAPE_STATUSES = ["ok", "partial", "timeout", "busy", "skipped", "error"] as const;

/** A record's status and its reason in one word. */
function scrapeStatus({ status, reason }: DomainStatsRecord): (typeof SCRAPE_STATUSES)[number] {
  if (reason === "timeout" || reason === "busy") return reason;
  if (reason === "quarantined") return "skipped";
  return status === "failed" ? "error" : status === "ok" ? "ok" : "partial";
}

/** The memory that the guest uses, in percent of the memory that it sees; undefined if the guest does not report it. */
function usedPercent({ record: { params } }: Row): number | undefined {
  const available = params.number("balloon.available");
  const usable = params.number("balloon.usable");
  if (available === undefined || usable === undefined || available === 0) return undefined;
  return ((available - usable) / available) * 100;
}

const WANTED = groupMask(FAMILY_GROUPS);

/** The families that are computed from a domain's record. */
export const ROW_FAMILIES: readonly Family[] = [
  ofRow(
    "libvirt_domain_memory_stats_used_percent",
    "What the guest uses of the memory that it sees, in percent.",
    (row, add) => add(row.labels, usedPercent(row)),
  ),
  // In libvirt, 0 means that the guest has never reported its memory. Then there is no sample.
  ofRow(
    "libvirt_domain_memory_stats_last_update_timestamp_seconds",
    "When the guest last reported its memory.",
    ({ record: { params }, labels }, add) => add(labels, params.number("balloon.last-update") || undefined),
    "inovex",
  ),
  ofRow(
    "libvirt_domain_info_state",
    "State of the domain, with its description.",
    ({ record, labels }, add) => {
      const state = record.params.number("state.state");
      const text = STATE_TEXTS[state ?? -1] ?? "unknown";
      add(`${labels},${labelText({ state_desc: text })}`, state);
    },
    "inovex",
  ),
  ofRow(
    "libvirt_domain_timed_out",
    "1: the domain did not answer in time.",
    ({ record: { reason }, labels }, add) => add(labels, reason === "timeout" || reason === "quarantined" ? 1 : 0),
    "inovex",
  ),
  ofRow(
    "libvirt_domain_scrape_status",
    "1 for the status of the domain's sample: ok, partial (groups are missing), timeout, busy, skipped (an earlier call is still unanswered) or error.",
    ({ record, labels }, add) => {
      const present = scrapeStatus(record);
      for (const status of SCRAPE_STATUSES) add(`${labels},status="${status}"`, status === present ? 1 : 0);
    },
  ),
  ofRow(
    "libvirt_domain_group_missing",
    "1: the domain's sample lacks this group of statistics.",
    ({ record, labels }, add) => {
      for (const group of record.missing) if ((groupMask([group]) & WANTED) !== 0) add(`${labels},group="${group}"`, 1);
    },
  ),
  ofRow(
    "libvirt_domain_sample_age_seconds",
    "How long ago the hypervisor was asked for the domain's sample.",
    ({ ageSeconds, labels }, add) => add(labels, ageSeconds),
  ),
  ofRow(
    "libvirt_domain_stuck_seconds",
    "For how long the domain's guest or its job has not answered; 0: it answered in its last sample.",
    ({ stuckSeconds, labels }, add) => add(labels, stuckSeconds),
  ),
];

/** The labels of a host's series. */
function hostLabels({ several }: Host, host: string): string {
  return several ? labelText({ host }) : "";
}

/** The families that describe hosts, and the exporter itself. */
export const HOST_FAMILIES: readonly Family[] = [
  ofHost("libvirt_up", "1: the hypervisor can be reached.", (host, add) => {
    for (const { name, up } of host.hosts) add(hostLabels(host, name), up ? 1 : 0);
  }),
  ofHost(
    "libvirt_domains",
    "Domains of the host.",
    (host, add) => {
      const counts = new Map<string, number>();
      for (const { record } of host.rows) {
        const name = host.several ? record.domain.host : host.hosts[0]!.name;
        counts.set(name, (counts.get(name) ?? 0) + 1);
      }
      for (const { name, up } of host.hosts) add(hostLabels(host, name), up ? (counts.get(name) ?? 0) : undefined);
    },
    { dialect: "inovex" },
  ),
  ofHost(
    "libvirt_exporter_collect_duration_seconds",
    "How long sweeps of all domains took.",
    ({ self }, add) => {
      if (self === undefined) return;
      for (const [bound, count] of self.durations.buckets) add(`le="${bound}"`, count, "_bucket");
      add('le="+Inf"', self.durations.count, "_bucket");
      add("", self.durations.sum, "_sum");
      add("", self.durations.count, "_count");
    },
    { type: "histogram" },
  ),
  ofHost(
    "libvirt_exporter_collect_cut_short",
    "1: the scraper's time ended before the sweep did, so domains may be missing.",
    ({ self }, add) => add("", self && (self.cutShort ? 1 : 0)),
  ),
  ofHost("libvirt_exporter_inflight_calls", "Calls that the hypervisor has not answered.", ({ self }, add) =>
    add("", self?.inFlightCalls),
  ),
  ofHost(
    "libvirt_exporter_quarantined_domains",
    "Domains that were not asked because an earlier call is still unanswered.",
    ({ self, rows }, add) => add("", self && rows.filter(({ record }) => record.reason === "quarantined").length),
  ),
  ofHost(
    "libvirt_exporter_reconnects_total",
    "How often a lost connection to a hypervisor was opened again.",
    ({ self }, add) => add("", self?.reconnects),
    { type: "counter" },
  ),
  ofHost(
    "libvirt_exporter_dropped_samples_total",
    "Samples of all domains, each counted once, that slow subscribers of this process skipped.",
    ({ self }, add) => add("", self?.droppedSamples),
    { type: "counter" },
  ),
  ofHost("libvirt_exporter_build_info", "The version of the exporter, as a label.", ({ self }, add) =>
    add(labelText({ version: VERSION }), self && 1),
  ),
];
