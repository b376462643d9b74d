import { VirstreamError } from "../model/error.ts";
import type { DomainSelector } from "../model/query.ts";
import { Domain, DomainStatsRecord, type RecordInit } from "../model/record.ts";
import { TypedParams } from "../model/typed-params.ts";
import { NIL_UUID } from "../model/uuid.ts";

/**
 * The domain in the record for a selector that selects no domain of any host. Only the text of the selector is known:
 * for a name, the domain's uuid is nil; for a uuid, its name is empty.
 */
export function unknownDomain(selector: DomainSelector, host: string, owner: object): Domain {
  return "uuid" in selector
    ? new Domain(selector.uuid, "", -1, host, owner)
    : new Domain(NIL_UUID, selector.name, -1, host, owner);
}

/**
 * The record for a selector that selects no domain of any host. `where` is the place that the record's error names;
 * default: the host.
 */
export function unknownRecord(
  selector: DomainSelector,
  { host, owner, where = host }: { readonly host: string; readonly owner: object; readonly where?: string },
  when: Pick<RecordInit, "sampledAt" | "steadyAt" | "index">,
): DomainStatsRecord {
  const domain = unknownDomain(selector, host, owner);
  const error = unknownDomainError(selector, where);
  return new DomainStatsRecord({
    ...{ domain, params: TypedParams.EMPTY, status: "gone", reason: "unknown", error, tookMs: 0 },
    ...when,
  });
}

/** The record of a domain whose host cannot be reached. */
export function unreachableRecord(domain: Domain, index: number, error: VirstreamError): DomainStatsRecord {
  return new DomainStatsRecord({
    ...{ domain, index, error, params: TypedParams.EMPTY, status: "failed", reason: "error" },
    ...{ sampledAt: Date.now(), tookMs: 0 },
  });
}

/**
 * The error in the record of an unknown domain. It has no stack: a stack takes half of the memory of such a record, and
 * most of the time to make the record.
 */
function unknownDomainError(selector: DomainSelector, host: string): VirstreamError {
  const named = "uuid" in selector ? selector.uuid : JSON.stringify(selector.name);
  const engine: { stackTraceLimit?: number } = Error;
  const { stackTraceLimit } = engine;
  engine.stackTraceLimit = 0;
  const error = new VirstreamError("unknown-domain", `there is no domain ${named} on ${host}`);
  if (stackTraceLimit === undefined) delete engine.stackTraceLimit;
  else engine.stackTraceLimit = stackTraceLimit;
  return error;
}
