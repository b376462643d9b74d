import { ERROR_CODES, isErrorCode, VirstreamError } from "../model/error.ts";
import type { Group } from "../model/group.ts";
import {
  type DomainStatsRecord,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordReason,
  type RecordStatus,
} from "../model/record.ts";

/**
 * An error as it is on the wire. If libvirt raised it, `libvirt` has libvirt's error code, and its error domain (the
 * part of libvirt that raised it).
 */
export type WireError = ReturnType<VirstreamError["toJSON"]>;

/**
 * An error from the wire; undefined if there is none. An error code that this version does not know becomes `internal`,
 * and then the error's text begins with the unknown code.
 */
export function errorFromWire(value: unknown): VirstreamError | undefined {
  if (value === undefined || value === null) return undefined;
  const { code, message, retryable, libvirt } = value as Partial<Record<keyof WireError, unknown>>;
  if (typeof code !== "string" || typeof message !== "string") throw malformed("an error has no valid code");
  const known = isErrorCode(code) ? code : "internal";
  const number = libvirt as Partial<Record<"code" | "domain", unknown>> | null | undefined;
  return new VirstreamError(known, known === code ? message : `${code}: ${message}`, {
    retryable: typeof retryable === "boolean" ? retryable : ERROR_CODES[known].retryable,
    ...(typeof number?.code === "number" && typeof number.domain === "number"
      ? { libvirt: { code: number.code, domain: number.domain } }
      : {}),
  });
}

/** The error for a message that violates the protocol. */
export function malformed(detail: string): VirstreamError {
  return new VirstreamError("protocol-error", `malformed message: ${detail}`);
}

/** The status of a record, and the reason for it. */
export interface RowStatus {
  readonly status: RecordStatus;
  readonly reason?: RecordReason | undefined;
  readonly missing?: readonly Group[] | undefined;
  readonly error?: VirstreamError | undefined;
}

/** The status of a record that is not ok, as it is on the wire. */
export function rowStatusToWire({ status, reason, missing, error }: DomainStatsRecord): object {
  return { status, ...(reason && { reason }), missing, ...(error && { error: error.toJSON() }) };
}

/** The status of a record from the wire; a reason that this version does not know becomes the reason `error`. */
export function rowStatusFromWire(value: unknown): RowStatus {
  const { status, reason, missing, error } = (value ?? {}) as Partial<Record<keyof RowStatus, unknown>>;
  if (!RECORD_STATUSES.includes(status as RecordStatus)) throw malformed("a row has no valid status");
  if (missing !== undefined && !(Array.isArray(missing) && missing.every((group) => typeof group === "string"))) {
    throw malformed("a row has no valid missing groups");
  }
  if (status === "ok") throw malformed("a row that is ok is among the others");
  const known = RECORD_REASONS.includes(reason as RecordReason);
  return {
    status: status as RecordStatus,
    reason: reason === undefined || reason === null ? undefined : known ? (reason as RecordReason) : "error",
    missing: missing as readonly Group[] | undefined,
    error: errorFromWire(error),
  };
}
