import type { SweepSummary } from "../model/record.ts";
import { malformed, mapOf, type WireValue } from "./encoding.ts";

/** A summary as it travels. */
export function summaryToWire(summary: SweepSummary | undefined): WireValue {
  if (summary === undefined) return null;
  const { domains, ok, partial, failed, gone, startedAt, tookMs } = summary;
  return { domains, ok, partial, failed, gone, startedAt, tookMs };
}

/** A summary from the wire; undefined for nil. */
export function summaryFromWire(value: WireValue): SweepSummary | undefined {
  if (value === null) return undefined;
  const map = mapOf(value);
  const member = (name: string): number => {
    const number = map[name];
    if (typeof number !== "number") throw malformed(`a summary has no ${name}`);
    return number;
  };
  return {
    domains: member("domains"),
    ok: member("ok"),
    partial: member("partial"),
    failed: member("failed"),
    gone: member("gone"),
    startedAt: member("startedAt"),
    tookMs: member("tookMs"),
  };
}
