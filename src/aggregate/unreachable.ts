import type { ErrorCode, VirstreamError } from "../model/error.ts";
import { TypedParams } from "../model/params.ts";
import { type Domain, DomainStatsRecord } from "../model/record.ts";

/** Errors that lie in what was asked: a host that raises them is there. */
const FAULTS_OF_THE_QUERY: ReadonlySet<ErrorCode> = new Set([
  "invalid-argument",
  "unknown-group",
  "unknown-flag",
  "empty-domain-list",
  "foreign-domain",
  "unknown-domain",
  "unsupported",
]);

/** Whether a sweep failed for what was asked, rather than for how its host is doing. */
export function isFaultOfQuery(error: VirstreamError): boolean {
  return FAULTS_OF_THE_QUERY.has(error.code);
}

/** The record of a domain whose host cannot be asked. */
export function unreachableRecord(domain: Domain, index: number, error: VirstreamError): DomainStatsRecord {
  return new DomainStatsRecord({
    domain,
    params: TypedParams.EMPTY,
    status: "failed",
    reason: "error",
    error,
    sampledAt: Date.now(),
    tookMs: 0,
    index,
  });
}
