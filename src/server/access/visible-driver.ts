import type { Driver, SweepContext } from "../../driver/driver.ts";
import { matcherOf } from "../../driver/matcher.ts";
import { unknownDomain, unknownRecord } from "../../driver/missing-record.ts";
import { ALL_GROUPS, groupMask, groupNames } from "../../model/group.ts";
import { type DomainSelector, distinctSelectors, type Query } from "../../model/query.ts";
import { type Absent, DomainStatsRecord, type Recorded } from "../../model/record.ts";
import { TypedParams } from "../../model/typed-params.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { Sampling } from "../../sampling/sampling.ts";
import { SelectorTable } from "../../sampling/selector-table.ts";

/** The visible domains: those of a list, which may be empty, or those whose names match one of the patterns. */
export type Visible = { readonly domains: readonly DomainSelector[] } | { readonly names: readonly string[] };

/** The meaning of a query's selectors for a client that may see some domains only. */
interface Resolution {
  /**
   * Selectors of visible domains for the inner driver. For a domain in the restriction's list, this is the list's own
   * selector.
   */
  readonly visible: readonly DomainSelector[];
  /** The selectors of domains that are hidden or do not exist; the client cannot distinguish the two. */
  readonly unknown: readonly DomainSelector[];
  /**
   * The record of a visible domain whose uuid or name could not be read; undefined if there is none. Each selector in
   * `unknown` may mean this domain.
   */
  readonly unidentified: DomainStatsRecord | undefined;
}

/**
 * A driver that shows only a list of domains, or the domains whose names match patterns. All other domains behave as if
 * they did not exist.
 *
 * It queries the inner driver only for visible domains: with the selectors of the list or with the patterns, or with
 * uuids that such a query has found. So neither a record nor the time of an answer reveals other domains, and the
 * hypervisor is asked only about visible domains. This class itself answers all other selectors of a query, in the same
 * way for hidden and for missing domains. If a query names a domain by name and the list has its uuid, or the reverse,
 * this class first queries the identities of the visible domains, which needs no monitor. It does the same for a query
 * whose patterns the inner driver cannot combine with the restriction, and for a query that names domains if patterns
 * decide which domains are visible.
 */
export class VisibleDriver implements Driver {
  readonly watch?: NonNullable<Driver["watch"]>;
  readonly #inner: Driver;
  readonly #restriction: Visible;
  /** The selectors of the visible domains; empty if patterns for names decide which domains are visible. */
  readonly #list: readonly DomainSelector[];
  readonly #visible: SelectorTable<DomainSelector>;
  /** True if a domain with this name may be visible. */
  readonly #mayShow: (name: string) => boolean;
  readonly #isEmpty: boolean;

  constructor(inner: Driver, restriction: Visible) {
    this.#inner = inner;
    this.#restriction = restriction;
    this.#list = "domains" in restriction ? restriction.domains : [];
    this.#mayShow = matcherOf("names" in restriction ? restriction.names : undefined);
    this.#visible = new SelectorTable(this.#list, (selector) => selector);
    this.#isEmpty = "domains" in restriction && restriction.domains.length === 0;
    // A driver accepts no empty list of domains. So for an empty list there is no `watch`, and the sampler sweeps this
    // driver.
    if (inner.watch !== undefined && !this.#isEmpty) {
      this.watch = (query, cadence, sink) => this.#watch(query, cadence, sink);
    }
  }

  get uri(): string {
    return this.#inner.uri;
  }

  get hypervisor(): string {
    return this.#inner.hypervisor;
  }

  get host(): string {
    return this.#inner.host;
  }

  get permittedGroups(): readonly string[] | undefined {
    return this.#inner.permittedGroups;
  }

  get recorded(): Recorded | undefined {
    return this.#inner.recorded;
  }

  refresh(): Promise<void> {
    return this.#inner.refresh?.() ?? Promise.resolve();
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    if (query.domains !== undefined) return this.#sweepNamed(query, query.domains, context);
    return this.#isDirect(query) ? this.#sweepAll(query, context) : this.#sweepMatching(query, context);
  }

  /** Does nothing: the inner driver has another owner. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /**
   * True if the inner driver itself can combine the restriction with the query's patterns. It cannot if both have
   * patterns for names, because a query has only one such list. It also cannot combine patterns with a list of domains,
   * because a query has one or the other.
   */
  #isDirect({ names, hosts }: Query): boolean {
    return names === undefined && (hosts === undefined || "names" in this.#restriction);
  }

  /**
   * A sweep of all visible domains. A missing domain of the list has no record, because the query did not name it. So
   * the number of records is known only at the end, and `expect` is not called.
   */
  async *#sweepAll(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    if (this.#isEmpty) return;
    const inner = { ...query, ...this.#restriction };
    for await (const records of this.#inner.sweep(inner, { ...context, expect: () => {} })) {
      const there = records.filter(({ reason }) => reason !== "unknown");
      if (there.length > 0) yield there;
    }
  }

  /**
   * A sweep of the visible domains that match a query's patterns. As in `#sweepAll`, a missing domain has no record.
   */
  async *#sweepMatching(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    if (this.#isEmpty) return;
    const { names, hosts, ...rest } = query;
    const [isNamed, isOfHost] = [matcherOf(names), matcherOf(hosts)];
    // A visible domain whose name could not be read may match, so it is selected.
    const selects = ({ domain: { name, host }, reason }: DomainStatsRecord): boolean =>
      reason !== "unknown" && (name === "" || (this.#mayShow(name) && isNamed(name))) && isOfHost(host);
    const began = performance.now();
    const absent: Absent[] = [];
    const identified = await this.#identify(query, this.#restriction, context.signal, absent);
    const chosen = identified.filter((record) => selects(record) && record.domain.uuid !== NIL_UUID);
    if (chosen.length === 0) for (const host of absent) context.absent?.(host);
    if (chosen.length === 0 || context.signal.aborted) return;
    const domains = distinctSelectors(chosen.map(({ domain }) => ({ uuid: domain.uuid })));
    const inner = { ...rest, deadlineMs: restOf(query, began), domains };
    for await (const records of this.#inner.sweep(inner, { ...context, expect: () => {} })) {
      const matching = records.filter(selects);
      if (matching.length > 0) yield matching;
    }
  }

  async *#sweepNamed(
    query: Query,
    named: readonly DomainSelector[],
    { expect, ...rest }: SweepContext,
  ): AsyncGenerator<readonly DomainStatsRecord[]> {
    const { signal } = rest;
    const began = performance.now();
    const resolution = await this.#resolve(query, named, signal);
    if (signal.aborted) return;
    const { visible, unknown } = resolution;
    if (visible.length === 0) expect(unknown.length);
    if (unknown.length > 0) yield this.#unknown(resolution, query);
    if (visible.length === 0) return;
    const context: SweepContext = { ...rest, expect: (domains) => expect(domains + unknown.length) };
    const inner = { ...query, deadlineMs: restOf(query, began), domains: visible };
    for await (const records of this.#inner.sweep(inner, context)) {
      // A domain may have been renamed since it was identified, and may be hidden now.
      yield records.map((record) => (this.#shows(record) ? record : this.#hidden(record)));
    }
  }

  /**
   * A watch for an inner driver that has its own `watch`. If the query to the inner driver names the domains of the
   * list, every sweep has a record for each missing domain. But a client that queries all domains must get only one
   * `gone` when a domain leaves. So unnamedSink turns each of these records into a `gone`, and the feed behind the sink
   * ignores a `gone` of a domain that it does not know.
   */
  #watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const inner = this.#inner;
    if (query.domains === undefined && this.#isDirect(query)) {
      const listed = "domains" in this.#restriction;
      return inner.watch!({ ...query, ...this.#restriction }, cadence, listed ? unnamedSink(sink) : sink);
    }
    const own = query.domains?.flatMap((selector) => this.#visible.get(selector) ?? []);
    if (own !== undefined && own.length === query.domains!.length) {
      return inner.watch!({ ...query, domains: own }, cadence, sink);
    }
    // A query's patterns, and its selectors that are not in the list, may mean different domains at each sweep. So each
    // sweep resolves them again.
    const source = { host: this.host, sweep: this.sweep.bind(this) };
    return new Sampling(source).push(query, cadence, sink);
  }

  async #resolve(query: Query, named: readonly DomainSelector[], signal: AbortSignal): Promise<Resolution> {
    const others = named.filter((selector) => this.#visible.get(selector) === undefined);
    const byName = others.some((selector) => !("uuid" in selector));
    const byUuid = others.some((selector) => "uuid" in selector);
    const candidates: Visible =
      "names" in this.#restriction
        ? this.#restriction
        : { domains: this.#list.filter((selector) => ("uuid" in selector ? byName : byUuid)) };
    const needed = others.length > 0 && !("domains" in candidates && candidates.domains.length === 0);
    const meant = new SelectorTable<{ own: DomainSelector | undefined }>(others, () => ({ own: undefined }));
    let unidentified: DomainStatsRecord | undefined;
    for (const record of needed ? await this.#identify(query, candidates, signal) : []) {
      const { domain, reason } = record;
      if (reason === "unknown") continue;
      if (domain.uuid === NIL_UUID || domain.name === "") unidentified ??= record;
      else for (const other of meant.of(domain)) other.own = this.#visible.of(domain)[0] ?? { uuid: domain.uuid };
    }
    const visible: DomainSelector[] = [];
    const unknown: DomainSelector[] = [];
    for (const selector of named) {
      const own = this.#visible.get(selector) ?? meant.get(selector)?.own;
      if (own === undefined) unknown.push(selector);
      else visible.push(own);
    }
    return { visible: visible.length === 0 ? [] : distinctSelectors(visible), unknown, unidentified };
  }

  /**
   * Queries the inner driver for these domains, and returns records that have their uuids and names. This query needs
   * no monitor, so a frozen guest cannot delay it.
   */
  async #identify(
    { deadlineMs, at }: Query,
    visible: Visible,
    signal: AbortSignal,
    absent: Absent[] = [],
  ): Promise<DomainStatsRecord[]> {
    const moment = at !== undefined && { at };
    const query: Query = {
      groups: groupMask(["state"]),
      flags: 0,
      deadlineMs,
      domains: undefined,
      ...moment,
      ...visible,
    };
    const found: DomainStatsRecord[] = [];
    const context: SweepContext = { signal, expect: () => {}, absent: (host) => void absent.push(host) };
    for await (const records of this.#inner.sweep(query, context)) found.push(...records);
    return found;
  }

  #shows({ domain, reason }: DomainStatsRecord): boolean {
    return reason === "unknown" || domain.name === "" || this.#mayShow(domain.name);
  }

  /**
   * The record that the client gets for a domain that has become hidden since it was identified. It is like the record
   * of a domain that does not exist.
   */
  #hidden({ domain, index, sampledAt }: DomainStatsRecord): DomainStatsRecord {
    return unknownRecord({ uuid: domain.uuid }, { host: this.host, owner: this.#inner }, { index, sampledAt });
  }

  /**
   * The records of unknown domains, in the form that drivers use. Their indexes follow those of the visible domains. If
   * a visible domain could not be identified, the records have its failure, because each of them may mean that domain.
   */
  #unknown({ visible, unknown, unidentified }: Resolution, query: Query): DomainStatsRecord[] {
    const sampledAt = Date.now();
    const index = (i: number): number => visible.length + i;
    const [host, owner] = [this.host, this.#inner];
    if (unidentified === undefined)
      return unknown.map((selector, i) => unknownRecord(selector, { host, owner }, { sampledAt, index: index(i) }));
    const { reason, error } = unidentified;
    const missing = groupNames(query.groups === 0 ? ALL_GROUPS : query.groups);
    const shared = {
      params: TypedParams.EMPTY,
      status: "failed",
      reason,
      missing,
      error,
      sampledAt,
      tookMs: 0,
    } as const;
    return unknown.map((selector, i) => {
      return new DomainStatsRecord({ ...shared, domain: unknownDomain(selector, host, owner), index: index(i) });
    });
  }
}

/** The remaining part of a query's deadline, in ms. */
function restOf({ deadlineMs }: Query, began: number): number {
  return Math.max(1, Math.round(deadlineMs - (performance.now() - began)));
}

/**
 * Returns a sink for the events of a watch of named domains. It gives them to `sink` as the events of a watch of all
 * domains, which has no records of missing domains.
 */
function unnamedSink(sink: WatchSink): WatchSink {
  return {
    record: (record) => {
      // Every sweep has this record again. But a feed ignores a `gone` of a domain that the feed does not know.
      if (record.status === "gone") sink.gone(record.domain);
      else sink.record(record);
    },
    gone: (domain) => sink.gone(domain),
    event: (event) => {
      if (event.type === "sync") {
        const { domains, gone } = event.summary;
        sink.event({ ...event, summary: { ...event.summary, domains: domains - gone, gone: 0 } });
      } else {
        sink.event(event);
      }
    },
    flush: () => sink.flush(),
    end: (error) => sink.end(error),
  };
}
