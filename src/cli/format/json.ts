import type { DomainRates } from "../../client/rates.ts";
import type { VirstreamError } from "../../model/error.ts";
import type { Domain, DomainStatsRecord } from "../../model/record.ts";
import type { WatchEvent } from "../../model/watch.ts";
import type { RecordFormat } from "./record-format.ts";
import type { WatchFormat } from "./watch-format.ts";

/** One JSON object per record, one record per line. */
export class NdjsonFormat implements RecordFormat {
  begin(): string {
    return "";
  }

  record(record: DomainStatsRecord): string {
    return `${recordToJson(record)}\n`;
  }

  end(): string {
    return "";
  }
}

/**
 * One JSON object per event of a watch. A record is as `virstream get` prints it, so that what reads those reads these,
 * with `rates` added where they are wanted; all other events have the member `event` and no `params`.
 */
export class NdjsonWatchFormat implements WatchFormat {
  readonly tellsAll = true;

  event(event: WatchEvent, rates?: DomainRates): string {
    if (event.type !== "record") return `${JSON.stringify(eventMembers(event))}\n`;
    const text = recordToJson(event.record);
    if (rates === undefined) return `${text}\n`;
    const { record, ...figures } = rates;
    return `${text.slice(0, -1)},"rates":${JSON.stringify(figures)}}\n`;
  }
}

function eventMembers(event: Exclude<WatchEvent, { type: "record" }>): object {
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

/** One JSON array of the same objects. */
export class JsonFormat implements RecordFormat {
  #first = true;

  begin(): string {
    return "[";
  }

  record(record: DomainStatsRecord): string {
    const separator = this.#first ? "\n" : ",\n";
    this.#first = false;
    return separator + recordToJson(record);
  }

  end(): string {
    return "\n]\n";
  }
}

/**
 * A record as JSON text. Integers stand with all their digits, also those that JavaScript's own numbers could not hold;
 * a double that JSON has no number for is text. `error` is there only when the record has one.
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
  const { keys } = params.schema;
  const members = keys.map((key, i) => {
    const value = params.at(i)!;
    const text =
      typeof value === "bigint"
        ? value
        : typeof value === "number" && !Number.isFinite(value)
          ? `"${value}"`
          : JSON.stringify(value);
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
