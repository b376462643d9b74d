import type { DomainRates } from "../../client/rates/domain-rates.ts";
import { type Absent, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import { nameOf } from "../../overview/line.ts";
import { trouble } from "../../overview/verdict.ts";
import { printable } from "../format/text.ts";
import { METRICS, type Metric, type Thresholds } from "./arguments.ts";

/** The exit codes of a plugin for Nagios. */
export const STATUS = { ok: 0, warning: 1, critical: 2, unknown: 3 } as const;
/** The name of an exit code. */
export type Status = keyof typeof STATUS;

/** The line that the plugin prints names at most this many problems. */
const NAMED = 5;

/** Two samples of all guests, from two sweeps. */
export interface Samples {
  /** The first sample. */
  readonly before: readonly DomainStatsRecord[];
  /** The second sample, with the rates since the first. */
  readonly after: readonly DomainRates[];
  readonly absent: readonly Absent[];
}

interface Problem {
  readonly status: "warning" | "critical";
  readonly text: string;
}

/** The status, and the only line that the plugin prints, without the line break. */
export interface Verdict {
  readonly status: Status;
  readonly line: string;
}

/**
 * Makes the line that the plugin prints. Line breaks and `|` in the text are replaced, because `|` begins the
 * performance data.
 */
export function lineOf(status: Status, text: string, data = ""): string {
  const safe = printable(text.replaceAll(/\s*\n\s*/g, " ")).replaceAll("|", "¦");
  return `VIRSTREAM ${status.toUpperCase()} - ${safe}${data === "" ? "" : ` | ${data}`}`;
}

/** Judges two samples by the thresholds. */
export function verdictOf({ before, after, absent }: Samples, thresholds: ReadonlyMap<Metric, Thresholds>): Verdict {
  const earlier = new Map(before.map((record) => [domainKey(record.domain), record]));
  const problems: Problem[] = absent.map(({ host, error }) => ({
    status: "critical",
    text: `host ${host} absent: ${error.message}`,
  }));
  const worst = new Map<Metric, number>([["stuck", 0]]);
  let [stuck, failed] = [0, 0];
  for (const rates of after) {
    const { record } = rates;
    const name = nameOf(record.domain);
    const stuckSeconds = stuckSecondsOf(record, earlier.get(domainKey(record.domain)));
    if (stuckSeconds > 0) stuck++;
    const state = stateProblem(record, stuckSeconds > 0);
    if (state !== undefined) {
      if (state.status === "critical") failed++;
      problems.push({ status: state.status, text: `${name} ${state.text}` });
    }
    for (const [metric, value] of [["stuck", stuckSeconds] as const, ...valuesOf(rates)]) {
      if (value === undefined) continue;
      worst.set(metric, Math.max(worst.get(metric) ?? 0, value));
      if (metric === "stuck" && value === 0) continue;
      const status = statusOf(value, thresholds.get(metric));
      if (status === undefined) continue;
      const why = record.reason === undefined ? "" : ` (${record.reason})`;
      const text =
        metric === "stuck" ? `stuck for ${value.toFixed(1)} s${why}` : `${metric} ${value.toFixed(1)}${unit(metric)}`;
      problems.push({ status, text: `${name} ${text}` });
    }
  }
  const sorted = problems.toSorted((one, other) => STATUS[other.status] - STATUS[one.status]);
  const status = sorted[0]?.status ?? "ok";
  const guests = `${after.length} guest${after.length === 1 ? "" : "s"}`;
  const more = sorted.length > NAMED ? `, and ${sorted.length - NAMED} more` : "";
  const named = sorted.slice(0, NAMED).map(({ text }) => text);
  const text = named.length === 0 ? guests : `${named.join(", ")}${more}; ${guests}`;
  const data = [
    ...Object.entries({ guests: after.length, stuck, failed, absent: absent.length }).map(
      ([name, n]) => `${name}=${n};;;0`,
    ),
    ...Object.keys(METRICS).map((metric) => performance(metric as Metric, worst, thresholds)),
  ];
  return { status, line: lineOf(status, text, data.join(" ")) };
}

/**
 * How long a guest has been stuck, according to the two samples, in seconds; 0 if it is not stuck. A guest is stuck if
 * isStuck() is true for its record in the second sample. A guest that is busy with another job in the second sample is
 * stuck only if it was busy or stuck in the first sample, too: it may be frozen, and the call of an earlier check may
 * hold its job.
 */
function stuckSecondsOf(record: DomainStatsRecord, before: DomainStatsRecord | undefined): number {
  const isLasting = before !== undefined && (isStuck(before) || before.reason === "busy");
  if (!isStuck(record) && !(isLasting && record.reason === "busy")) return 0;
  const since = isLasting ? before.sampledAt : record.sampledAt;
  // Never 0, because 0 would not alert.
  return Math.max(0.001, (record.sampledAt + record.tookMs - since) / 1_000);
}

function isStuck({ status, reason }: DomainStatsRecord): boolean {
  return status !== "ok" && (reason === "timeout" || reason === "quarantined" || reason === "error");
}

/** What is wrong with a guest besides being stuck. */
function stateProblem(record: DomainStatsRecord, isStuck: boolean): Problem | undefined {
  const { status, reason } = record;
  if (status === "gone") {
    return reason === "unknown" ? { status: "critical", text: "does not exist" } : undefined;
  }
  const failed = trouble(record);
  if (failed !== undefined) return { status: "critical", text: failed };
  if (reason === "busy" && !isStuck) return { status: "warning", text: "busy with another job" };
  return reason === "denied" ? { status: "warning", text: "no permission to read it" } : undefined;
}

/**
 * Those rates of one guest for which there can be thresholds. If the guest has several disks or vCPUs, the worst value
 * counts.
 */
function valuesOf({ cpu, vcpus, disks, memory }: DomainRates): [Metric, number | undefined][] {
  const most = (values: readonly (number | undefined)[]): number | undefined => {
    const known = values.filter((value) => value !== undefined);
    return known.length === 0 ? undefined : Math.max(...known);
  };
  const latencies = disks.flatMap((disk) => [disk.readLatencyMs, disk.writeLatencyMs, disk.flushLatencyMs]);
  return [
    ["cpu", cpu.percentOfVcpus],
    ["steal", most(vcpus.map(({ stealPercent }) => stealPercent))],
    ["latency", most(latencies)],
    ["memory", memory.usedPercent],
  ];
}

function statusOf(value: number, { warning, critical }: Thresholds = {}): "warning" | "critical" | undefined {
  if (critical?.alerts(value)) return "critical";
  return warning?.alerts(value) ? "warning" : undefined;
}

function unit(metric: Metric): string {
  return METRICS[metric] === "%" ? " %" : ` ${METRICS[metric]}`;
}

/** The performance data of a metric: the value of the worst guest, or `U` if no guest has a value. */
function performance(
  metric: Metric,
  worst: ReadonlyMap<Metric, number>,
  thresholds: ReadonlyMap<Metric, Thresholds>,
): string {
  const value = worst.get(metric);
  const { warning, critical } = thresholds.get(metric) ?? {};
  const label = metric === "stuck" ? "stuck_time" : metric;
  const number = value === undefined ? "U" : `${Number(value.toFixed(3))}${METRICS[metric]}`;
  return `${label}=${number};${warning?.text ?? ""};${critical?.text ?? ""};0`;
}
