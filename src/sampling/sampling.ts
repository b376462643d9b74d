import { type Clock, STEADY_CLOCK } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import { mayHaveHost, selectedHosts } from "../driver/matcher.ts";
import { invalid, VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { Feed, type FeedOptions } from "./feed.ts";
import { type SweepFigures, SweepMetrics } from "./metrics.ts";
import { Sampler } from "./sampler.ts";
import { SweptFeed } from "./swept-feed.ts";

/** Figures of all watches of a driver. They are counters unless marked as gauges. */
export interface SamplingFigures extends SweepFigures {
  /** The number of different queries that are swept repeatedly; a gauge. */
  readonly samplers: number;
  /** The number of different pairs of a query and a cadence that are watched; a gauge. */
  readonly feeds: number;
  /** The number of listeners of all feeds: consumers in this process, and channels of a server; a gauge. */
  readonly subscribers: number;
  /** How many sweeps slow subscribers skipped, as a sum over all subscribers. */
  readonly ticksConflated: number;
}

/**
 * A function that calls `begin` when a watch may begin, perhaps at once. It returns a function that cancels the wait.
 */
export type Enter = (begin: () => void) => () => void;

/** A query that is watched. */
export interface WatchedQuery {
  readonly query: Query;
  /** The feeds of this query, by the cadence as JSON. */
  readonly feeds: Map<string, Feed>;
  /** Undefined: the driver has its own watch, or no feed has begun yet. */
  sampler: Sampler | undefined;
}

/** Those members of a Driver that a Sampling uses. */
export type Source = Pick<Driver, "host" | "sweep" | "watch">;

/** A feed whose source is not started yet. `begin` starts the source, and returns a function that stops the source. */
interface OpenedFeed {
  readonly feed: Feed;
  begin(): () => void;
}

/**
 * All watches of one driver. Equal watches share their work: there is one sampler for each query, and one feed for each
 * query and cadence. So the load on the hypervisor does not grow with the number of readers. Every reader of a feed
 * sees all domains of the feed. So a client that is not allowed to see all of them has a driver and a Sampling of its
 * own.
 */
export class Sampling {
  readonly #driver: Source;
  readonly #clock: Clock;
  /**
   * The queries that are watched at present, by the query as JSON.
   *
   * @internal
   */
  readonly watched = new Map<string, WatchedQuery>();
  #conflated = 0;
  /**
   * True after `drain` or `close`: no new watch is accepted.
   *
   * @internal
   */
  closed = false;
  /**
   * Counts the sweeps of all watches, and also the single sweeps of a server's clients.
   *
   * @internal
   */
  readonly metrics: SweepMetrics;

  /** @param clock a steady clock; tests pass their own */
  constructor(driver: Source, clock: Clock = STEADY_CLOCK) {
    this.#driver = driver;
    this.#clock = clock;
    this.metrics = new SweepMetrics(() => clock.now());
  }

  /**
   * The feed of a query and a cadence, which ends when its last listener leaves. The caller must add a listener at
   * once.
   *
   * @param enter delays the start of a feed whose query has no sampler yet; default: the feed begins at once
   * @internal
   */
  feed(query: Query, cadence: Cadence, enter?: Enter): Feed {
    if (this.closed) throw new VirstreamError("connection-closed", "the connection was closed: connect() again");
    if (query.at !== undefined) throw invalid("at is for sweeps: a watch of a recording begins where its URI says");
    const feeds = this.watched.get(JSON.stringify(query))?.feeds;
    return feeds?.get(JSON.stringify(cadence)) ?? this.#open(query, cadence, enter);
  }

  /**
   * Pushes a watch into a sink: first the state that its feed already has, then each event. Returns a function that
   * stops the watch.
   *
   * @internal
   */
  push(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const feed = this.feed(query, cadence);
    if (feed.error === undefined) feed.push(sink);
    else sink.end(feed.error);
    return () => feed.leave(sink);
  }

  /** Counts sweeps that one subscriber skipped because it was slow. */
  conflated(ticks: number): void {
    this.#conflated += ticks;
  }

  /** Returns a copy of the present figures. */
  snapshot(): SamplingFigures {
    const feeds = this.#feeds;
    return {
      ...this.metrics.snapshot(),
      samplers: [...this.watched.values()].filter(({ sampler }) => sampler !== undefined).length,
      feeds: feeds.length,
      subscribers: feeds.reduce((sum, { listeners }) => sum + listeners, 0),
      ticksConflated: this.#conflated,
    };
  }

  /**
   * Ends each watch after the sweep that is under way, and accepts no further watch. Resolves when all watches have
   * ended.
   */
  async drain(error: VirstreamError): Promise<void> {
    this.closed = true;
    await Promise.all(this.#feeds.map((feed) => feed.drain(error)));
  }

  /** Ends all watches. Sinks get this error; the watches of consumers in this process complete without an error. */
  close(error: VirstreamError): void {
    this.closed = true;
    for (const feed of this.#feeds) feed.end(error);
  }

  get #feeds(): Feed[] {
    return [...this.watched.values()].flatMap(({ feeds }) => [...feeds.values()]);
  }

  #open(query: Query, cadence: Cadence, enter: Enter | undefined): Feed {
    const [key, cadenceKey] = [JSON.stringify(query), JSON.stringify(cadence)];
    const watched = this.watched.get(key) ?? { query, feeds: new Map<string, Feed>(), sampler: undefined };
    let giveUp = (): void => {};
    let stop = (): void => {};
    const source = this.#driver;
    const options = {
      cadence,
      scope: { source, pushed: source.watch !== undefined, patterns: query.hosts },
      now: () => this.#clock.now(),
      metrics: this.metrics,
      over: () => {
        watched.feeds.delete(cadenceKey);
        if (watched.feeds.size === 0) this.watched.delete(key);
        giveUp();
        stop();
      },
    };
    const opened = openFeed(source, watched, options, this.#clock);
    const { feed } = opened;
    this.watched.set(key, watched);
    watched.feeds.set(cadenceKey, feed);
    const begin = (): void => {
      try {
        stop = opened.begin();
      } catch (thrown) {
        feed.end(VirstreamError.from(thrown));
      }
    };
    if (enter === undefined || watched.sampler !== undefined) begin();
    else giveUp = enter(begin);
    return feed;
  }
}

/** Makes one of two kinds of feeds: for a driver that has a watch of its own, or for a driver that a sampler sweeps. */
function openFeed(
  source: Source,
  watched: WatchedQuery,
  options: FeedOptions & { readonly metrics: SweepMetrics },
  clock: Clock,
): OpenedFeed {
  const { query } = watched;
  if (source.watch !== undefined) {
    const feed = new Feed(options);
    return { feed, begin: () => source.watch!(query, options.cadence, feed) };
  }
  const { hosts } = query;
  const host = hosts === undefined ? source.host : selectedHosts(source.host, hosts).join(",");
  const feed = new SweptFeed({ ...options, host, named: query.domains !== undefined });
  const begin = (): (() => void) => {
    // A host that the query does not select is not swept, so it has no sync.
    if (!mayHaveHost(source.host, hosts)) return () => {};
    watched.sampler ??= new Sampler(source, query, clock, options.metrics);
    const { sampler } = watched;
    sampler.add(feed);
    return () => sampler.remove(feed);
  };
  return { feed, begin };
}
