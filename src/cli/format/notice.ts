import type { VirstreamError } from "../../model/error.ts";
import { type DomainIdentity, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { GapEvent, GapReason, StatusEvent, SyncEvent, WatchEvent, WatchState } from "../../model/watch.ts";
import { nameOf } from "../../overview/line.ts";
import { printable, recordedTime, withSwitches } from "./text.ts";

const GAP_WORDS: Record<GapReason, string> = {
  "slow-consumer": "they were not read fast enough",
  reconnected: "the connection was lost, or the server restarted",
  source: "the hypervisor could not be reached, or swept",
  "not-recorded": "the recorder did not run, or the recording is damaged",
};

const STATE_WORDS: Record<WatchState, string> = {
  connected: "connected again",
  reconnecting: "reconnecting",
  degraded: "absent",
  removed: "removed",
};

/**
 * Describes each event of a watch, except records, in one line, for formats that cannot show such events. It reports a
 * lasting problem only once.
 */
export class Notices {
  readonly #source: string;
  readonly #records: boolean;
  readonly #troubled = new Set<string | undefined>();
  /** The hosts whose last sweep took longer than the interval. */
  readonly #late = new Set<string>();
  /** The last notice of each domain whose record was not `ok`. */
  readonly #complaints = new Map<string, string>();

  /**
   * @param source the name of the whole connection, such as its URI
   * @param records true to report records that are not `ok`, too
   */
  constructor(source: string, records = false) {
    this.#source = source;
    this.#records = records;
  }

  /** The line without a line break, or undefined when there is nothing to report. */
  of(event: WatchEvent): string | undefined {
    const text = this.#text(event);
    return text === undefined ? undefined : printable(text);
  }

  #text(event: WatchEvent): string | undefined {
    switch (event.type) {
      case "record":
        return this.#records ? this.#complaint(event.record) : undefined;
      case "gone":
        return this.#gone(event.domain);
      case "gap":
        return gapText(event);
      case "sync":
        return this.#overrun(event);
      case "status":
        return this.#status(event);
    }
  }

  #overrun({ host, overrun, summary }: SyncEvent): string | undefined {
    if (overrun === 0) {
      this.#late.delete(host);
      return undefined;
    }
    if (this.#late.has(host)) return undefined;
    this.#late.add(host);
    const took = `${(summary.tookMs / 1_000).toFixed(2)} s`;
    return `a sweep of ${host} took ${took}, longer than the interval: the sweeps that were due in that time are left out`;
  }

  #gone(domain: DomainIdentity): string | undefined {
    const key = domainKey(domain);
    const reported = this.#complaints.get(key);
    this.#complaints.delete(key);
    // The notice about the domain's last record has already said that the domain is gone.
    if (reported?.startsWith(`domain ${nameOf(domain)}: gone`)) return undefined;
    return `domain ${nameOf(domain)} of ${domain.host} is gone`;
  }

  #complaint(record: DomainStatsRecord): string | undefined {
    const key = domainKey(record.domain);
    const text = complaint(record);
    if (text === this.#complaints.get(key)) return undefined;
    if (text === undefined) this.#complaints.delete(key);
    else this.#complaints.set(key, text);
    return text ?? `domain ${nameOf(record.domain)}: ok again`;
  }

  #status(event: StatusEvent): string | undefined {
    const { state, host } = event;
    if (state === "removed") this.#troubled.delete(host);
    else if (state !== "connected") this.#troubled.add(host);
    else if (!this.#troubled.delete(host)) return undefined;
    // The state of a host that refuses the watch is also `degraded`, but virstream does not try this host again.
    const again = state === "degraded" && event.error?.retryable === true ? ", and is tried again" : "";
    return sourceText(host ?? this.#source, STATE_WORDS[state] + again, event.error);
  }
}

/** The notice about requested groups for which the table has no column. */
export function noColumnText(groups: readonly string[]): string {
  const options = groups.map((group) => `--${group}`).join(", ");
  return `the table has no column for ${options}: --format ndjson and --format virsh show what it has`;
}

/**
 * A line that says what happened to a source, and why. Many errors contain the source's URI; the line then does not
 * repeat it.
 */
export function sourceText(source: string, what: string, error: VirstreamError | undefined): string {
  const text = error === undefined ? what : `${what}: ${withSwitches(error.message)}`;
  if (!source.includes("://")) return `${source}: ${text}`;
  const literal = source.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const named = new RegExp(`(?<=: )${literal}: |${literal}(?!\\w)`, "g");
  return `${source}: ${text.replaceAll(named, (each) => (each.endsWith(": ") ? "" : "it"))}`;
}

/** Why a record is not `ok`, in one line; undefined when the record is `ok`. */
export function complaint(record: DomainStatsRecord): string | undefined {
  if (record.status === "ok") return undefined;
  const missing = record.missing.length > 0 ? ` without ${record.missing.join(", ")}` : "";
  const why = record.error?.message ?? record.reason ?? "";
  return `domain ${nameOf(record.domain)}: ${record.status}${missing}${why && `: ${why}`}`;
}

/** A gap in words, e.g. `3 sweeps of hv1 skipped: they were not read fast enough`. */
export function gapText({ reason, skipped, host }: GapEvent): string {
  const number = skipped === undefined ? "an unknown number of sweeps" : `${skipped} sweep${skipped === 1 ? "" : "s"}`;
  return `${number}${host === undefined ? "" : ` of ${host}`} skipped: ${GAP_WORDS[reason]}`;
}

/**
 * A sweep in words, e.g. `sweep 3: 40 domains of hv1 in 0.12 s, 1 partial`.
 *
 * @param recorded true for a sweep of a recording: the text then has the time of the sweep
 */
export function sweepText({ tick, host, summary, overrun }: SyncEvent, recorded = false): string {
  const { domains, startedAt, tookMs } = summary;
  const time = recorded ? ` at ${recordedTime(startedAt + tookMs)}` : "";
  const whose = `${domains} domain${domains === 1 ? "" : "s"} of ${host}`;
  const leftOut = overrun === 0 ? "" : `; ${overrun} left out: it outlasted the interval`;
  return `sweep ${tick}${time}: ${whose} in ${(tookMs / 1_000).toFixed(2)} s${notWhole(summary)}${leftOut}`;
}

/** The numbers of a sweep's incomplete records, as the end of a text, e.g. `, 2 partial, 1 gone`. */
export function notWhole(counts: Readonly<Record<"partial" | "failed" | "gone", number>>): string {
  return (["partial", "failed", "gone"] as const)
    .filter((status) => counts[status] > 0)
    .map((status) => `, ${counts[status]} ${status}`)
    .join("");
}
