import type { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent, WatchSink } from "../../src/model/watch.ts";
import type { Feed } from "../../src/sampling/feed.ts";

/** A record as the server made it; `order` counts everything that it made. */
export interface Made {
  readonly order: number;
  readonly record: DomainStatsRecord;
}

/** One sweep as the server made it. */
export interface ServedTick {
  /** Counts the sweeps from when this account began, from 1. */
  readonly number: number;
  readonly order: number;
  /** The newest record of each domain at its end, by uuid. */
  readonly state: ReadonlyMap<string, Made>;
}

/**
 * What a server really made: listens, in the server's own process, to the same feed that its clients are served from. It
 * is told of everything before any of them can be.
 */
export class ServedTicks implements WatchSink {
  readonly #state = new Map<string, Made>();
  readonly #ticks = new Map<string, ServedTick>();
  readonly #made = new Map<string, Made>();
  readonly #gone = new Map<string, number>();
  #order = 0;
  #last = 0;

  constructor(feed: Feed) {
    feed.listen(this);
  }

  /** How many sweeps were made. */
  get count(): number {
    return this.#last;
  }

  /** The sweep that an event tells the end of, by what cannot be the same twice: when it began and what it took. */
  tick(event: SyncEvent): ServedTick | undefined {
    return this.#ticks.get(keyOf(event));
  }

  /** The record of this domain and time, if it was made after what was let go. */
  made({ domain, sampledAt }: DomainStatsRecord): Made | undefined {
    return this.#made.get(`${domain.uuid} ${sampledAt}`);
  }

  /** When a domain last left, on the scale of `order`; 0: never. */
  goneAt(uuid: string): number {
    return this.#gone.get(uuid) ?? 0;
  }

  /** Forgets what is older than a sweep: nobody will ask for it. */
  letGo(before: ServedTick): void {
    for (const [key, tick] of this.#ticks) {
      if (tick.order >= before.order) break;
      this.#ticks.delete(key);
    }
    for (const [key, { order }] of this.#made) {
      if (order >= before.order) break;
      this.#made.delete(key);
    }
  }

  record(record: DomainStatsRecord): void {
    const made = { order: ++this.#order, record };
    this.#state.set(record.domain.uuid, made);
    this.#made.set(`${record.domain.uuid} ${record.sampledAt}`, made);
  }

  gone(domain: Domain): void {
    this.#state.delete(domain.uuid);
    this.#gone.set(domain.uuid, ++this.#order);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type !== "sync") return;
    this.#ticks.set(keyOf(event), { number: ++this.#last, order: ++this.#order, state: new Map(this.#state) });
  }

  flush(): void {}

  end(): void {}
}

function keyOf({ summary }: SyncEvent): string {
  return `${summary.startedAt} ${summary.tookMs}`;
}
