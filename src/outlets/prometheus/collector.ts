import "../../client/watching.ts";
import type { Connection } from "../../client/connection.ts";
import { withTimeout } from "../../driver/clock.ts";
import { groupMask, type KnownGroup } from "../../model/group.ts";
import { checkQuery, type Query, type StatsQuery } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { type Cadence, checkCadence } from "../../model/watch.ts";
import { isAccounted, isComplete } from "../../sampling/completeness.ts";
import type { Feed } from "../../sampling/feed.ts";
import { FAMILY_GROUPS } from "./family.ts";
import { Histogram } from "./histogram.ts";
import { Streaks } from "./streaks.ts";
import { Watcher } from "./watcher.ts";

/** The records from which a page is made. */
export interface Collection {
  readonly records: readonly (DomainStatsRecord | undefined)[];
  /** The hosts that cannot be reached; undefined: no host can be reached. */
  readonly absent: ReadonlySet<string> | undefined;
  /** True if the time for collecting was over before all hosts had been swept. */
  readonly cutShort: boolean;
}

const NOTHING: Collection = { records: [], absent: undefined, cutShort: false };

/**
 * A page may have the records of another subscriber's watch if the interval of that watch is at most this long, in ms.
 */
const MAX_BORROWED_INTERVAL_MS = 5_000;
/**
 * For this many ms after a sweep, further scrapes get its records, so that scrapes that come together cost one sweep.
 */
const REUSE_MS = 1_000;
/**
 * The deadline of a domain is at most this share of the time for collecting records, so that its record arrives before
 * the page is made.
 */
const DEADLINE_SHARE = 0.6;

/** The domains and groups of the pages. */
export interface PageSelection {
  /** Default: every group that some family needs. */
  readonly groups?: readonly KnownGroup[];
  /** Default: every domain. */
  readonly names?: readonly string[];
}

/** A sweep for all scrapes that come between its beginning and REUSE_MS after its end. */
interface SharedSweep {
  readonly done: Promise<Collection>;
  /** The records so far. */
  soFar(): Collection;
}

/**
 * Gets the records for pages: from a watch that it keeps; otherwise from a watch that runs for other subscribers;
 * otherwise by a sweep, which simultaneous scrapes share. `collect` never rejects. Hosts that cannot be reached are in
 * `absent`.
 */
export class Collector {
  readonly #connection: Connection;
  readonly #selection: Pick<StatsQuery, "groups" | "names">;
  readonly #query: Query;
  readonly #cadence: Cadence | undefined;
  readonly streaks = new Streaks();
  readonly durations = new Histogram();
  readonly #watcher = new Watcher(this.streaks, this.durations);
  readonly #end = new AbortController();
  #sweep: SharedSweep | undefined;
  #forget: NodeJS.Timeout | undefined;

  /** @param intervalMs the interval of the watch that it keeps, in ms; undefined: it keeps no watch */
  constructor(
    connection: Connection,
    intervalMs: number | undefined,
    { groups = FAMILY_GROUPS, names }: PageSelection = {},
  ) {
    this.#connection = connection;
    this.#selection = { groups, ...(names && { names }) };
    this.#query = checkQuery(this.#selection, connection.driver);
    this.#cadence = intervalMs === undefined ? undefined : checkCadence({ intervalMs });
  }

  /** If the collector keeps a watch, begins this watch before the first scrape. */
  start(): void {
    if (this.#cadence !== undefined) this.#open(this.#cadence);
  }

  /** Resolves with the newest records. After `budgetMs`, it resolves with the records that have arrived until then. */
  async collect(budgetMs: number): Promise<Collection> {
    if (this.#end.signal.aborted) return NOTHING;
    if (this.#cadence !== undefined) {
      const feed = this.#open(this.#cadence);
      if (feed === undefined) return NOTHING;
      await withTimeout(this.#watcher.accounted(feed), budgetMs, () => {});
      return collectionOf(feed);
    }
    const isWhole = this.#query.groups === groupMask(FAMILY_GROUPS) && this.#selection.names === undefined;
    const borrowed = isWhole ? this.#borrowed() : undefined;
    if (borrowed !== undefined) {
      const collection = collectionOf(borrowed);
      this.streaks.takeAll(collection.records);
      return collection;
    }
    const sweep = this.#sweep ?? this.#share(budgetMs);
    return withTimeout(sweep.done, budgetMs, () => sweep.soFar());
  }

  close(): void {
    this.#end.abort();
    clearTimeout(this.#forget);
    this.#watcher.close();
  }

  #open(cadence: Cadence): Feed | undefined {
    try {
      return this.#watcher.feed(() => this.#connection.sampling.feed(this.#query, cadence));
    } catch {
      return undefined;
    }
  }

  /**
   * The watch with the shortest interval, of those watches that run for other subscribers and have everything that the
   * families need.
   */
  #borrowed(): Feed | undefined {
    const feeds = [...this.#connection.sampling.watched.values()]
      .filter(({ query }) => this.#covers(query))
      .flatMap((watched) => [...watched.feeds.values()])
      .filter((feed) => feed.cadence.mode === "sample" && feed.cadence.intervalMs <= MAX_BORROWED_INTERVAL_MS)
      .filter((feed) => isComplete(feed));
    return feeds.sort((one, other) => one.cadence.intervalMs - other.cadence.intervalMs)[0];
  }

  #covers({ groups, flags, domains, names, hosts }: Query): boolean {
    const narrowed = (domains ?? names ?? hosts) !== undefined || flags !== 0;
    return !narrowed && (groups === 0 || (groups & this.#query.groups) === this.#query.groups);
  }

  #share(budgetMs: number): SharedSweep {
    const records: DomainStatsRecord[] = [];
    const deadlineMs = Math.max(1, Math.min(this.#query.deadlineMs, Math.floor(budgetMs * DEADLINE_SHARE)));
    const absent = new Set<string>();
    const soFar = (): Collection => ({ records: [...records], absent, cutShort: true });
    const read = async (signal: AbortSignal): Promise<Collection> => {
      const stats = this.#connection.stats({ ...this.#selection, deadlineMs }, { signal });
      for await (const events of stats.events.chunks()) {
        for (const event of events) {
          if (event.type === "record") records.push(event.record);
          if (event.type !== "sync") continue;
          this.durations.observe(event.summary.tookMs / 1_000);
          for (const { host } of event.summary.absent ?? []) absent.add(host);
        }
      }
      this.streaks.takeAll(records);
      return { records, absent, cutShort: false };
    };
    const done = withTimeout(read, budgetMs, soFar, { signal: this.#end.signal }).catch(() => NOTHING);
    const sweep = { done, soFar };
    this.#sweep = sweep;
    void done.then(() => {
      if (this.#end.signal.aborted) return;
      this.#forget = setTimeout(() => {
        if (this.#sweep === sweep) this.#sweep = undefined;
      }, REUSE_MS).unref();
    });
    return sweep;
  }
}

function collectionOf(feed: Feed): Collection {
  const absent = new Set<string>();
  for (const { host } of feed.statuses) {
    if (host === undefined) return { ...NOTHING, cutShort: false };
    for (const name of host.split(",")) absent.add(name);
  }
  return { records: feed.records(), absent, cutShort: !isAccounted(feed) };
}
