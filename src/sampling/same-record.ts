import type { DomainStatsRecord } from "../model/record.ts";

/**
 * Whether nothing of a domain has changed but the times: who it is, its place, what came of asking, every parameter. A
 * nan equals a nan: it would otherwise change for ever.
 */
export function sameRecord(one: DomainStatsRecord, other: DomainStatsRecord): boolean {
  if (one.status !== other.status || one.reason !== other.reason || one.index !== other.index) return false;
  if (one.error?.code !== other.error?.code || one.error?.message !== other.error?.message) return false;
  if (one.domain.name !== other.domain.name || one.domain.id !== other.domain.id) return false;
  if (one.missing.length !== other.missing.length) return false;
  if (!one.missing.every((group, i) => group === other.missing[i])) return false;
  return sameParameters(one, other);
}

function sameParameters({ params: one }: DomainStatsRecord, { params: other }: DomainStatsRecord): boolean {
  if (one.cells.length !== other.cells.length) return false;
  for (let i = 0; i < one.cells.length; i++) {
    const cell = one.cells[i]!;
    const same = other.cells[i]!;
    if (cell !== same && !(Number.isNaN(cell) && Number.isNaN(same))) return false;
  }
  // Shapes share a schema by identity, mostly.
  if (one.schema === other.schema) return true;
  return one.schema.keys.every(
    (key, i) => key === other.schema.keys[i] && one.schema.types[i] === other.schema.types[i],
  );
}
