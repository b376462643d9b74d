import type { Driver, SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { ALL_GROUPS, groupMask, groupNames } from "../model/group.ts";
import { TypedParams } from "../model/params.ts";
import { type DomainSelector, distinctSelectors, type Query } from "../model/query.ts";
import { Domain, DomainStatsRecord } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchSink } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";
import { identityOf, SelectorTable } from "../sampling/selector-table.ts";

/** What the selectors of a query resolve to for a client that may see some domains only. */
interface Resolution {
  /** The list's selectors of the visible domains: the driver is asked for these. */
  readonly visible: readonly DomainSelector[];
  /** The selectors of domains that are hidden, or do not exist: the client cannot know which. */
  readonly unknown: readonly DomainSelector[];
  /** A visible domain that could not be identified: while there is one, an unknown selector may mean it. */
  readonly unidentified: DomainStatsRecord | undefined;
}

/**
 * A driver, narrowed to a list of domains: all others are as if they did not exist.
 *
 * The driver behind it is asked only for the domains of the list, by the selectors of the list. So nothing of the others
 * can leak, neither in a record nor by how long an answer takes, and a narrow view costs the hypervisor only what it shows.
 * All other selectors are answered here: hidden and missing are the same case. A query may select a domain of the list by
 * its name where the list has its uuid, or the reverse: then the domains of the list are asked for their identities first,
 * which needs no monitor.
 */
export class VisibleDriver implements Driver {
  readonly watch?: NonNullable<Driver["watch"]>;
  readonly #inner: Driver;
  readonly #list: readonly DomainSelector[];
  readonly #visible: SelectorTable<DomainSelector>;
  /** How many of the list were not there in the last sweep of all. */
  #absent = 0;

  /** @param list the domains that are visible; not empty */
  constructor(inner: Driver, list: readonly DomainSelector[]) {
    this.#inner = inner;
    this.#list = list;
    this.#visible = new SelectorTable(list, (selector) => selector);
    if (inner.watch !== undefined) this.watch = (query, cadence, sink) => this.#watch(query, cadence, sink);
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

  get hosts(): readonly string[] {
    return this.#inner.hosts ?? [];
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return query.domains === undefined
      ? this.#sweepAll(query, context)
      : this.#sweepNamed(query, query.domains, context);
  }

  /** Does nothing: the driver behind it has another owner. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** A sweep of the whole list. A domain that is missing has no record: the query did not name it. */
  async *#sweepAll(query: Query, { signal, expect }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    let absent = 0;
    const context: SweepContext = {
      signal,
      // How many are missing shows only at the end; until then it is taken from the sweep before.
      expect: (domains) => expect(Math.max(0, domains - this.#absent)),
    };
    for await (const records of this.#inner.sweep({ ...query, domains: this.#list }, context)) {
      const there = records.filter(({ reason }) => reason !== "unknown");
      absent += records.length - there.length;
      if (there.length > 0) yield there;
    }
    if (!signal.aborted) this.#absent = absent;
  }

  async *#sweepNamed(
    query: Query,
    named: readonly DomainSelector[],
    { signal, expect }: SweepContext,
  ): AsyncGenerator<readonly DomainStatsRecord[]> {
    const began = performance.now();
    const resolution = await this.#resolve(query, named, signal);
    if (signal.aborted) return;
    const { visible, unknown } = resolution;
    if (visible.length === 0) expect(unknown.length);
    if (unknown.length > 0) yield this.#unknown(resolution, query);
    if (visible.length === 0) return;
    const deadlineMs =
      visible === named ? query.deadlineMs : Math.max(1, Math.round(query.deadlineMs - (performance.now() - began)));
    const context: SweepContext = { signal, expect: (domains) => expect(domains + unknown.length) };
    yield* this.#inner.sweep({ ...query, deadlineMs, domains: visible }, context);
  }

  /**
   * A watch by a driver that watches by itself. Asked for the domains of the list, it has a record in every sweep for each
   * that is missing; a client that asks for all domains gets only a `gone` of those that leave.
   */
  #watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const inner = this.#inner;
    if (query.domains === undefined) {
      return inner.watch!({ ...query, domains: this.#list }, cadence, new UnnamedSink(sink));
    }
    if (query.domains.every((selector) => this.#visible.get(selector) !== undefined))
      return inner.watch!(query, cadence, sink);
    // Which domains such selectors mean may change from sweep to sweep, so they are resolved in each.
    const { uri, hypervisor, host } = this;
    const sweep = this.sweep.bind(this);
    const close = this.close.bind(this);
    return new Sampling({ uri, hypervisor, host, sweep, close }).push(query, cadence, sink);
  }

  async #resolve(query: Query, named: readonly DomainSelector[], signal: AbortSignal): Promise<Resolution> {
    const others = named.filter((selector) => this.#visible.get(selector) === undefined);
    if (others.length === 0) return { visible: named, unknown: [], unidentified: undefined };
    const byName = others.some((selector) => "name" in selector);
    const byUuid = others.some((selector) => "uuid" in selector);
    const candidates = this.#list.filter((selector) => ("uuid" in selector ? byName : byUuid));
    const meant = new SelectorTable<{ own: DomainSelector | undefined }>(others, () => ({ own: undefined }));
    let unidentified: DomainStatsRecord | undefined;
    for (const record of candidates.length === 0 ? [] : await this.#identify(query, candidates, signal)) {
      const { domain, reason } = record;
      if (reason === "unknown") continue;
      if (domain.uuid === NIL_UUID || domain.name === "") unidentified ??= record;
      else for (const other of meant.of(domain)) other.own = this.#visible.of(domain)[0];
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

  /** The records of these domains, with nothing that a frozen guest could hold up: they say uuid and name. */
  async #identify(
    { deadlineMs }: Query,
    domains: readonly DomainSelector[],
    signal: AbortSignal,
  ): Promise<DomainStatsRecord[]> {
    const query: Query = { groups: groupMask(["state"]), flags: 0, deadlineMs, domains };
    const found: DomainStatsRecord[] = [];
    for await (const records of this.#inner.sweep(query, { signal, expect: () => {} })) found.push(...records);
    return found;
  }

  /** The records of unknown domains, as drivers make them; their places follow those of the visible ones. */
  #unknown({ visible, unknown, unidentified }: Resolution, query: Query): DomainStatsRecord[] {
    const sampledAt = Date.now();
    return unknown.map((selector, i) => {
      const { uuid, name } = identityOf(selector);
      const domain = new Domain(uuid, name, -1, this.host, this.#inner);
      const rest = { domain, params: TypedParams.EMPTY, sampledAt, tookMs: 0, index: visible.length + i };
      if (unidentified !== undefined) {
        const { reason, error } = unidentified;
        const missing = groupNames(query.groups === 0 ? ALL_GROUPS : query.groups);
        return new DomainStatsRecord({ ...rest, status: "failed", reason, missing, error });
      }
      const named = "uuid" in selector ? selector.uuid : JSON.stringify(selector.name);
      const error = new VirstreamError("unknown-domain", `there is no domain ${named} on ${this.host}`);
      return new DomainStatsRecord({ ...rest, status: "gone", reason: "unknown", error });
    });
  }
}

/** Turns the events of a watch of named domains into those of a watch of all: nothing is reported of missing domains. */
class UnnamedSink implements WatchSink {
  readonly #sink: WatchSink;

  constructor(sink: WatchSink) {
    this.#sink = sink;
  }

  record(record: DomainStatsRecord): void {
    // A feed ignores it where it did not know the domain.
    if (record.status === "gone") this.#sink.gone(record.domain);
    else this.#sink.record(record);
  }

  gone(domain: Domain): void {
    this.#sink.gone(domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type !== "sync" || event.summary.gone === 0) {
      this.#sink.event(event);
      return;
    }
    const { domains, gone } = event.summary;
    this.#sink.event({ ...event, summary: { ...event.summary, domains: domains - gone, gone: 0 } });
  }

  flush(): void {
    this.#sink.flush();
  }

  end(error: VirstreamError): void {
    this.#sink.end(error);
  }
}
