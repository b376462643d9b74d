import type { VirstreamError } from "../model/error.ts";
import type { Group } from "../model/group.ts";
import {
  type DomainStatsRecord,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordReason,
  type RecordStatus,
} from "../model/record.ts";
import { errorFromWire, errorToWire } from "./error-map.ts";
import { malformed } from "./malformed.ts";

/** What came of a record. */
export interface RowStatus {
  readonly status: RecordStatus;
  readonly reason?: RecordReason | undefined;
  readonly missing?: readonly Group[] | undefined;
  readonly error?: VirstreamError | undefined;
}

/** The status of a record that is not ok. */
export function statusToWire({ status, reason, missing, error }: DomainStatsRecord): object {
  return { status, ...(reason && { reason }), missing, ...(error && { error: errorToWire(error) }) };
}

/** The status from the wire; a reason that this version does not know becomes `error`. */
export function statusFromWire(value: unknown): RowStatus {
  const { status, reason, missing, error } = (value ?? {}) as Partial<Record<keyof RowStatus, unknown>>;
  if (!RECORD_STATUSES.includes(status as RecordStatus)) throw malformed("a row's status is none");
  if (missing !== undefined && !(Array.isArray(missing) && missing.every((group) => typeof group === "string"))) {
    throw malformed("a row's missing groups are no texts");
  }
  const known = RECORD_REASONS.includes(reason as RecordReason);
  return {
    status: status as RecordStatus,
    reason: reason === undefined || reason === null ? undefined : known ? (reason as RecordReason) : "error",
    missing: missing as readonly Group[] | undefined,
    error: errorFromWire(error),
  };
}
