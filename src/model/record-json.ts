import { invalid, isErrorCode, quote, VirstreamError } from "./error.ts";
import type { Group } from "./group.ts";
import { type ParamValue, TypedParams } from "./params.ts";
import {
  Domain,
  RECORD_REASONS,
  RECORD_STATUSES,
  type RecordConstructor,
  type RecordInit,
  type RecordReason,
  type RecordStatus,
  DomainStatsRecord as StatsRecord,
} from "./record.ts";
import { PARAM_TYPES, type ParamTypeName } from "./schema.ts";

/** The class DomainStatsRecord, with `fromJSON`. */
export interface DomainStatsRecordClass extends RecordConstructor {
  /**
   * Makes a record from the plain object that `toJSON` returned, also after the object went through JSON or
   * `structuredClone`. The record has the same values in the same types. Its domain belongs to no connection, so a
   * query of any connection accepts it.
   *
   * @throws VirstreamError `invalid-argument` when `json` is not such an object
   */
  fromJSON(json: unknown): DomainStatsRecord;
}

/** The statistics of one domain, or why there are none. `status` shows which types the other members have. */
export type DomainStatsRecord = StatsRecord;

/**
 * The class of records, for `instanceof`, for drivers, and for records from JSON. It is the class of model/record.ts,
 * to which this file adds `fromJSON`. A bundle that does not use `fromJSON` does not contain this file.
 */
export const DomainStatsRecord: DomainStatsRecordClass = /* @__PURE__ */ Object.assign(StatsRecord, {
  fromJSON: (json: unknown): StatsRecord => new StatsRecord(initOf(json)),
});

type Members = Readonly<Record<string, unknown>>;

/** The members of a record from its plain object, each with its type checked. */
function initOf(json: unknown): RecordInit {
  const plain = objectOf(json, "a record");
  const member = <T>(object: Members, name: string, type: string): T => {
    const value = object[name];
    if (typeof value === type && !Number.isNaN(value)) return value as T;
    throw invalid(`${name} of a record in JSON must be a ${type}, not ${quote(value)}: see DomainStatsRecord.toJSON`);
  };
  const domain = objectOf(plain["domain"], "domain");
  const error = (plain["error"] ?? undefined) && objectOf(plain["error"], "error");
  const { status, reason, missing } = plain;
  if (!RECORD_STATUSES.includes(status as RecordStatus)) throw invalid(`there is no status ${quote(status)}`);
  if (reason !== null && !RECORD_REASONS.includes(reason as RecordReason)) {
    throw invalid(`there is no reason ${quote(reason)}`);
  }
  if (!(Array.isArray(missing) && missing.every((group) => typeof group === "string")))
    throw invalid(`missing must be a list of groups, not ${quote(missing)}`);
  return {
    domain: new Domain(
      member(domain, "uuid", "string"),
      member(domain, "name", "string"),
      member(domain, "id", "number"),
      member(domain, "host", "string"),
    ),
    params: paramsOf(objectOf(plain["params"], "params"), member(plain, "types", "string")),
    status: status as RecordStatus,
    reason: (reason ?? undefined) as RecordReason | undefined,
    missing: missing as Group[],
    error: error && errorOf(error, member),
    sampledAt: member(plain, "sampledAt", "number"),
    steadyAt: member(plain, "steadyAt", "number"),
    tookMs: member(plain, "tookMs", "number"),
    index: member(plain, "index", "number"),
  };
}

function errorOf(error: Members, member: <T>(object: Members, name: string, type: string) => T): VirstreamError {
  const { code, libvirt } = error;
  if (!isErrorCode(code)) throw invalid(`there is no error code ${quote(code)}`);
  const numbers = libvirt === undefined ? undefined : objectOf(libvirt, "libvirt");
  return new VirstreamError(code, member(error, "message", "string"), {
    retryable: member(error, "retryable", "boolean"),
    ...(numbers && {
      libvirt: { code: member(numbers, "code", "number"), domain: member(numbers, "domain", "number") },
    }),
  });
}

function objectOf(value: unknown, what: string): Members {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Members;
  throw invalid(`${what} in JSON must be an object, not ${quote(value)}: see DomainStatsRecord.toJSON`);
}

/**
 * Makes parameters from the plain object of TypedParams.toJSON and the text of their type codes.
 *
 * @throws VirstreamError `invalid-argument`
 */
function paramsOf(plain: object, types: string): TypedParams {
  const entries = Object.entries(plain);
  if (entries.length !== types.length) throw invalid(`types has ${types.length} digits for ${entries.length} params`);
  return TypedParams.from(
    entries.map(([key, value], i) => {
      const type = PARAM_TYPES[Number(types[i]) - 1];
      if (!["number", "bigint", "boolean", "string"].includes(typeof value))
        throw invalid(`params has ${quote(value)}`);
      if (type === undefined) throw invalid(`types has ${quote(types[i])}, which is no type from 1 to 7`);
      return [key, type, typeof value === "string" ? valueOfText(value, type) : value];
    }),
  );
}

/**
 * Converts a text in JSON to the parameter's value: the text itself, a large integer, or a double that is not a finite
 * number.
 */
function valueOfText(text: string, type: ParamTypeName): ParamValue {
  if (type === "double" && /^(NaN|-?Infinity)$/.test(text)) return Number(text);
  return type.endsWith("long") && /^-?\d{1,20}$/.test(text) ? BigInt(text) : text;
}
