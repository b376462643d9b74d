import { type Clock, eventLoopTurn, STEADY_CLOCK } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Cadence, WatchEvent } from "../model/watch.ts";
import { Feed } from "./feed.ts";
import { type SweepFigures, SweepMetrics } from "./metrics.ts";
import { Sampler } from "./sampler.ts";
import { Subscription } from "./subscription.ts";

/** What watching a driver has come to. Counters unless said otherwise. */
export interface SamplingFigures extends SweepFigures {
  /** Different queries that are swept repeatedly; a gauge. */
  readonly samplers: number;
  /** Different watches: queries and cadences; a gauge. */
  readonly feeds: number;
  /** Who listens to them, in this process and beyond; a gauge. */
  readonly subscribers: number;
  /** Sweeps that readers skipped because they were slow. */
  readonly ticksConflated: number;
}

/**
 * All watching of one driver. Who asks for the same is served by the same: one sampler for each query, one feed for each
 * query and cadence, so that the load on the hypervisor does not grow with the number of readers. A query says all that
 * its asker may see; whoever may see less asks with another query, through a driver of its own.
 */
export class Sampling {
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #samplers = new Map<string, Sampler>();
  readonly #feeds = new Map<string, Feed>();
  #conflated = 0;
  #closed = false;
  /**
   * Counts sweeps, including single ones that a server counts here.
   *
   * @internal
   */
  readonly metrics: SweepMetrics;

  /** @param clock a steady one; for tests */
  constructor(driver: Driver, clock: Clock = STEADY_CLOCK) {
    this.#driver = driver;
    this.#clock = clock;
    this.metrics = new SweepMetrics(() => clock.now());
  }

  /**
   * The feed of a query and a cadence, which goes on for as long as somebody listens to it. It must be listened to before
   * anything else happens.
   *
   * @internal
   */
  feed(query: Query, cadence: Cadence): Feed {
    if (this.#closed) throw new VirstreamError("connection-closed", "the connection was closed: connect() again");
    const key = JSON.stringify([query, cadence]);
    return this.#feeds.get(key) ?? this.#open(key, query, cadence);
  }

  /** Watches: the events of a feed for one consumer, in chunks. It ends when the signal is aborted. */
  watch(query: Query, cadence: Cadence, signal: AbortSignal): AsyncIterableIterator<readonly WatchEvent[]> {
    return new Subscription(this.feed(query, cadence), (ticks) => this.conflated(ticks), signal);
  }

  /** A reader has skipped so many sweeps. */
  conflated(ticks: number): void {
    this.#conflated += ticks;
  }

  /** How many sources that are watched cannot be reached at present. */
  get absent(): number {
    const hosts = new Set<string | undefined>();
    for (const feed of this.#feeds.values()) for (const { host } of feed.statuses) hosts.add(host);
    return hosts.size;
  }

  /** The figures as they are now. */
  snapshot(): SamplingFigures {
    let subscribers = 0;
    for (const feed of this.#feeds.values()) subscribers += feed.listeners;
    return {
      ...this.metrics.snapshot(),
      samplers: this.#samplers.size,
      feeds: this.#feeds.size,
      subscribers,
      ticksConflated: this.#conflated,
    };
  }

  /** Ends all watches with this error. */
  close(error: VirstreamError): void {
    this.#closed = true;
    for (const feed of [...this.#feeds.values()]) feed.close(error);
  }

  #open(key: string, query: Query, cadence: Cadence): Feed {
    const end = this.#driver.watch === undefined ? this.#sample(query) : this.#relay(query, cadence);
    const feed: Feed = new Feed({
      cadence,
      host: this.#driver.host,
      named: query.domains !== undefined,
      now: () => this.#clock.now(),
      over: () => {
        if (this.#feeds.get(key) === feed) this.#feeds.delete(key);
        end.stop(feed);
      },
    });
    this.#feeds.set(key, feed);
    end.start(feed);
    return feed;
  }

  /** How a feed is sampled: by the sampler of its query. */
  #sample(query: Query): Source {
    const key = JSON.stringify(query);
    let sampler = this.#samplers.get(key);
    if (sampler === undefined) {
      sampler = new Sampler(this.#driver, query, this.#clock, this.metrics);
      this.#samplers.set(key, sampler);
    }
    return {
      start: (feed) => sampler.add(feed),
      stop: (feed) => {
        sampler.remove(feed);
        if (sampler.idle && this.#samplers.get(key) === sampler) this.#samplers.delete(key);
      },
    };
  }

  /** How a feed gets what a driver that watches by itself has to tell. */
  #relay(query: Query, cadence: Cadence): Source {
    const abort = new AbortController();
    return {
      start: async (feed) => {
        try {
          let sinceTurn = 0;
          for await (const events of this.#driver.watch!(query, cadence, { signal: abort.signal })) {
            if (abort.signal.aborted) return;
            this.metrics.events(events);
            feed.relay(events);
            // What a server sends at once after a loss is more than waits for a consumer: let it take what there is.
            sinceTurn += events.length;
            if (sinceTurn < Math.max(feed.size, EVENTS_PER_TURN)) continue;
            sinceTurn = 0;
            await eventLoopTurn();
          }
          feed.close(new VirstreamError("connection-lost", `the watch of ${this.#driver.uri} ended`));
        } catch (thrown) {
          feed.close(VirstreamError.from(thrown));
        }
      },
      stop: () => abort.abort(),
    };
  }
}

/** Others need no turn before so many events, however small the feed: a consumer has room for them. */
const EVENTS_PER_TURN = 64;

/** Where a feed's records come from, for as long as somebody listens to it. */
interface Source {
  start(feed: Feed): void;
  stop(feed: Feed): void;
}
