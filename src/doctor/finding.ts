/** The findings of the doctor. The ids are stable; docs/doctor.md explains each finding. */

/**
 * How bad a finding is. With a `problem`, virstream does not work. With a `warning`, virstream works, but records may
 * be incomplete or late, or a guest needs help. A `note` needs no action.
 */
export type Severity = "problem" | "warning" | "note";

/** Every finding, with its usual severity. */
export const FINDINGS = {
  "socket-missing": "problem",
  "socket-denied": "problem",
  "socket-dead": "problem",
  "connection-failed": "problem",
  "daemon-silent": "problem",
  "workers-busy": "problem",
  "stats-unsupported": "note",
  "requests-few": "warning",
  "requests-unknown": "note",
  "workers-few": "warning",
  "keepalive-missing": "note",
  "events-missing": "note",
  "listing-silent": "problem",
  "groups-missing": "note",
  "groups-unknown": "note",
  "balloon-period-off": "warning",
  "balloon-none": "note",
  "monitor-busy": "warning",
  "process-stuck": "warning",
  "guests-unasked": "note",
  "guest-failed": "warning",
  "monitor-job": "note",
  "monitor-error": "warning",
  "guest-silent": "warning",
  "guest-unexamined": "warning",
} as const satisfies Record<string, Severity>;

/** The id of a finding. */
export type FindingId = keyof typeof FINDINGS;

/** A guest that a finding concerns. */
export interface AffectedGuest {
  readonly name: string;
  readonly uuid: string;
  /** How long the problem has lasted, in ms, if known. */
  readonly forMs?: number;
  /** The commands that solve the problem for this guest. */
  readonly fix: readonly string[];
}

/** One problem, or one fact, that the examination has found. */
export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** The problem and its effect on virstream, in a few sentences. */
  readonly what: string;
  /**
   * The commands that solve the problem or show more. If no command helps, this is advice. Empty when there is nothing
   * to do.
   */
  readonly fix: readonly string[];
  /** All guests that the problem affects. */
  readonly guests: readonly AffectedGuest[];
}

/** Makes a finding. It has the usual severity of its id, unless `details` has another severity. */
export function finding(id: FindingId, what: string, details: Partial<Omit<Finding, "id" | "what">> = {}): Finding {
  return { id, severity: FINDINGS[id], what, fix: [], guests: [], ...details };
}

/** True if at least one finding needs an action. A note needs none. */
export function needsFix(findings: readonly Finding[]): boolean {
  return findings.some(({ severity }) => severity !== "note");
}
