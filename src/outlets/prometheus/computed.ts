import { groupMask } from "../../model/group.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { VERSION } from "../../version.ts";
import { FAMILY_GROUPS, type Family, type Host } from "./family.ts";
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

/** How much of the memory that it sees the guest uses, in percent; undefined if the guest does not report it. */
function usedPercent({ record: { params } }: Row): number | undefined {
  const available = params.number("balloon.available");
  const usable = params.number("balloon.usable");
  if (available === undefined || usable === undefined || available === 0) return undefined;
  return ((available - usable) / available) * 100;
}

const WANTED = groupMask(FAMILY_GROUPS);

/** The families that are computed from a domain's record. */
export const ROW_FAMILIES: readonly Family[] = [
  {
    name: "libvirt_domain_memory_stats_used_percent",
    type: "gauge",
    help: "What the guest uses of the memory that it sees, in percent.",
    source: { of: "row", write: (row, add) => add(row.labels, usedPercent(row)) },
  },
  {
    name: "libvirt_domain_memory_stats_last_update_timestamp_seconds",
    type: "gauge",
    dialect: "inovex",
    help: "When the guest last reported its memory.",
    source: {
      of: "row",
      // In libvirt, 0 means never.
      write: ({ record: { params }, labels }, add) => add(labels, params.number("balloon.last-update") || undefined),
    },
  },
  {
    name: "libvirt_domain_info_state",
    type: "gauge",
    dialect: "inovex",
    help: "State of the domain, with its description.",
    source: {
      of: "row",
      write: ({ record, labels }, add) => {
        const state = record.params.number("state.state");
        const text = STATE_TEXTS[state ?? -1] ?? "unknown";
        add(`${labels},${labelText({ state_desc: text })}`, state);
      },
    },
  },
  {
    name: "libvirt_domain_timed_out",
    type: "gauge",
    dialect: "inovex",
    help: "1: the domain did not answer in time.",
    source: {
      of: "row",
      write: ({ record: { reason }, labels }, add) =>
        add(labels, reason === "timeout" || reason === "quarantined" ? 1 : 0),
    },
  },
  {
    name: "libvirt_domain_scrape_status",
    type: "gauge",
    help: "1 for the status of the domain's sample: ok, partial (groups are missing), timeout, busy, skipped (an earlier call is still unanswered) or error.",
    source: {
      of: "row",
      write: ({ record, labels }, add) => {
        const present = scrapeStatus(record);
        for (const status of SCRAPE_STATUSES) add(`${labels},status="${status}"`, status === present ? 1 : 0);
      },
    },
  },
  {
    name: "libvirt_domain_group_missing",
    type: "gauge",
    help: "1: the domain's sample lacks this group of statistics.",
    source: {
      of: "row",
      write: ({ record, labels }, add) => {
        for (const group of record.missing)
          if ((groupMask([group]) & WANTED) !== 0) add(`${labels},group="${group}"`, 1);
      },
    },
  },
  {
    name: "libvirt_domain_sample_age_seconds",
    type: "gauge",
    help: "How long ago the hypervisor was asked for the domain's sample.",
    source: { of: "row", write: ({ ageSeconds, labels }, add) => add(labels, ageSeconds) },
  },
  {
    name: "libvirt_domain_stuck_seconds",
    type: "gauge",
    help: "For how long the domain's guest or its job has not answered; 0: it answered in its last sample.",
    source: { of: "row", write: ({ stuckSeconds, labels }, add) => add(labels, stuckSeconds) },
  },
];

/** The labels of a host's series. */
function hostLabels({ several }: Host, host: string): string {
  return several ? labelText({ host }) : "";
}

/** The families that describe hosts, and the exporter itself. */
export const HOST_FAMILIES: readonly Family[] = [
  {
    name: "libvirt_up",
    type: "gauge",
    help: "1: the hypervisor can be reached.",
    source: {
      of: "host",
      write: (host, add) => {
        for (const { name, up } of host.hosts) add(hostLabels(host, name), up ? 1 : 0);
      },
    },
  },
  {
    name: "libvirt_domains",
    type: "gauge",
    dialect: "inovex",
    help: "Domains of the host.",
    source: {
      of: "host",
      write: (host, add) => {
        const counts = new Map<string, number>();
        for (const { record } of host.rows) {
          const name = host.several ? record.domain.host : host.hosts[0]!.name;
          counts.set(name, (counts.get(name) ?? 0) + 1);
        }
        for (const { name, up } of host.hosts) add(hostLabels(host, name), up ? (counts.get(name) ?? 0) : undefined);
      },
    },
  },
  {
    name: "libvirt_exporter_collect_duration_seconds",
    type: "histogram",
    help: "How long sweeps of all domains took.",
    source: {
      of: "host",
      write: ({ self }, add) => {
        if (self === undefined) return;
        for (const [bound, count] of self.durations.buckets) add(`le="${bound}"`, count, "_bucket");
        add('le="+Inf"', self.durations.count, "_bucket");
        add("", self.durations.sum, "_sum");
        add("", self.durations.count, "_count");
      },
    },
  },
  {
    name: "libvirt_exporter_collect_cut_short",
    type: "gauge",
    help: "1: the scraper's time ended before the sweep did, so domains may be missing.",
    source: { of: "host", write: ({ self }, add) => add("", self && (self.cutShort ? 1 : 0)) },
  },
  {
    name: "libvirt_exporter_inflight_calls",
    type: "gauge",
    help: "Calls that the hypervisor has not answered.",
    source: { of: "host", write: ({ self }, add) => add("", self?.inFlightCalls) },
  },
  {
    name: "libvirt_exporter_quarantined_domains",
    type: "gauge",
    help: "Domains that were not asked because an earlier call is still unanswered.",
    source: {
      of: "host",
      write: ({ self, rows }, add) =>
        add("", self && rows.filter(({ record }) => record.reason === "quarantined").length),
    },
  },
  {
    name: "libvirt_exporter_reconnects_total",
    type: "counter",
    help: "How often a lost connection to a hypervisor was opened again.",
    source: { of: "host", write: ({ self }, add) => add("", self?.reconnects) },
  },
  {
    name: "libvirt_exporter_dropped_samples_total",
    type: "counter",
    help: "Samples of all domains, each counted once, that slow subscribers of this process skipped.",
    source: { of: "host", write: ({ self }, add) => add("", self?.droppedSamples) },
  },
  {
    name: "libvirt_exporter_build_info",
    type: "gauge",
    help: "The version of the exporter, as a label.",
    source: { of: "host", write: ({ self }, add) => add(labelText({ version: VERSION }), self && 1) },
  },
];
