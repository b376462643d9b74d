import type { DomainRates } from "../../client/rates.ts";
import type { VirstreamError } from "../../model/error.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import { Format, type OtherEvent } from "./format.ts";

/**
 * One JSON object per line: a record, or another event of a watch. A record has no member `event`, so a program that
 * reads the records of `virstream get` reads those of a watch as well; all other events have `event` and no `params`.
 */
export class NdjsonFormat extends Format {
  override readonly hasAllEvents = true;

  record(record: DomainStatsRecord, rates?: DomainRates): string {
    const text = recordToJson(record);
    if (rates === undefined) return `${text}\n`;
    const { record: _, ...figures } = rates;
    return `${text.slice(0, -1)},"rates":${JSON.stringify(figures)}}\n`;
  }

  override event(event: OtherEvent): string {
    return `${JSON.stringify(eventMembers(event))}\n`;
  }
}

/** One JSON array of records. */
export class JsonFormat extends Format {
  #separator = "\n";

  override begin(): string {
    return "[";
  }

  record(record: DomainStatsRecord): string {
    const text = this.#separator + recordToJson(record);
    this.#separator = ",\n";
    return text;
  }

  override end(): string {
    return "\n]\n";
  }
}

function eventMembers(event: OtherEvent): object {
  switch (event.type) {
    case "gone":
      return { event: "gone", domain: domainMembers(event.domain) };
    case "sync": {
      const { tick, host, overrun, summary } = event;
      return { event: "sync", tick, host, overrun, summary };
    }
    case "gap": {
      const { reason, skipped, host } = event;
      return { event: "gap", reason, skipped: skipped ?? null, host: host ?? null };
    }
    case "status": {
      const { state, host, error } = event;
      return { event: "status", state, host: host ?? null, ...errorMember(error) };
    }
  }
}

/**
 * A record as JSON text. Integers keep all their digits, also beyond 2^53; a double that JSON has no number for is
 * text. `error` is there only when the record has one.
 */
export function recordToJson(record: DomainStatsRecord): string {
  const { domain, status, reason, missing, sampledAt, tookMs, params, error } = record;
  const head = JSON.stringify({
    domain: domainMembers(domain),
    status,
    reason: reason ?? null,
    missing,
    ...errorMember(error),
    sampledAt,
    tookMs,
  });
  const members = Array.from(params, ([key, value]) => {
    const notJson = typeof value === "number" && !Number.isFinite(value);
    const text = typeof value === "bigint" ? value : JSON.stringify(notJson ? String(value) : value);
    return `${JSON.stringify(key)}:${text}`;
  });
  return `${head.slice(0, -1)},"params":{${members.join(",")}}}`;
}

function domainMembers({ uuid, name, id, host }: Domain): object {
  return { uuid, name, id, host };
}

function errorMember(error: VirstreamError | undefined): object {
  if (error === undefined) return {};
  const { code, message, retryable } = error;
  return { error: { code, message, retryable } };
}
