import { DomainMap } from "../model/domain-map.ts";
import { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchSink } from "../model/watch.ts";
import type { SweepMetrics } from "./metrics.ts";

/** What a feed knows of one domain. */
export interface FeedEntry {
  /**
   * The domain's number in this feed. Once the domain is gone, another domain may get its number, so that the numbers
   * stay small.
   */
  readonly number: number;
  /** The newest record that the listeners got. */
  record: DomainStatsRecord;
  /**
   * When the listeners got that record, on the feed's clock; 0 in a feed without heartbeats, which does not need it.
   */
  reportedAt: number;
  /** The number of the last sweep that had a record of this domain. Only a SweptFeed counts sweeps. */
  sweep: number;
}

/**
 * Listens to a feed: a sink that also gets the feed's entry of the domain. Every WatchSink is a FeedListener. A
 * listener must not throw, and must not change the objects that it gets.
 */
export interface FeedListener extends Pick<WatchSink, "event" | "flush" | "end" | "ready"> {
  /** @param before the domain's record before this one; undefined when there was none */
  record(record: DomainStatsRecord, entry: FeedEntry, before: DomainStatsRecord | undefined): void;
  /** The domain is no longer there; its number is free after this call. */
  gone(domain: Domain, entry: FeedEntry): void;
}

/** The hosts whose records a feed gets; see isComplete. */
export interface FeedScope {
  readonly source: { readonly host: string };
  /** True if the source has its own watch, which sends a sync for each host. */
  readonly pushed: boolean;
  /** The patterns of the query's `hosts`; undefined: all hosts. */
  readonly patterns: readonly string[] | undefined;
}

/** The inputs of a feed. */
export interface FeedOptions {
  readonly cadence: Cadence;
  /** The hosts whose records the feed gets. Without this member, the feed counts as complete after its first sync. */
  readonly scope?: FeedScope;
  readonly now: () => number;
  /** Counts the records and sweeps that a driver pushes; the sampler counts its sweeps itself. */
  readonly metrics?: SweepMetrics;
  /** Called once: when the last listener has left, or the feed has ended. */
  readonly over: () => void;
}

/**
 * Sends the events of one query and cadence to all its listeners, and keeps the state that results: the newest record
 * of each domain. A driver pushes into it, or a sampler feeds it sweep by sweep: see SweptFeed. A listener that joins
 * or falls behind gets this state, and then knows as much as a listener that has listened all the time.
 */
export class Feed implements WatchSink {
  readonly cadence: Cadence;
  protected readonly options: FeedOptions;
  /** The number of the sweep that is under way. Only a SweptFeed counts its sweeps here. */
  protected sweep = 0;
  /**
   * Replaced by a new array whenever a listener joins or leaves, because this may happen while the feed calls its
   * listeners.
   */
  #listeners: readonly FeedListener[] = [];
  protected readonly entries: DomainMap<FeedEntry> = new DomainMap();
  protected readonly numbers: (FeedEntry | undefined)[] = [];
  readonly #free: number[] = [];
  #next = 0;
  /** The state of each source that is not connected, by host. The key undefined means the connection to all hosts. */
  protected readonly absent: Map<string | undefined, StatusEvent> = new Map();
  /** The hosts that have been swept at least once. */
  readonly swept: Set<string> = new Set();
  #hostChanges = 0;
  readonly #failing = new Set<string>();
  /** The hosts whose sweep is under way. */
  protected readonly underWay: Set<string> = new Set();
  /** The host of the last record that a driver pushed, until the next sync. */
  #pushing: string | undefined;
  #drain: { readonly error: VirstreamError; readonly done: () => void } | undefined;
  #sync: SyncEvent | undefined;
  #error: VirstreamError | undefined;

  constructor(options: FeedOptions) {
    this.options = options;
    this.cadence = options.cadence;
  }

  /**
   * Returns a new array with the newest record of each domain at the position of its number. The position of a number
   * without a domain is undefined. Call this at a flush: then the listeners have got the events for all of these
   * records.
   */
  records(): (DomainStatsRecord | undefined)[] {
    return this.numbers.map((entry) => entry?.record);
  }

  get size(): number {
    return this.entries.size;
  }

  has(domain: Domain): boolean {
    return this.entries.get(domain) !== undefined;
  }

  /** The event for the end of the last sweep; undefined until a sweep has ended. */
  get sync(): SyncEvent | undefined {
    return this.#sync;
  }

  /** The newest status event of each source that is not connected. */
  get statuses(): Iterable<StatusEvent> {
    return this.absent.values();
  }

  /** The hosts whose last sweep had records, all of which failed. */
  get failing(): Iterable<string> {
    return this.#failing;
  }

  /**
   * A number that changes whenever `swept` or `statuses` change. It shows whether a result made from them is still
   * valid.
   */
  get hostChanges(): number {
    return this.#hostChanges;
  }

  get scope(): FeedScope | undefined {
    return this.options.scope;
  }

  get listeners(): number {
    return this.#listeners.length;
  }

  /** The error with which the feed has ended; undefined while it goes on. */
  get error(): VirstreamError | undefined {
    return this.#error;
  }

  /** From now on the listener gets every event. */
  listen(listener: FeedListener): void {
    this.#listeners = [...this.#listeners, listener];
  }

  /** The sink first gets the feed's state as events, and from then on every event. */
  push(sink: WatchSink): void {
    for (const status of this.absent.values()) sink.event(status);
    for (const entry of this.numbers) if (entry !== undefined) sink.record(entry.record);
    if (this.#sync !== undefined) sink.event(this.#sync);
    sink.flush();
    this.listen(sink);
  }

  /** Removes a listener. Without listeners the feed ends. */
  leave(listener: FeedListener): void {
    const others = this.#listeners.filter((other) => other !== listener);
    const left = others.length < this.#listeners.length;
    this.#listeners = others;
    if (left && others.length === 0) this.end(new VirstreamError("connection-closed", "the last listener has left"));
  }

  /**
   * Ends the feed after the sweep that is under way, or after the first sweep if there was none yet. Resolves when the
   * feed has ended.
   */
  drain(error: VirstreamError): Promise<void> {
    return new Promise((done) => {
      this.#drain = { error, done };
      this.flush();
    });
  }

  /** Takes a record that the driver pushes. */
  record(record: DomainStatsRecord): void {
    this.options.metrics?.record(record);
    const { host } = record.domain;
    if (host !== this.#pushing) {
      this.#pushing = host;
      this.underWay.add(host);
    }
    this.take(record, this.#entryOf(record.domain));
  }

  /** The driver reports that a domain left. Does nothing if the feed did not know the domain. */
  gone(domain: Domain): void {
    const entry = this.entries.get(domain);
    if (entry !== undefined) this.remove(entry);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "sync") {
      this.options.metrics?.sync(event);
      this.synchronized(event);
    } else if (event.type === "status") {
      this.report(event);
    } else {
      for (const listener of this.#listeners) listener.event(event);
    }
  }

  flush(): void {
    for (const listener of this.#listeners) listener.flush();
    if (this.#drain === undefined || this.underWay.size > 0) return;
    if (this.#sync !== undefined || this.absent.size > 0) this.end(this.#drain.error);
  }

  /** Resolves when all listeners have taken the events up to now; undefined if they have taken them already. */
  ready(): Promise<void> | undefined {
    const waits = this.#listeners.flatMap((listener) => listener.ready?.() ?? []);
    return waits.length === 0 ? undefined : Promise.all(waits).then(() => {});
  }

  end(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener.end(error);
    this.options.over();
    this.#drain?.done();
  }

  /**
   * Finds the entry of a domain. Domains mostly come in the order of the last sweep, and as the same objects. So this
   * method first tries the entry after the entry that it found last: that saves a search in the map.
   */
  #entryOf(domain: Domain): FeedEntry | undefined {
    const guess = this.numbers[this.#next];
    const entry = guess?.record.domain === domain ? guess : this.entries.get(domain);
    if (entry !== undefined) this.#next = entry.number + 1;
    return entry;
  }

  protected take(record: DomainStatsRecord, known: FeedEntry | undefined): FeedEntry {
    const before = known?.record;
    let entry = known;
    if (entry === undefined) {
      const number = this.#free.pop() ?? this.numbers.length;
      entry = { number, record, reportedAt: 0, sweep: this.sweep };
      this.numbers[number] = entry;
      this.entries.set(record.domain, entry);
    }
    entry.record = record;
    if (this.cadence.heartbeatMs > 0) entry.reportedAt = this.options.now();
    for (const listener of this.#listeners) listener.record(record, entry, before);
    return entry;
  }

  protected remove(entry: FeedEntry): void {
    const { domain } = entry.record;
    this.entries.delete(domain);
    this.numbers[entry.number] = undefined;
    this.#free.push(entry.number);
    for (const listener of this.#listeners) listener.gone(domain, entry);
  }

  protected synchronized(event: SyncEvent): void {
    const { domains, failed } = event.summary;
    this.#pushing = undefined;
    for (const host of event.host.split(",")) {
      this.underWay.delete(host);
      if (!this.swept.has(host)) this.#hostChanges++;
      this.swept.add(host);
      if (domains > 0 && failed === domains) this.#failing.add(host);
      else this.#failing.delete(host);
    }
    this.#sync = { ...event, tick: (this.#sync?.tick ?? 0) + 1 };
    for (const listener of this.#listeners) listener.event(this.#sync);
  }

  protected report(event: StatusEvent): void {
    this.#hostChanges++;
    if (event.state === "connected" || event.state === "removed") this.absent.delete(event.host);
    else this.absent.set(event.host, event);
    // The host is not connected, so its sweep that is under way will not end.
    if (event.state !== "connected") {
      if (event.host === undefined) this.underWay.clear();
      for (const host of event.host?.split(",") ?? []) this.underWay.delete(host);
    }
    for (const host of event.state === "removed" ? (event.host ?? "").split(",") : []) {
      this.swept.delete(host);
      this.#failing.delete(host);
    }
    for (const listener of this.#listeners) listener.event(event);
  }
}
