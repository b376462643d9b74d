import { DomainMap } from "../model/domain-map.ts";
import type { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchEvent, WatchState } from "../model/watch.ts";
import type { Feed, FeedEntry, FeedListener } from "./feed.ts";
import type { Sampling } from "./sampling.ts";

/**
 * The queue may have two events for each domain, and this many more. If more events wait, the consumer has fallen
 * behind.
 */
const SLACK = 64;

/**
 * One consumer of a feed in this process. The feed pushes and the consumer pulls, so events between two pulls wait in a
 * queue, which has room for the events of about two sweeps. If a consumer falls further behind, its queue is dropped:
 * its next pull gets a `gap`, and then the newest state from the feed. So a consumer needs a bounded amount of memory,
 * and never sees an old value after a newer one.
 */
export class Subscription<T> implements AsyncIterableIterator<readonly T[]>, FeedListener {
  readonly #feed: Feed;
  readonly #select: (events: WatchEvent[]) => readonly T[];
  readonly #conflated: (ticks: number) => void;
  readonly #closed: () => boolean;
  #events: WatchEvent[] = [];
  #wake: (() => void) | undefined;
  /** Called when the consumer has taken everything, and pulls again. */
  #taken: (() => void) | undefined;
  #ended = false;
  #error: VirstreamError | undefined;
  /** True if the next pull gets the feed's state instead of the queue, as the first pull does. */
  #behind = true;
  /**
   * The domains that the consumer knew when it fell behind. The feed's state alone cannot say which domains left since
   * then.
   */
  #knew: DomainMap<Known> | undefined;
  /**
   * For each domain that came or left in the queued events: true if the consumer knew the domain before these events.
   */
  #knewBefore = new DomainMap<boolean>();
  /** The most domains that the feed has had since the last pull. */
  #domains = 0;
  /**
   * By source: the last state that the consumer got; undefined if the event with the source's newest state was dropped.
   */
  readonly #statuses = new Map<string | undefined, WatchState | undefined>();
  /** Hosts whose state the consumer got, and whose removal was in an event that was dropped. */
  readonly #removed = new Set<string | undefined>();
  /** The tick of the last sweep whose end was queued, and not dropped. */
  #tick = 0;
  /** How many skipped sweeps the dropped `gap` events of the source report; undefined: unknown. */
  #skipped: number | undefined = 0;

  /**
   * Watches for one consumer. The consumer pulls the items that `select` makes from the events, in chunks, until it
   * calls `return()`.
   */
  static to<T>(
    sampling: Sampling,
    query: Query,
    cadence: Cadence,
    select: (events: WatchEvent[]) => readonly T[],
  ): Subscription<T> {
    const conflated = (ticks: number): void => sampling.conflated(ticks);
    return new Subscription(sampling.feed(query, cadence), select, conflated, () => sampling.closed);
  }

  /**
   * @param select makes, from the events, the items that the consumer pulls
   * @param conflated called with the number of sweeps that the consumer skipped, each time that it catches up
   * @param closed returns true if the program itself has closed the connection, so that the end is not a failure
   */
  constructor(
    feed: Feed,
    select: (events: WatchEvent[]) => readonly T[],
    conflated: (ticks: number) => void,
    closed: () => boolean = () => false,
  ) {
    this.#feed = feed;
    this.#select = select;
    this.#conflated = conflated;
    this.#closed = closed;
    if (feed.error !== undefined) this.end(feed.error);
    else feed.listen(this);
  }

  async next(): Promise<IteratorResult<readonly T[]>> {
    for (;;) {
      if (this.#behind && !this.#ended) this.#catchUp();
      if (this.#events.length > 0) {
        const value = this.#select(this.#events);
        this.#events = [];
        this.#domains = 0;
        if (this.#knewBefore.size > 0) this.#knewBefore = new DomainMap();
        if (value.length === 0) continue;
        return { done: false, value };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      this.#taken?.();
      this.#taken = undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  return(): Promise<IteratorResult<readonly T[]>> {
    this.#end();
    this.#error = undefined;
    this.#events = [];
    this.#feed.leave(this);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  record(record: DomainStatsRecord, _entry: FeedEntry, before: DomainStatsRecord | undefined): void {
    if (this.#behind) return;
    if (before === undefined && this.#knewBefore.get(record.domain) === undefined) {
      this.#knewBefore.set(record.domain, false);
    }
    this.#put({ type: "record", record });
  }

  gone(domain: Domain): void {
    if (this.#behind) return;
    if (this.#knewBefore.get(domain) === undefined) this.#knewBefore.set(domain, true);
    this.#put({ type: "gone", domain });
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (this.#behind) {
      if (this.#knew !== undefined) this.#drop(event);
      return;
    }
    if (event.type === "sync") this.#tick = event.tick;
    else if (event.type === "status") this.#know(event);
    this.#put(event);
  }

  flush(): void {
    if (this.#events.length === 0 && !this.#behind) return;
    this.#wake?.();
    this.#wake = undefined;
  }

  ready(): Promise<void> | undefined {
    if (this.#ended || (this.#events.length === 0 && !this.#behind)) return undefined;
    return new Promise((resolve) => {
      const before = this.#taken;
      this.#taken = () => {
        before?.();
        resolve();
      };
    });
  }

  end(error: VirstreamError): void {
    if (this.#ended) return;
    // A consumer that has fallen behind still gets the feed's last state before the end.
    if (this.#behind) this.#catchUp();
    this.#error = this.#closed() || error.code === "end-of-recording" ? undefined : error;
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#taken?.();
    this.#wake?.();
    this.#wake = undefined;
  }

  #put(event: WatchEvent): void {
    this.#events.push(event);
    this.#domains = Math.max(this.#domains, this.#feed.size);
    if (this.#events.length > 2 * this.#domains + SLACK) this.#fallBehind();
  }

  /** Drops the queue. The next pull then gets the feed's own state instead. */
  #fallBehind(): void {
    const dropped = this.#events;
    this.#events = [];
    this.#behind = true;
    const knew = new DomainMap<Known>();
    for (const record of this.#feed.records()) {
      if (record === undefined) continue;
      if (this.#knewBefore.get(record.domain) !== false) knew.set(record.domain, { domain: record.domain, record });
    }
    for (const event of dropped) {
      if (event.type === "gone") {
        if (this.#knewBefore.get(event.domain) === true) {
          knew.set(event.domain, { domain: event.domain, record: undefined });
        }
      } else if (event.type === "record") {
        // The consumer never got this record, so the record that it had is not the domain's newest any more; see Known.
        const known = knew.get(event.record.domain);
        if (known !== undefined) known.record = undefined;
      } else {
        this.#drop(event);
      }
    }
    this.#knew = knew;
    this.#knewBefore = new DomainMap();
  }

  /** Remembers those parts of a dropped event that the feed's state does not show. */
  #drop(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "sync") this.#tick = Math.min(this.#tick, event.tick - 1);
    else if (event.type === "status") this.#dropStatus(event);
    else this.#skipped = sum(this.#skipped, event.skipped);
  }

  #know({ host, state }: StatusEvent): void {
    if (state === "removed") this.#statuses.delete(host);
    else this.#statuses.set(host, state);
  }

  #dropStatus({ host, state }: StatusEvent): void {
    if (state !== "removed") this.#statuses.set(host, undefined);
    if (state === "removed" && this.#statuses.delete(host)) this.#removed.add(host);
    else this.#removed.delete(host);
  }

  /** Queues the events that bring the consumer to the feed's present state. */
  #catchUp(): void {
    this.#behind = false;
    const { sync } = this.#feed;
    const newTick = sync !== undefined && sync.tick > this.#tick;
    const knew = this.#knew;
    if (knew !== undefined) {
      const skipped = sum(this.#skipped, newTick ? sync.tick - this.#tick - 1 : 0);
      if (skipped !== 0) {
        this.#events.push({ type: "gap", reason: "slow-consumer", skipped, host: undefined });
        this.#conflated(skipped ?? 1);
      }
      for (const { domain } of knew) if (!this.#feed.has(domain)) this.#events.push({ type: "gone", domain });
      this.#skipped = 0;
      this.#knew = undefined;
    }
    this.#catchUpStatuses();
    for (const record of this.#feed.records()) {
      if (record === undefined || knew?.get(record.domain)?.record === record) continue;
      this.#events.push({ type: "record", record });
    }
    if (newTick) {
      this.#events.push(sync);
      this.#tick = sync.tick;
    }
  }

  #catchUpStatuses(): void {
    for (const host of this.#removed) this.#events.push({ type: "status", state: "removed", host, error: undefined });
    this.#removed.clear();
    const now = new Map([...this.#feed.statuses].map((status) => [status.host, status]));
    for (const [host, given] of this.#statuses) {
      if (given !== "connected" && !now.has(host)) {
        now.set(host, { type: "status", state: "connected", host, error: undefined });
      }
    }
    for (const [host, status] of now) {
      if (this.#statuses.get(host) === status.state) continue;
      this.#events.push(status);
      this.#statuses.set(host, status.state);
    }
  }
}

/** A domain as the consumer knew it when it fell behind. */
interface Known {
  readonly domain: Domain;
  /** The record that the consumer had, if it is still the newest; otherwise undefined. */
  record: DomainStatsRecord | undefined;
}

function sum(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other;
}
