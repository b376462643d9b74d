import type { VirstreamError } from "../model/error.ts";
import { groupBit, groupNames } from "../model/group.ts";
import {
  type DomainStatsRecord,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordReason,
  type RecordStatus,
} from "../model/record.ts";
import { malformed, type WireValue } from "./encoding.ts";
import { errorFromWire, errorToWire } from "./error-map.ts";

/** What a row says of how its record came out. */
export interface RowStatus {
  readonly status: RecordStatus;
  readonly reason?: RecordReason | undefined;
  readonly missing?: ReturnType<typeof groupNames> | undefined;
  readonly error?: VirstreamError | undefined;
}

const OK: RowStatus = { status: "ok" };

/** The status of a record: 0 if it is ok, else `[status, reason, missing, error]`. */
export function statusToWire(record: DomainStatsRecord): WireValue {
  if (record.status === "ok") return 0;
  let missing = 0;
  for (const group of record.missing) missing = (missing | groupBit(group)) >>> 0;
  return [
    RECORD_STATUSES.indexOf(record.status),
    record.reason === undefined ? 0 : RECORD_REASONS.indexOf(record.reason) + 1,
    missing,
    errorToWire(record.error),
  ];
}

/** The status from the wire; a reason that this version does not know becomes `error`. */
export function statusFromWire(value: WireValue): RowStatus {
  if (value === 0) return OK;
  if (!Array.isArray(value) || value.length < 4) throw malformed("a row's status is none");
  const [number, reason, missing, error] = value as readonly WireValue[];
  const status = typeof number === "number" ? RECORD_STATUSES[number] : undefined;
  if (status === undefined) throw malformed("a row's status is none");
  if (typeof reason !== "number") throw malformed("a row's reason is no number");
  if (typeof missing !== "number" || missing >>> 0 !== missing) {
    throw malformed("a row's missing groups are no bit mask");
  }
  return {
    status,
    reason: reason === 0 ? undefined : (RECORD_REASONS[reason - 1] ?? "error"),
    missing: groupNames(missing),
    error: errorFromWire(error!),
  };
}
