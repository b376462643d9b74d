/**
 * What the doctor can find. The names are stable: docs/doctor.md has a heading for each, and a test holds the two
 * against each other.
 */

/** How bad it is: a problem keeps virstream from working, a warning from working fully, a note from nothing. */
export type Severity = "problem" | "warning" | "note";

/** Every finding, with its usual severity. */
export const FINDINGS = {
  "socket-missing": "problem",
  "socket-denied": "problem",
  "socket-dead": "problem",
  "connection-failed": "problem",
  "daemon-silent": "problem",
  "workers-busy": "problem",
  "stats-unsupported": "problem",
  "requests-few": "warning",
  "requests-unclear": "note",
  "workers-few": "warning",
  "keepalive-missing": "note",
  "events-missing": "note",
  "listing-silent": "problem",
  "groups-missing": "note",
  "groups-unknown": "note",
  "balloon-period-off": "warning",
  "balloon-none": "note",
  "monitor-busy": "warning",
  "monitor-job": "note",
  "monitor-error": "warning",
  "guest-silent": "warning",
  "guest-unexamined": "warning",
} as const satisfies Record<string, Severity>;

/** The name of a finding. */
export type FindingId = keyof typeof FINDINGS;

/** A guest that a finding is about. */
export interface AffectedGuest {
  readonly name: string;
  readonly uuid: string;
  /** Since when it is so, in ms, where that is known. */
  readonly forMs?: number;
  /** The commands that mend it for this guest. */
  readonly mend: readonly string[];
}

/** One thing that was found. */
export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** What it is and what it means for virstream, in a sentence or two. */
  readonly what: string;
  /** The commands that mend it, or what to do where no command does; none where nothing is to be done. */
  readonly mend: readonly string[];
  /** The guests that it is about, all of them. */
  readonly guests: readonly AffectedGuest[];
}

/** A finding of its usual severity. */
export function finding(id: FindingId, what: string, details: Partial<Omit<Finding, "id" | "what">> = {}): Finding {
  return { id, severity: FINDINGS[id], what, mend: [], guests: [], ...details };
}

/** Whether there is anything to mend: a note is no reason to do something. */
export function needsMending(findings: readonly Finding[]): boolean {
  return findings.some(({ severity }) => severity !== "note");
}
