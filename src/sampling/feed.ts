import { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord, SweepSummary } from "../model/record.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchEvent } from "../model/watch.ts";
import { DomainMap } from "./domain-map.ts";
import { sameRecord } from "./same-record.ts";

/** A domain as a feed knows it. */
export interface FeedEntry {
  /** Its number in this feed: small, and free for another domain once this one is gone. */
  readonly number: number;
  /** Its record that was told last. */
  record: DomainStatsRecord;
  /** When that was told, on the feed's clock. */
  toldAt: number;
  /** The last sweep that had it. */
  sweep: number;
}

/** Who listens to a feed. Called at once, in order; what it is given it must not change. */
export interface FeedListener {
  /** @param before the record of this domain that was told before; undefined when there was none */
  record(entry: FeedEntry, event: WatchEvent & { type: "record" }, before: DomainStatsRecord | undefined): void;
  /** The domain is no longer there; its number is free after this. */
  gone(entry: FeedEntry, event: WatchEvent & { type: "gone" }): void;
  told(event: SyncEvent | GapEvent | StatusEvent): void;
  /** For now there is nothing more: what was gathered may go out. */
  pause(): void;
  /** The feed has ended for ever. */
  ended(error: VirstreamError): void;
}

/** What a feed depends on. */
export interface FeedOptions {
  readonly cadence: Cadence;
  /** The name of the host that is swept. */
  readonly host: string;
  /** Whether the query names its domains: then one that is not there has a record in every sweep, which says so. */
  readonly named: boolean;
  readonly now: () => number;
  /** Called once: when the last listener has left, or it has ended. */
  readonly over: () => void;
}

/**
 * What all watches of one query and one cadence are told, and the state that it comes to: the newest record of each
 * domain. It is fed by a sampler, sweep by sweep, or by a driver that watches by itself; and it knows, for those who
 * join or fall behind, what they would know had they listened all the time.
 */
export class Feed {
  readonly cadence: Cadence;
  readonly host: string;
  readonly #options: FeedOptions;
  /** Made anew when somebody comes or leaves, which may happen while they are called. */
  #listeners: readonly FeedListener[] = [];
  readonly #entries = new DomainMap<FeedEntry>();
  readonly #numbers: (FeedEntry | undefined)[] = [];
  readonly #free: number[] = [];
  #next = 0;
  readonly #statuses = new Map<string | undefined, StatusEvent>();
  readonly #swept = new Set<string>();
  /** Hosts that are there and were not swept yet. */
  readonly #awaited = new Set<string>();
  #sync: SyncEvent | undefined;
  #tick = 0;
  #sweep = 0;
  #failed = 0;
  #error: VirstreamError | undefined;

  constructor(options: FeedOptions) {
    this.#options = options;
    this.cadence = options.cadence;
    this.host = options.host;
  }

  /** The domains by their numbers, with holes. */
  get numbers(): readonly (FeedEntry | undefined)[] {
    return this.#numbers;
  }

  /** How many domains it knows. */
  get size(): number {
    return this.#entries.size;
  }

  /** Whether it knows this domain now. */
  has(domain: Domain): boolean {
    return this.#entries.get(domain) !== undefined;
  }

  /** The last sweep's end; undefined before the first. */
  get sync(): SyncEvent | undefined {
    return this.#sync;
  }

  /** Whether it knows the domains of all hosts that are there: each has been swept once, or cannot be reached. */
  get complete(): boolean {
    return this.#sync !== undefined && this.#awaited.size === 0;
  }

  /** The sources that are not connected. */
  get statuses(): Iterable<StatusEvent> {
    return this.#statuses.values();
  }

  /** How many listen. */
  get listeners(): number {
    return this.#listeners.length;
  }

  /** Whether it has ended, and why. */
  get error(): VirstreamError | undefined {
    return this.#error;
  }

  listen(listener: FeedListener): void {
    this.#listeners = [...this.#listeners, listener];
  }

  leave(listener: FeedListener): void {
    const others = this.#listeners.filter((other) => other !== listener);
    const left = others.length < this.#listeners.length;
    this.#listeners = others;
    if (left && others.length === 0 && this.#error === undefined) {
      this.close(new VirstreamError("connection-closed", "nobody listened any more"));
    }
  }

  /** A sweep begins in which this feed takes part. */
  begin(): void {
    this.#sweep++;
  }

  /** Records of the sweep that is under way. */
  take(records: readonly DomainStatsRecord[]): void {
    this.#recovered();
    for (const record of records) this.#sampled(record);
    this.#pause();
  }

  /** The sweep is whole: who was not in it is gone. */
  end(summary: SweepSummary, overrun: number): void {
    this.#recovered();
    for (const entry of this.#numbers) {
      if (entry !== undefined && entry.sweep !== this.#sweep) this.#gone(entry);
    }
    this.#synchronized({ type: "sync", tick: 0, host: this.host, summary, overrun });
    this.#pause();
  }

  /** The sweep failed, after so many that were left out, and another one will be tried. */
  fail(error: VirstreamError, overrun: number): void {
    this.#failed += 1 + overrun;
    if (!this.#statuses.has(this.host)) {
      this.#status({ type: "status", state: "reconnecting", host: this.host, error });
    }
    this.#pause();
  }

  /** What a driver that watches by itself has to tell. */
  relay(events: readonly WatchEvent[]): void {
    for (const event of events) {
      switch (event.type) {
        case "record":
          this.#record(event, this.#entryOf(event.record.domain));
          break;
        case "gone": {
          const entry = this.#entries.get(event.domain);
          if (entry !== undefined) this.#gone(entry);
          break;
        }
        case "sync":
          this.#synchronized(event);
          break;
        case "gap":
          for (const listener of this.#listeners) listener.told(event);
          break;
        case "status":
          this.#status(event);
          break;
      }
    }
    this.#pause();
  }

  /** It ends for ever. */
  close(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    const listeners = this.#listeners;
    this.#listeners = [];
    for (const listener of listeners) listener.ended(error);
    this.#options.over();
  }

  /** Domains mostly come in the order of before, and as the same objects: the next one is a good guess, and saves a hash. */
  #entryOf(domain: Domain): FeedEntry | undefined {
    const guess = this.#numbers[this.#next];
    const entry = guess?.record.domain === domain ? guess : this.#entries.get(domain);
    if (entry !== undefined) this.#next = entry.number + 1;
    return entry;
  }

  #sampled(record: DomainStatsRecord): void {
    const entry = this.#entries.get(record.domain);
    if (entry !== undefined) {
      entry.sweep = this.#sweep;
      if (this.cadence.mode === "on-change" && sameRecord(entry.record, record) && !this.#heartbeatDue(entry)) return;
    }
    const told = this.#record({ type: "record", record }, entry);
    if (record.status === "gone" && !this.#options.named) this.#gone(told);
  }

  /** Whether the domain would have been silent for longer than the heartbeat by the next sweep. */
  #heartbeatDue(entry: FeedEntry): boolean {
    return this.#options.now() + this.cadence.intervalMs - entry.toldAt > this.cadence.heartbeatMs;
  }

  #record(event: WatchEvent & { type: "record" }, known: FeedEntry | undefined): FeedEntry {
    const { record } = event;
    const before = known?.record;
    let entry = known;
    if (entry === undefined) {
      const number = this.#free.pop() ?? this.#numbers.length;
      entry = { number, record, toldAt: 0, sweep: this.#sweep };
      this.#numbers[number] = entry;
      this.#entries.set(record.domain, entry);
    }
    entry.record = record;
    if (this.cadence.heartbeatMs > 0) entry.toldAt = this.#options.now();
    for (const listener of this.#listeners) listener.record(entry, event, before);
    return entry;
  }

  #gone(entry: FeedEntry): void {
    const { domain } = entry.record;
    this.#entries.delete(domain);
    this.#numbers[entry.number] = undefined;
    this.#free.push(entry.number);
    const event = goneEvent(domain);
    for (const listener of this.#listeners) listener.gone(entry, event);
  }

  #synchronized(event: SyncEvent): void {
    this.#swept.add(event.host);
    this.#awaited.delete(event.host);
    this.#sync = { ...event, tick: ++this.#tick };
    for (const listener of this.#listeners) listener.told(this.#sync);
  }

  #status(event: StatusEvent): void {
    const { host, state } = event;
    if (state === "connected") this.#statuses.delete(host);
    else this.#statuses.set(host, event);
    if (host !== undefined) {
      if (state === "connected" && !this.#swept.has(host)) this.#awaited.add(host);
      else this.#awaited.delete(host);
    }
    for (const listener of this.#listeners) listener.told(event);
  }

  /** Tells that the source is there again, once it has shown that it is, and how many sweeps it has missed. */
  #recovered(): void {
    if (this.#failed === 0) return;
    const skipped = this.#failed;
    this.#failed = 0;
    this.#status({ type: "status", state: "connected", host: this.host, error: undefined });
    const gap: GapEvent = { type: "gap", reason: "source", skipped, host: this.host };
    for (const listener of this.#listeners) listener.told(gap);
  }

  #pause(): void {
    for (const listener of this.#listeners) listener.pause();
  }
}

/** The event of a domain that left. */
export function goneEvent(domain: Domain): WatchEvent & { type: "gone" } {
  return { type: "gone", domain };
}
