import type { VirstreamError } from "../model/error.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent, WatchEvent, WatchState } from "../model/watch.ts";
import { DomainMap } from "./domain-map.ts";
import type { Feed, FeedEntry, FeedListener } from "./feed.ts";
import { goneEvent } from "./feed.ts";

/** So many events may wait for a consumer beside two for each domain. */
const SLACK = 64;

/**
 * One consumer of a feed in this process. It is pulled; what happens between two pulls waits, up to about two sweeps of
 * it. Beyond that nothing waits any more: the next pull is given a `gap`, and then the newest state. So a consumer that is
 * slow, or has stopped, costs a bounded amount, and never sees an old value after a new one.
 */
export class Subscription implements AsyncIterableIterator<readonly WatchEvent[]>, FeedListener {
  readonly #feed: Feed;
  readonly #conflated: (ticks: number) => void;
  readonly #signal: AbortSignal | undefined;
  #events: WatchEvent[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #error: VirstreamError | undefined;
  /** Whether the next pull is given the state rather than what waits. Everybody begins so. */
  #behind = true;
  /** What the consumer knew when it fell behind: a state cannot say who left since. Undefined unless it fell behind. */
  #knew: DomainMap<Known> | undefined;
  /** Whether the consumer knew a domain before what waits: those that came or left meanwhile; all others it did. */
  #knewBefore = new DomainMap<boolean>();
  /** How many domains the feed has had since the last pull, at most. */
  #domains = 0;
  /** What the consumer has been told of each source; undefined: that was dropped, whatever it was. */
  readonly #statuses = new Map<string | undefined, WatchState | undefined>();
  /** The last sweep whose end was put in. */
  #tick = 0;
  /** Sweeps that the source skipped, of which the consumer was not told; undefined: nobody knows how many. */
  #skipped: number | undefined = 0;

  /**
   * @param conflated told how many sweeps were skipped, each time that it falls behind
   * @param signal ends the subscription, which holds no listener on it after its end
   */
  constructor(feed: Feed, conflated: (ticks: number) => void, signal?: AbortSignal) {
    this.#feed = feed;
    this.#conflated = conflated;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#leave);
    if (feed.error !== undefined) this.ended(feed.error);
    else feed.listen(this);
    if (signal?.aborted) this.#leave();
  }

  async next(): Promise<IteratorResult<readonly WatchEvent[]>> {
    for (;;) {
      if (this.#behind && !this.#ended) this.#catchUp();
      if (this.#events.length > 0) {
        const events = this.#events;
        this.#events = [];
        this.#domains = 0;
        if (this.#knewBefore.size > 0) this.#knewBefore = new DomainMap();
        return { done: false, value: events };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The consumer leaves. */
  return(): Promise<IteratorResult<readonly WatchEvent[]>> {
    this.#end();
    this.#error = undefined;
    this.#events = [];
    this.#feed.leave(this);
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  record({ record }: FeedEntry, event: WatchEvent, before: DomainStatsRecord | undefined): void {
    if (before === undefined) this.#knows(record.domain, false);
    this.#put(event);
  }

  gone({ record }: FeedEntry, event: WatchEvent): void {
    this.#knows(record.domain, true);
    this.#put(event);
  }

  told(event: SyncEvent | GapEvent | StatusEvent): void {
    if (!this.#behind) {
      if (event.type === "sync") this.#tick = event.tick;
      else if (event.type === "status") this.#statuses.set(event.host, event.state);
    }
    this.#put(event);
  }

  pause(): void {
    if (this.#events.length === 0 && !this.#behind) return;
    this.#wake?.();
    this.#wake = undefined;
  }

  ended(error: VirstreamError): void {
    if (this.#ended) return;
    // What it was not given yet it is given before the end.
    if (this.#behind) this.#catchUp();
    this.#error = error;
    this.#end();
  }

  readonly #leave = (): void => void this.return();

  #end(): void {
    this.#ended = true;
    this.#signal?.removeEventListener("abort", this.#leave);
    this.#wake?.();
    this.#wake = undefined;
  }

  #knows(domain: Domain, before: boolean): void {
    if (!this.#behind && this.#knewBefore.get(domain) === undefined) this.#knewBefore.set(domain, before);
  }

  /** Lets an event wait, if there is still room. */
  #put(event: WatchEvent): void {
    if (this.#behind) {
      if (this.#knew !== undefined) this.#drop(event);
      return;
    }
    this.#events.push(event);
    this.#domains = Math.max(this.#domains, this.#feed.size);
    if (this.#events.length > 2 * this.#domains + SLACK) this.#fallBehind();
  }

  /** Drops what waits; from now on, only the feed's own state counts. */
  #fallBehind(): void {
    const dropped = this.#events;
    this.#events = [];
    this.#behind = true;
    const knew = new DomainMap<Known>();
    for (const entry of this.#feed.numbers) {
      if (entry === undefined) continue;
      const { record } = entry;
      if (this.#knewBefore.get(record.domain) !== false) knew.set(record.domain, { domain: record.domain, record });
    }
    for (const event of dropped) {
      if (event.type === "gone" && this.#knewBefore.get(event.domain) === true) {
        knew.set(event.domain, { domain: event.domain, record: undefined });
      } else if (event.type === "record") {
        // The consumer has an older one.
        const known = knew.get(event.record.domain);
        if (known !== undefined) known.record = undefined;
      } else {
        this.#drop(event);
      }
    }
    this.#knew = knew;
    this.#knewBefore = new DomainMap();
  }

  /** What the state cannot tell of an event that its consumer does not get. */
  #drop(event: WatchEvent): void {
    if (event.type === "sync") this.#tick = Math.min(this.#tick, event.tick - 1);
    else if (event.type === "status") this.#statuses.set(event.host, undefined);
    else if (event.type === "gap") this.#skipped = sum(this.#skipped, event.skipped);
  }

  /** Puts in what tells the consumer the state as it is now. */
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
      for (const { domain } of knew) if (!this.#feed.has(domain)) this.#events.push(goneEvent(domain));
      this.#skipped = 0;
      this.#knew = undefined;
    }
    this.#tellStatuses();
    for (const entry of this.#feed.numbers) {
      if (entry === undefined || knew?.get(entry.record.domain)?.record === entry.record) continue;
      this.#events.push({ type: "record", record: entry.record });
    }
    if (newTick) {
      this.#events.push(sync);
      this.#tick = sync.tick;
    }
  }

  #tellStatuses(): void {
    const now = new Map([...this.#feed.statuses].map((status) => [status.host, status]));
    for (const [host, told] of this.#statuses) {
      if (told !== "connected" && !now.has(host)) {
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
  /** The record that it had; undefined: one that is no longer the newest. */
  record: DomainStatsRecord | undefined;
}

function sum(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one + other;
}
