import { hostNames, selectedHosts } from "../../driver/matcher.ts";
import { DomainMap } from "../../model/domain-map.ts";
import { VirstreamError } from "../../model/error.ts";
import { type Absent, type Domain, type DomainStatsRecord, domainKey } from "../../model/record.ts";
import type { GapEvent, StatusEvent, SyncEvent, WatchSink } from "../../model/watch.ts";
import { isAccounted } from "../../sampling/completeness.ts";
import type { Feed } from "../../sampling/feed.ts";
import type { DomainRates } from "../rates/domain-rates.ts";
import { FreshRates } from "../rates/fresh-rates.ts";
import { RateMeter } from "../rates.ts";
import { ChangeReader, ChangeSet, type TableChange } from "./changes.ts";
import { ranked, type SortOrder, type SortValue } from "./ranking.ts";

/**
 * The row of one domain in a table. A row object never changes: at each change of the domain, the table makes a new
 * one.
 */
export class TableRow {
  /** See domainKey(). */
  readonly key: string;
  /** The newest record. */
  readonly record: DomainStatsRecord;
  /**
   * True if the record is from before its host became absent, or from before the table ended. After the host is back, a
   * row stays stale until its next record.
   */
  readonly stale: boolean;
  #rates: DomainRates;
  readonly #now: () => number;

  /** @internal */
  constructor(key: string, record: DomainStatsRecord, rates: DomainRates, stale: boolean, now: () => number) {
    this.key = key;
    this.record = record;
    this.#rates = rates;
    this.stale = stale;
    this.#now = now;
  }

  /**
   * The rates from the domain's earlier record to this record; an unknown rate is undefined. The row computes all of
   * them when you first read `rates`.
   */
  get rates(): DomainRates {
    if (this.#rates instanceof FreshRates) this.#rates = this.#rates.plain();
    return this.#rates;
  }

  /**
   * The same rates, for a list that reads only some rates of each guest. Each reading computes the rates again, unless
   * `rates` has been read before. The row does not keep them.
   *
   * @internal
   */
  get glance(): DomainRates {
    return this.#rates;
  }

  /** The domain, from its newest record. */
  get domain(): Domain {
    return this.record.domain;
  }

  /**
   * How long ago the record was sampled, in ms: the present steady time minus the record's `steadyAt`. Never negative.
   */
  get ageMs(): number {
    return Math.max(0, this.#now() - this.record.steadyAt);
  }

  /** @internal */
  outdated(): TableRow {
    return this.stale ? this : new TableRow(this.key, this.record, this.#rates, true, this.#now);
  }

  /** The row as a plain object, for JSON. */
  toJSON(): { key: string; record: DomainStatsRecord; rates: DomainRates; stale: boolean } {
    const { key, record, rates, stale } = this;
    return { key, record, rates, stale };
  }
}

/** The order of a table's rows. */
export interface Ranking {
  readonly by: (row: TableRow) => SortValue;
  readonly order: SortOrder;
}

/** The inputs of TableRows. */
export interface RowsOptions {
  /** A steady clock, in ms. */
  readonly now: () => number;
  readonly source: { readonly host: string };
  /** The patterns of the query's `hosts`. */
  readonly patterns: readonly string[] | undefined;
  /** Called when each host has been swept or cannot be reached; it may be called again later. */
  readonly onReady: () => void;
  /** Called once, when the rows end. */
  readonly onEnd: (error: VirstreamError) => void;
}

interface Entry {
  readonly key: string;
  row: TableRow;
}

/**
 * The rows of a table, which the events of a feed keep up to date. This object has no timer, and cannot fall behind,
 * because it keeps only the newest row of each domain, and the keys of the rows that have changed since the last tick.
 */
export class TableRows implements WatchSink {
  readonly #options: RowsOptions;
  #feed: Feed | undefined;
  readonly #meter = new RateMeter();
  readonly #byKey = new Map<string, Entry>();
  /** The same entries, found without building a key. */
  readonly #byDomain = new DomainMap<Entry>();
  readonly #changes = new ChangeSet();
  readonly #readers = new Set<ChangeReader>();
  #ticked = false;
  #ranking: Ranking | undefined;
  /** The rows that `values()` returns; undefined if they must be collected again. */
  #values: readonly TableRow[] | undefined;
  #error: VirstreamError | undefined;

  constructor(options: RowsOptions) {
    this.#options = options;
  }

  /** Opens and joins a feed, which first sends its state and then its events. Returns a function that leaves it. */
  follow(open: () => Feed): () => void {
    try {
      const feed = open();
      this.#feed = feed;
      if (feed.error === undefined) feed.push(this);
      else this.end(feed.error);
      // If the query selects no host, no event follows that could call onReady.
      if (isAccounted(feed)) this.#options.onReady();
      return () => feed.leave(this);
    } catch (thrown) {
      this.end(VirstreamError.from(thrown));
      return () => {};
    }
  }

  get size(): number {
    return this.#byKey.size;
  }

  get(key: string): TableRow | undefined {
    return this.#byKey.get(key)?.row;
  }

  /**
   * The rows in the order of the ranking; without a ranking, in the order in which they came. The array is the same
   * until a row changes.
   */
  values(): readonly TableRow[] {
    const ranking = this.#ranking;
    this.#values ??= ranking === undefined ? [...this.#rows()] : ranked(this.#rows(), ranking.by, ranking.order);
    return this.#values;
  }

  rank(ranking: Ranking): void {
    this.#ranking = ranking;
    this.#values = undefined;
  }

  top(n: number, by: Ranking["by"]): TableRow[] {
    return ranked(this.#rows(), by, "descending", n);
  }

  /** The hosts that cannot be reached at present. */
  get absent(): Absent[] {
    const hosts = new Map<string, Absent>();
    const { source, patterns } = this.#options;
    const all = selectedHosts(source.host, patterns);
    const add = (names: readonly string[], error: VirstreamError): void => {
      for (const host of names) if (!hosts.has(host)) hosts.set(host, { host, error });
    };
    if (this.#error !== undefined) add(all, this.#error);
    else {
      for (const { host, error, state } of this.#feed?.statuses ?? []) {
        add(host?.split(",") ?? all, error ?? new VirstreamError("connection-lost", `it is ${state}`));
      }
    }
    return [...hosts.values()];
  }

  /**
   * Returns a reader of the changes. The reader first gets the keys of all rows at the last tick, if there was a tick.
   */
  read(): ChangeReader {
    const reader = new ChangeReader((left) => this.#readers.delete(left));
    if (this.#ticked) reader.push({ came: this.#changes.keysBefore(this.#byKey.keys()), changed: [], left: [] });
    if (this.#error === undefined) this.#readers.add(reader);
    else reader.end(failureOf(this.#error));
    return reader;
  }

  record(record: DomainStatsRecord): void {
    const rates = this.#meter.freshly(record);
    const entry = this.#byDomain.get(record.domain);
    const key = entry?.key ?? domainKey(record.domain);
    const row = new TableRow(key, record, rates, false, this.#options.now);
    if (entry !== undefined) entry.row = row;
    else {
      const added = { key, row };
      this.#byKey.set(key, added);
      this.#byDomain.set(record.domain, added);
    }
    this.#changed(key, entry === undefined ? "came" : "changed");
  }

  gone(domain: Domain): void {
    this.#meter.forget(domain);
    const entry = this.#byDomain.get(domain);
    if (entry === undefined) return;
    this.#byDomain.delete(domain);
    this.#byKey.delete(entry.key);
    this.#changed(entry.key, "left");
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    if (event.type === "gap") {
      this.#meter.gap(event.host);
      // A slow connection may deliver gaps, and no sync for a long time. So a gap ends a tick, too.
      if (this.#changes.size > 0) this.#tick();
      return;
    }
    if (event.type === "status" && event.state !== "connected") this.#outdate(event.host);
    this.#tick();
    if (this.#feed !== undefined && isAccounted(this.#feed)) this.#options.onReady();
  }

  flush(): void {}

  /** Ends the table: all rows are stale, and the readers complete, or fail if the watch has failed. */
  end(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#outdate(undefined);
    this.#meter.gap();
    this.#tick();
    for (const reader of this.#readers) reader.end(failureOf(error));
    this.#readers.clear();
    this.#options.onEnd(error);
  }

  *#rows(): Generator<TableRow> {
    for (const { row } of this.#byKey.values()) yield row;
  }

  #changed(key: string, difference: keyof TableChange): void {
    this.#values = undefined;
    this.#changes.note(key, difference);
  }

  /** @param hosts undefined: all */
  #outdate(hosts: string | undefined): void {
    const names = hosts === undefined ? undefined : hostNames(hosts);
    for (const entry of this.#byKey.values()) {
      if (entry.row.stale || names?.includes(entry.row.domain.host) === false) continue;
      entry.row = entry.row.outdated();
      this.#changed(entry.key, "changed");
    }
  }

  #tick(): void {
    this.#ticked = true;
    const change = this.#changes.take();
    for (const reader of this.#readers) reader.push(change);
  }
}

/**
 * The error for the readers. It is undefined when the program closes the connection or the table, and at the end of a
 * recording, because these ends are no failures.
 */
function failureOf(error: VirstreamError): VirstreamError | undefined {
  return error.code === "connection-closed" || error.code === "end-of-recording" ? undefined : error;
}
