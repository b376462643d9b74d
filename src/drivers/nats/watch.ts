import { unknownDomain, unknownRecord, unreachableRecord } from "../../driver/missing-record.ts";
import { sameRecord } from "../../driver/same-record.ts";
import { isKnown, Selection } from "../../driver/selection.ts";
import { SweepTally } from "../../driver/tally.ts";
import type { VirstreamError } from "../../model/error.ts";
import { ALL_GROUPS } from "../../model/group.ts";
import type { DomainSelector, Query } from "../../model/query.ts";
import { type Domain, DomainStatsRecord, domainKey, INDEXES_PER_HOST } from "../../model/record.ts";
import type { Cadence, GapReason, WatchSink } from "../../model/watch.ts";
import type { Fleet, FleetListener } from "./fleet.ts";
import type { HostState } from "./host-state.ts";
import type { NatsStatus } from "./library.ts";

/** The last record that a watch reported of a domain, and when it reported this record, in ms on the steady clock. */
interface Reported {
  record: DomainStatsRecord;
  at: number;
}

/** What a watch has reported of a host. */
interface WatchedHost {
  domains: Map<string, Reported>;
  /** The start of the sweep whose records were delivered last, in ms since 1970. */
  startedAt: number;
  /** The number of ticks that were lost and are not reported as a `gap` yet; undefined: the number is not known. */
  skipped: number | undefined;
  /** The number of reconnections to NATS, `#connections`, when records of the host were last delivered. */
  connection: number;
}

/**
 * A watch of a fleet. It passes on the selected records of each tick of a host, but of at most one tick per interval of
 * the watch. So it delivers as often as the host publishes, or less often.
 */
export class FleetWatch implements FleetListener {
  readonly #fleet: Fleet;
  readonly #query: Query;
  readonly #cadence: Cadence;
  readonly #sink: WatchSink;
  readonly #owner: object;
  readonly #selection: Selection;
  readonly #hosts = new Map<HostState, WatchedHost>();
  /** The records of domains that the query names and no host has. */
  readonly #unknown = new Map<DomainSelector, DomainStatsRecord>();
  #isComplete = false;
  #connections = 0;
  #stopped = false;

  /** @throws VirstreamError `unsupported` for a query that published records cannot answer */
  constructor(fleet: Fleet, query: Query, cadence: Cadence, sink: WatchSink, owner: object) {
    this.#selection = new Selection(query, ALL_GROUPS);
    this.#fleet = fleet;
    this.#query = query;
    this.#cadence = cadence;
    this.#sink = sink;
    this.#owner = owner;
    fleet.listeners.add(this);
  }

  /** Called when the fleet is up to date. Delivers everything that was not delivered yet. */
  begin(): void {
    if (this.#stopped || this.#isComplete) return;
    this.#isComplete = true;
    for (const [state, error] of [...this.#fleet.degraded]) this.status(state, error);
    for (const state of [...this.#fleet.hosts.values()]) if (!this.#hosts.has(state)) this.tick(state);
    this.#reportUnknown();
    this.#sink.flush();
  }

  stop(): void {
    this.#stopped = true;
    this.#fleet.listeners.delete(this);
  }

  end(error: VirstreamError): void {
    if (this.#stopped) return;
    this.stop();
    this.#sink.end(error);
  }

  /** Reports a new state of the connection to NATS. */
  connection({ state, error }: NatsStatus): void {
    if (this.#stopped || state === "closed") return;
    if (state === "connected") this.#connections++;
    this.#sink.event({ type: "status", state, host: undefined, error });
    this.#sink.flush();
  }

  status({ host }: HostState, error: VirstreamError | undefined): void {
    if (this.#stopped || !this.#selection.hasHost(host)) return;
    this.#sink.event({ type: "status", state: error === undefined ? "connected" : "degraded", host, error });
    this.#sink.flush();
  }

  forgotten(state: HostState): void {
    const { host } = state;
    if (this.#stopped || !this.#selection.hasHost(host)) return;
    for (const { record } of this.#hosts.get(state)?.domains.values() ?? []) this.#sink.gone(record.domain);
    this.#hosts.delete(state);
    this.#sink.event({ type: "status", state: "removed", host, error: undefined });
    this.#reportUnknown();
    this.#sink.flush();
  }

  tick(state: HostState): void {
    const { tick, lost, host } = state;
    if (this.#stopped || tick === undefined || !this.#selection.hasHost(host)) return;
    let watched = this.#hosts.get(state);
    if (watched === undefined) {
      watched = { domains: new Map(), startedAt: Number.NEGATIVE_INFINITY, skipped: 0, connection: this.#connections };
      this.#hosts.set(state, watched);
    } else if (lost !== undefined) {
      watched.skipped = sum(watched.skipped, lost.skipped);
    }
    const { summary, records, intervalMs, overrun } = tick;
    if (summary === undefined) {
      // The host could not be swept. A `status` event of the host says why.
      watched.skipped = sum(watched.skipped, 1);
      return;
    }
    const { startedAt, tookMs } = summary;
    // If the host's clock was set back, `sinceMs` is negative, and the tick does not count as early.
    const sinceMs = startedAt - watched.startedAt;
    const isEarly = sinceMs >= 0 && sinceMs < this.#cadence.intervalMs - intervalMs / 2;
    if (this.#cadence.intervalMs > intervalMs && isEarly) return;
    watched.startedAt = startedAt;
    this.#reportLost(host, watched);
    const tally = new SweepTally(startedAt);
    const before = watched.domains;
    watched.domains = new Map();
    const now = performance.now();
    const fresh: DomainStatsRecord[] = [];
    for (const record of records) {
      const own = this.#selection.of(record);
      if (own === undefined) continue;
      const key = domainKey(own.domain);
      const known = before.get(key);
      const index = state.number * INDEXES_PER_HOST + own.index;
      // All records of the domain have the same Domain object, so that consumers recognize the domain without a search.
      const domain =
        known !== undefined && sameDomain(known.record.domain, own.domain) ? known.record.domain : own.domain;
      const whole = new DomainStatsRecord({ ...own, domain, index });
      fresh.push(whole);
      if (whole.status !== "gone") watched.domains.set(key, known ?? { record: whole, at: Number.NEGATIVE_INFINITY });
    }
    for (const [key, { record }] of before) if (!watched.domains.has(key)) this.#sink.gone(record.domain);
    tally.add(fresh);
    this.#reportUnknown();
    for (const record of fresh) this.#report(record, watched.domains.get(domainKey(record.domain)), now);
    this.#sink.event({ type: "sync", tick: 0, host, overrun, summary: tally.summary(tookMs) });
    this.#sink.flush();
  }

  #report(record: DomainStatsRecord, reported: Reported | undefined, now: number): void {
    const { mode, intervalMs, heartbeatMs } = this.#cadence;
    if (reported !== undefined) {
      const due = now + intervalMs - reported.at > heartbeatMs;
      if (mode === "on-change" && !due && sameRecord(reported.record, record)) return;
      reported.record = record;
      reported.at = now;
    }
    this.#sink.record(record);
    if (reported === undefined) this.#sink.gone(record.domain);
  }

  #reportLost(host: string, watched: WatchedHost): void {
    const { skipped } = watched;
    const reason: GapReason = watched.connection === this.#connections ? "source" : "reconnected";
    watched.skipped = 0;
    watched.connection = this.#connections;
    if (skipped !== 0) this.#sink.event({ type: "gap", reason, skipped, host });
  }

  /**
   * Reports each domain that the query names and that no host has, with one record. The record is `failed` if a host is
   * degraded, because that host may have the domain; otherwise it is `gone`. When a host has the domain later, the
   * Domain object of this record is reported as gone, because the host's records have another Domain object.
   */
  #reportUnknown(): void {
    const { domains } = this.#query;
    if (domains === undefined || !this.#isComplete) return;
    const uuids = new Set<string>();
    const names = new Set<string>();
    for (const watched of this.#hosts.values()) {
      for (const { record } of watched.domains.values()) {
        uuids.add(record.domain.uuid);
        names.add(record.domain.name);
      }
    }
    for (const selector of domains) {
      const known = isKnown(selector, uuids, names);
      const record = this.#unknown.get(selector);
      if (known && record !== undefined) {
        this.#unknown.delete(selector);
        this.#sink.gone(record.domain);
      } else if (!known && record === undefined) {
        const missing = this.#missing(selector, this.#unknown.size);
        this.#unknown.set(selector, missing);
        this.#sink.record(missing);
      }
    }
  }

  #missing(selector: DomainSelector, index: number): DomainStatsRecord {
    const [[, absent] = []] = this.#fleet.degraded;
    const owner = this.#owner;
    return absent === undefined
      ? unknownRecord(selector, { host: "", owner, where: "any host of the fleet" }, { sampledAt: Date.now(), index })
      : unreachableRecord(unknownDomain(selector, "", owner), index, absent);
  }
}

function sameDomain(one: Domain, other: Domain): boolean {
  return one.name === other.name && one.id === other.id;
}

function sum(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other;
}
