import type { Driver, SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { ALL_GROUPS, groupMask, groupNames } from "../model/group.ts";
import { TypedParams } from "../model/params.ts";
import { type DomainSelector, distinctSelectors, type Query } from "../model/query.ts";
import { Domain, DomainStatsRecord } from "../model/record.ts";
import { NIL_UUID } from "../model/uuid.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchSink } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";

/** What the selectors of a query come to for somebody who may see some domains only. */
interface Resolution {
  /** What the driver is asked for. */
  readonly visible: readonly DomainSelector[];
  /** What there is not, as far as the asker can know. */
  readonly unknown: readonly DomainSelector[];
  /** One of the visible domains that could not be identified: then nobody can say that the unknown ones are none of them. */
  readonly unidentified: DomainStatsRecord | undefined;
}

/**
 * A driver, narrowed to a list of domains: all others are as if they did not exist.
 *
 * The driver behind it is never asked for anything but the domains of the list, by the selectors of the list. So nothing
 * of the others can leak, neither in a record nor by how long an answer takes, and a narrow view costs the hypervisor
 * only what it shows. Whatever else is named is answered here, and hidden or not there is the same case. A domain of
 * the list that is named otherwise than in the list (by name instead of uuid, or the reverse) is found by asking for the
 * identities of those of the list first, which needs no monitor.
 */
export class VisibleDriver implements Driver {
  readonly watch?: NonNullable<Driver["watch"]>;
  readonly #inner: Driver;
  readonly #list: readonly DomainSelector[];
  readonly #uuids: ReadonlySet<string>;
  readonly #names: ReadonlySet<string>;
  /** How many of the list were not there in the last sweep of all. */
  #absent = 0;

  /** @param list the domains that are visible; not empty */
  constructor(inner: Driver, list: readonly DomainSelector[]) {
    this.#inner = inner;
    this.#list = list;
    this.#uuids = new Set(list.flatMap((selector) => ("uuid" in selector ? [selector.uuid] : [])));
    this.#names = new Set(list.flatMap((selector) => ("name" in selector ? [selector.name] : [])));
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

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return query.domains === undefined
      ? this.#sweepAll(query, context)
      : this.#sweepNamed(query, query.domains, context);
  }

  /** Does nothing: the driver behind it is somebody else's. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** A sweep of the whole list. What is not there has no record: nobody has named it. */
  async *#sweepAll(query: Query, { signal, expect }: SweepContext): AsyncGenerator<readonly DomainStatsRecord[]> {
    let absent = 0;
    const context: SweepContext = {
      signal,
      // Which of them are not there shows only at the end; until then it is taken to be as it was.
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
   * A watch by a driver that watches by itself. It is asked for the domains of the list by their selectors, and tells in
   * every sweep which of them it does not have; who asks for all domains is told only of those that leave.
   */
  #watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const inner = this.#inner;
    if (query.domains === undefined) {
      return inner.watch!({ ...query, domains: this.#list }, cadence, new UnnamedSink(sink));
    }
    if (query.domains.every((selector) => this.#lists(selector))) return inner.watch!(query, cadence, sink);
    // Who is meant by names that the list does not have may change from sweep to sweep: it is swept.
    const { uri, hypervisor, host } = this;
    const sweep = this.sweep.bind(this);
    const close = this.close.bind(this);
    return new Sampling({ uri, hypervisor, host, sweep, close }).push(query, cadence, sink);
  }

  /** Whether a selector is one of the list's own. */
  #lists(selector: DomainSelector): boolean {
    return "uuid" in selector ? this.#uuids.has(selector.uuid) : this.#names.has(selector.name);
  }

  async #resolve(query: Query, named: readonly DomainSelector[], signal: AbortSignal): Promise<Resolution> {
    const others = named.filter((selector) => !this.#lists(selector));
    if (others.length === 0) return { visible: named, unknown: [], unidentified: undefined };
    const byName = others.some((selector) => "name" in selector);
    const byUuid = others.some((selector) => "uuid" in selector);
    const candidates = this.#list.filter((selector) => ("uuid" in selector ? byName : byUuid));
    const uuids = new Map<string, DomainSelector>();
    const names = new Map<string, DomainSelector>();
    let unidentified: DomainStatsRecord | undefined;
    for (const record of candidates.length === 0 ? [] : await this.#identify(query, candidates, signal)) {
      const { uuid, name } = record.domain;
      if (record.reason === "unknown") continue;
      if (uuid === NIL_UUID || name === "") {
        unidentified ??= record;
        continue;
      }
      const selector = this.#uuids.has(uuid) ? { uuid } : { name };
      uuids.set(uuid, selector);
      names.set(name, selector);
    }
    const visible: DomainSelector[] = [];
    const unknown: DomainSelector[] = [];
    for (const selector of named) {
      const other = "uuid" in selector ? uuids.get(selector.uuid) : names.get(selector.name);
      const own = this.#lists(selector) ? selector : other;
      if (own === undefined) unknown.push(selector);
      else visible.push(own);
    }
    return { visible: visible.length === 0 ? [] : distinctSelectors(visible), unknown, unidentified };
  }

  /** Who they are: their records with nothing that a frozen guest could keep. */
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

  /** The records of what there is not, as drivers make them; after the others by their places. */
  #unknown({ visible, unknown, unidentified }: Resolution, query: Query): DomainStatsRecord[] {
    const sampledAt = Date.now();
    return unknown.map((selector, i) => {
      const { uuid, name } = { uuid: NIL_UUID, name: "", ...selector };
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

/** Takes a watch that names its domains for one that does not: nothing is said of domains that are not there. */
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
