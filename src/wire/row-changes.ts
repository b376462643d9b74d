import { ParamType } from "../model/params.ts";
import type { DomainStatsRecord } from "../model/record.ts";

/** Records that could not be sent: their reader has a failed record in their place, and no change may refer to them. */
const unsendable = new WeakSet<DomainStatsRecord>();
let anyUnsendable = false;

/** Notes that a reader did not get this record. */
export function markUnsendable(record: DomainStatsRecord): void {
  unsendable.add(record);
  anyUnsendable = true;
}

/**
 * Whether a record may travel as its differences from the one before it: it is ok, of the same domain as it was, has the
 * same keys and the same texts, and no integer beyond 2^53. See also isExact.
 */
export function isChange(record: DomainStatsRecord, before: DomainStatsRecord): boolean {
  const { domain, params } = record;
  const known = before.domain;
  if (record.status !== "ok" || params.schema !== before.params.schema) return false;
  if (domain !== known) {
    if (domain.name !== known.name || domain.id !== known.id) return false;
    if (domain.host !== known.host || domain.uuid !== known.uuid) return false;
  }
  if (params.bigs !== undefined || before.params.bigs !== undefined) return false;
  if (anyUnsendable && unsendable.has(before)) return false;
  const { texts } = params;
  const others = before.params.texts;
  if (texts !== others) for (let i = 0; i < texts.length; i++) if (texts[i] !== others[i]) return false;
  return true;
}

/** Whether all differences between two records' integers are exact: those beyond 2^53 may not be. */
export function isExact({ params }: DomainStatsRecord, before: DomainStatsRecord): boolean {
  return params.doubles.every(
    (double, i) =>
      params.schema.types[i] === ParamType.double || Number.isSafeInteger(double - before.params.doubles[i]!),
  );
}
