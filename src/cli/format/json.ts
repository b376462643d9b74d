import type { DomainStatsRecord } from "../../model/record.ts";
import type { RecordFormat } from "./record-format.ts";

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
  const { uuid, name, id, host } = domain;
  const head = JSON.stringify({
    domain: { uuid, name, id, host },
    status,
    reason: reason ?? null,
    missing,
    ...(error === undefined ? {} : { error: { code: error.code, message: error.message, retryable: error.retryable } }),
    sampledAt,
    tookMs,
  });
  const { keys } = params.schema;
  const members = params.cells.map((cell, i) => {
    const value =
      typeof cell === "bigint"
        ? cell
        : typeof cell === "number" && !Number.isFinite(cell)
          ? `"${cell}"`
          : JSON.stringify(cell);
    return `${JSON.stringify(keys[i])}:${value}`;
  });
  return `${head.slice(0, -1)},"params":{${members.join(",")}}}`;
}
