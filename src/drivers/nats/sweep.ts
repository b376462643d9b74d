import type { SweepContext } from "../../driver/driver.ts";
import { entryOf } from "../../driver/memo.ts";
import { unknownDomain, unknownRecord, unreachableRecord } from "../../driver/missing-record.ts";
import { Queue } from "../../driver/queue.ts";
import { Selection } from "../../driver/selection.ts";
import { VirstreamError } from "../../model/error.ts";
import { ALL_GROUPS } from "../../model/group.ts";
import { type DomainSelector, type Query, selectorName } from "../../model/query.ts";
import { type Domain, DomainStatsRecord, domainKey, INDEXES_PER_HOST } from "../../model/record.ts";
import { type NatsSession, readBucket } from "./bucket.ts";
import type { Fleet } from "./fleet.ts";
import type { HostState } from "./host-state.ts";

/** The source of the hosts' states for a sweep. */
export interface SweepSource {
  readonly session: NatsSession;
  readonly fleet: Fleet;
  readonly owner: object;
  /** True if a watch keeps the fleet up to date; otherwise the sweep reads the bucket. */
  readonly isFollowed: boolean;
}

/** Sweeps a fleet: yields, for each domain, the newest record that the domain's host has published. */
export async function* sweepFleet(
  source: SweepSource,
  query: Query,
  context: SweepContext,
): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
  const selection = new Selection(query, ALL_GROUPS);
  const answers = new Map<HostState, DomainStatsRecord[]>();
  let count = 0;
  let waiting: DomainStatsRecord[] | undefined;
  for await (const state of statesOf(source, query, context.signal)) {
    if (!selection.hasHost(state.host) || answers.has(state)) continue;
    const records = answerOf(state, selection, context);
    answers.set(state, query.domains === undefined ? [] : records);
    if (query.domains !== undefined) continue;
    count += records.length;
    // Yields the records of a host only when the next host's records are known. So the consumer learns the number of
    // domains before it gets the last records.
    if (waiting !== undefined && waiting.length > 0) yield waiting;
    waiting = records;
  }
  if (context.signal.aborted) return;
  const isAbsent = reportUnheard(source, selection, answers, context);
  const rest =
    query.domains === undefined
      ? (waiting ?? [])
      : named(source, query.domains, [...answers.values()].flat(), isAbsent);
  context.expect(query.domains === undefined ? count : rest.length);
  if (rest.length > 0) yield rest;
}

/** Yields each host as soon as its newest state is known. A host may come more than once. */
async function* statesOf(
  { session, fleet, isFollowed }: SweepSource,
  { deadlineMs }: Query,
  signal: AbortSignal,
): AsyncGenerator<HostState, void, void> {
  if (isFollowed) {
    yield* fleet.hosts.values();
    return;
  }
  const left = new AbortController();
  const queue = new Queue<HostState>();
  const reading = { signal: AbortSignal.any([signal, left.signal]), patienceMs: deadlineMs };
  readBucket(session, fleet, { ...reading, read: (state) => queue.push(state) }).then(
    () => queue.end(),
    (error: unknown) => queue.end(error),
  );
  try {
    for await (const states of queue) yield* states;
  } finally {
    left.abort();
  }
}

/** The records of one host. While the host's state is not known, all its records are failed. */
function answerOf(state: HostState, selection: Selection, context: SweepContext): DomainStatsRecord[] {
  const { tick, host, number } = state;
  const now = performance.now();
  const error = state.errorAt(now);
  const conflict = error ?? state.conflictAt(now);
  if (conflict !== undefined) context.absent?.({ host, error: conflict });
  const records: DomainStatsRecord[] = [];
  for (const record of tick?.records ?? []) {
    const own = selection.of(record);
    if (own === undefined) continue;
    const index = number * INDEXES_PER_HOST + own.index;
    records.push(
      error === undefined ? new DomainStatsRecord({ ...own, index }) : unreachableRecord(own.domain, index, error),
    );
  }
  return records;
}

/**
 * Reports as absent the hosts that the URI names and that have published nothing. Returns the error of one absent host;
 * undefined if no host is absent.
 */
function reportUnheard(
  { session, fleet }: SweepSource,
  selection: Selection,
  answers: ReadonlyMap<HostState, unknown>,
  context: SweepContext,
): VirstreamError | undefined {
  let absent: VirstreamError | undefined;
  for (const state of answers.keys()) absent ??= state.errorAt(performance.now());
  for (const host of session.named ?? []) {
    if (!selection.hasHost(host) || fleet.hosts.get(host)?.tick !== undefined) continue;
    const error = new VirstreamError("connection-lost", `the host ${host} has published nothing to ${session.uri}`);
    context.absent?.({ host, error });
    absent ??= error;
  }
  return absent;
}

/**
 * Returns one record for each domain that the query names. If the query gives the domain's name, and several hosts have
 * a domain of this name, it returns one record for each of these hosts.
 */
function named(
  { owner, session }: SweepSource,
  selectors: readonly DomainSelector[],
  records: readonly DomainStatsRecord[],
  absent: VirstreamError | undefined,
): DomainStatsRecord[] {
  const byUuid = groupedBy(records, ({ uuid }) => uuid);
  const byName = groupedBy(records, ({ name }) => name);
  const chosen = new Set<string>();
  const answers: DomainStatsRecord[] = [];
  for (const [ordinal, selector] of selectors.entries()) {
    const ofUuid = "uuid" in selector ? byUuid.get(selector.uuid) : undefined;
    const found = ofUuid === undefined ? (byName.get(selectorName(selector)) ?? []) : [newest(ofUuid)];
    for (const [place, record] of found.entries()) {
      const key = domainKey(record.domain);
      if (chosen.has(key)) continue;
      chosen.add(key);
      answers.push(new DomainStatsRecord({ ...record, index: ordinal * INDEXES_PER_HOST + place }));
    }
    if (found.length > 0) continue;
    const index = ordinal * INDEXES_PER_HOST;
    answers.push(
      absent === undefined
        ? unknownRecord(selector, { host: "", owner, where: session.uri }, { sampledAt: Date.now(), index })
        : unreachableRecord(unknownDomain(selector, "", owner), index, absent),
    );
  }
  return answers;
}

function groupedBy(
  records: readonly DomainStatsRecord[],
  keyOf: (domain: Domain) => string,
): ReadonlyMap<string, DomainStatsRecord[]> {
  const groups = new Map<string, DomainStatsRecord[]>();
  for (const record of records) entryOf(groups, keyOf(record.domain), () => []).push(record);
  return groups;
}

/**
 * Chooses among the records of several hosts for one domain, as during a migration: the record of the host on which the
 * domain runs, otherwise the newest. It chooses a `failed` record only if all are failed.
 */
function newest(records: readonly DomainStatsRecord[]): DomainStatsRecord {
  const rank = ({ status, domain }: DomainStatsRecord): number => (status === "failed" ? 0 : domain.id >= 0 ? 2 : 1);
  return records.reduce((one, other) =>
    (rank(other) - rank(one) || other.sampledAt - one.sampledAt) > 0 ? other : one,
  );
}
