import type { DomainStatsRecord } from "../model/record.ts";
import { hasShape } from "../model/schema-table.ts";
import type { TypedParams } from "../model/typed-params.ts";

/**
 * True if two records of a domain have the same content: identity, status, error, and every parameter. Their times and
 * their `index` do not count as content: when a domain is defined or undefined, the domains after it move in the
 * listing. NaN equals NaN, because otherwise it would count as a change in every sweep. The processor time of a domain
 * that does not run does not count either: for such a domain, a user's own libvirtd reports the processor time of
 * libvirtd's own process, which always rises.
 */
export function sameRecord(one: DomainStatsRecord, other: DomainStatsRecord): boolean {
  if (one.status !== other.status || one.reason !== other.reason) return false;
  if (one.error?.code !== other.error?.code || one.error?.message !== other.error?.message) return false;
  if (one.domain.name !== other.domain.name || one.domain.id !== other.domain.id) return false;
  if (one.missing.length !== other.missing.length) return false;
  if (!one.missing.every((group, i) => group === other.missing[i])) return false;
  return sameParameters(one, other);
}

function sameParameters(record: DomainStatsRecord, { params: other }: DomainStatsRecord): boolean {
  const one = record.params;
  const { doubles, texts } = one;
  if (doubles.length !== other.doubles.length || texts.length !== other.texts.length) return false;
  for (let i = 0; i < doubles.length; i++) {
    const double = doubles[i]!;
    const same = other.doubles[i]!;
    if (double !== same && !(Number.isNaN(double) && Number.isNaN(same)) && isContent(record, i)) return false;
  }
  if (texts !== other.texts) {
    for (let i = 0; i < texts.length; i++) if (texts[i] !== other.texts[i]) return false;
  }
  return sameBigs(record, other.bigs) && hasShape(one.schema, other.schema.keys, other.schema.types);
}

/** Compares the integers beyond 2^53, where different integers can become the same double. */
function sameBigs(record: DomainStatsRecord, other: TypedParams["bigs"]): boolean {
  const one = record.params.bigs;
  if (one === undefined || other === undefined) return one === other;
  if (one.size !== other.size) return false;
  for (const [position, value] of one) {
    if (other.get(position) !== value && isContent(record, position)) return false;
  }
  return true;
}

function isContent({ domain, params }: DomainStatsRecord, position: number): boolean {
  return domain.id >= 0 || !params.schema.keys[position]!.startsWith("cpu.");
}
