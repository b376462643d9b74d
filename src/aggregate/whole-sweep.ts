import { unreachableRecord } from "../driver/missing-record.ts";
import { DomainMap } from "../model/domain-map.ts";
import type { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { type AggregateSweepOptions, answersOf } from "./answers.ts";
import { selectorOf } from "./known-domains.ts";
import type { Member } from "./member.ts";

interface Part {
  /**
   * The domains of this host that had a record in this sweep. `Member.known` cannot show this: another sweep may find
   * more domains before this sweep ends.
   */
  readonly delivered: Domain[];
  records: number;
  /**
   * One more than the greatest index of the host's records in this sweep; 0 when the host has no record in this sweep.
   */
  nextIndex: number;
}

/**
 * A sweep of all domains of all hosts, or of the domains that pass the query's filters. Records come in the order in
 * which they are ready. Each domain that an unreachable host had when it last answered gets a failed record, so that no
 * reader takes it for gone.
 */
export async function* wholeSweep(
  options: AggregateSweepOptions,
): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
  const { members, context, ownership } = options;
  const parts = new Map(members.map((member): [Member, Part] => [member, { delivered: [], records: 0, nextIndex: 0 }]));
  const sizes = new Map<Member, number>();
  /** The total number of domains is known once the number of every host's domains is known. */
  const expect = (member: Member, domains: number): void => {
    sizes.set(member, domains);
    if (sizes.size === members.length) context.expect([...sizes.values()].reduce((all, size) => all + size, 0));
  };
  if (members.length === 0) context.expect(0);
  let yielded = false;
  let unreachableHosts = 0;
  for await (const { member, records, ended, unreachable } of answersOf(options, expect)) {
    const part = parts.get(member)!;
    if (unreachable !== undefined) context.absent?.({ host: member.name, error: unreachable });
    for (const { domain, index } of records) {
      part.delivered.push(domain);
      part.nextIndex = Math.max(part.nextIndex, index + 1);
    }
    const owned =
      unreachable === undefined
        ? records.map((record) => ownership.record(record, member.number))
        : failedRecords(options, member, part, unreachable);
    part.records += owned.length;
    yielded ||= owned.length > 0;
    if (owned.length > 0) yield owned;
    if (unreachable !== undefined && ++unreachableHosts === members.length && !yielded) throw unreachable;
    if (ended && !sizes.has(member)) expect(member, part.records);
  }
}

/** Failed records for the domains that an unreachable host had and that have no record in this sweep. */
function failedRecords(
  { query, ownership }: AggregateSweepOptions,
  member: Member,
  { delivered, nextIndex }: Part,
  error: VirstreamError,
): DomainStatsRecord[] {
  const answered = new DomainMap<true>();
  for (const domain of delivered) answered.set(domain, true);
  const selects = selectorOf(member.queryFor(query));
  const missing = [...member.known].filter(({ domain }) => selects(domain) && !answered.get(domain));
  return missing.map(({ domain, index }, i) => {
    // If this sweep has records of the host, an index of the last sweep may belong to another domain now. So the failed
    // records get the indexes after those of this sweep.
    const free = ownership.index(nextIndex === 0 ? index : nextIndex + i, member.number);
    return unreachableRecord(ownership.domain(domain, member.number), free, error);
  });
}
