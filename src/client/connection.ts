/// <reference lib="esnext.disposable" preserve="true" />

import { type Clock, STEADY_CLOCK, withTimeout } from "../driver/clock.ts";
import type { ConnectionStatus, Driver } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { checkOptions, FLAG, type Members, SIGNAL } from "../model/options.ts";
import { checkQuery, type Query, type StatsQuery } from "../model/query.ts";
import { byIndex, type Domain, type DomainStatsRecord, type Recorded } from "../model/record.ts";
import { checkCadence, type WatchOptions } from "../model/watch.ts";
import type { Sampling } from "../sampling/sampling.ts";
import type { DomainRates } from "./rates/domain-rates.ts";
import { newSampling } from "./sampling-factory.ts";
import { StatusBoard } from "./status.ts";
import { type ChunkSource, later, StatsStream, type Stream, type WatchSources, WatchStream } from "./stream.ts";
import { Table, type TableOptions } from "./table.ts";

/** Loads code on demand, so that a page does not load it before it is used. */
const load = () => import("./on-demand.ts");

/** Options of every call, besides its query. */
export interface CallOptions {
  /** Aborts the call, in the driver too. A watch then completes; any other call fails with the signal's reason. Default: none. */
  readonly signal?: AbortSignal;
}

/** How to close a connection. */
export interface CloseOptions {
  /**
   * True to let sweeps under way end completely, and each watch get the rest of its present sweep, before the
   * connection is closed. This takes at most one second more than the longest deadline of these sweeps and watches.
   * Default false: sweeps and watches end at once.
   */
  readonly drain?: boolean;
}

/** How much longer than its deadline a sweep may take while the connection drains, in ms. */
const DRAIN_GRACE_MS = 1_000;

const CALL_MEMBERS = { signal: SIGNAL } satisfies Members;
const TABLE_MEMBERS = { intervalMs: undefined, ...CALL_MEMBERS } satisfies Members;
const CLOSE_MEMBERS = { drain: FLAG } satisfies Members;

/** @throws VirstreamError `invalid-argument` */
export function checkClose(options: CloseOptions): CloseOptions {
  checkOptions("close's options object", options, CLOSE_MEMBERS);
  return options;
}

/**
 * A query without a list of domains, for calls that cover all domains, or that take the list as a separate argument.
 */
export type GroupQuery = Omit<StatsQuery, "domains">;

/** The query of a batch call that returns rates in place of records. The call then sweeps twice. */
export interface RatesQuery extends GroupQuery {
  readonly rates: true;
  /**
   * The time from the end of the first sweep to the start of the second, in ms, 10 to 3,600,000. Rates are means over
   * at least this time. Default 1,000.
   */
  readonly overMs?: number;
}

/** The query of a batch call. The overloads allow `overMs` only with `rates`. */
type BatchQuery = StatsQuery & { readonly rates?: boolean; readonly overMs?: number };

/**
 * A connection to a host's domains through any driver: in this process, through libvirtd, or through another virstream.
 * It owns the driver: `close()`, or leaving an `await using` block, ends every sweep and watch, and releases all
 * resources.
 */
export class Connection implements AsyncDisposable {
  /** The driver that the connection uses. */
  readonly driver: Driver;
  #sampling: Sampling | undefined;
  readonly #clock: Clock;
  readonly #end = new AbortController();
  readonly #board: StatusBoard;
  /** The sweeps under way. */
  readonly #sweeps = new Set<{ readonly deadlineMs: number }>();
  #onIdle: (() => void) | undefined;
  readonly #hurry = new AbortController();
  #closing: Promise<void> | undefined;

  /**
   * @internal
   * @param clock the steady clock by which watches keep their intervals
   */
  constructor(driver: Driver, clock: Clock = STEADY_CLOCK) {
    this.driver = driver;
    this.#clock = clock;
    this.#board = new StatusBoard(driver);
  }

  /**
   * The object that runs the watches. Its `snapshot()` returns figures about the watches.
   *
   * @throws VirstreamError `unsupported` in a page, before the page's first watch or table has begun
   */
  get sampling(): Sampling {
    if (this.#sampling === undefined) {
      this.#sampling = newSampling(this.driver, this.#clock);
      if (this.#end.signal.aborted) this.#sampling.close(this.#closedError());
    }
    return this.#sampling;
  }

  /** The URI that the connection was opened with. */
  get uri(): string {
    return this.driver.uri;
  }

  /** The host's name. */
  get host(): string {
    return this.driver.host;
  }

  /**
   * The states of the connection: first the present state of each host, then each change. `reconnecting`: the
   * connection is lost; `connected`: it is open; `degraded`: one of several hosts cannot be reached; `closed`: it has
   * ended for good, after which the stream completes. A slow reader gets the newest state of each host.
   */
  get status(): Stream<ConnectionStatus> {
    return this.#board.stream;
  }

  /**
   * Resolves at the end of the connection: with undefined after `close()`, or with the error when the connection ended
   * by itself and will not be opened again. Never rejects.
   */
  get closed(): Promise<VirstreamError | undefined> {
    return this.#board.closed;
  }

  /** The kind of hypervisor: `qemu`, `test`, … */
  get hypervisor(): string {
    return this.driver.hypervisor;
  }

  /** The names of the groups that the server permits in a query; undefined: all. A query without groups gets these. */
  get permittedGroups(): readonly string[] | undefined {
    return this.driver.permittedGroups;
  }

  /** The beginning, the end and the interval of a recording; undefined for hosts that are live. */
  get recorded(): Recorded | undefined {
    return this.driver.recorded;
  }

  /**
   * One sweep: a stream with one record per domain, each sent as soon as the driver has it.
   *
   * @throws VirstreamError immediately for an invalid query; see checkQuery
   */
  stats(query: StatsQuery = {}, options: CallOptions = {}): StatsStream {
    checkOptions("the call's options object", options, CALL_MEMBERS);
    const checked = this.#check(query);
    const { driver } = this;
    const records = (signal: AbortSignal) => driver.sweep(checked, { signal, expect: () => {} });
    const events = onDemand(({ sweepEvents }, signal) => sweepEvents(driver, checked, signal));
    return new StatsStream(records, events, options.signal, () => this.#begin(checked));
  }

  /**
   * Repeats the sweep of stats() once per interval, for as long as the stream is consumed. Besides records, the
   * stream's `events` report the end of each sweep, domains that are gone, skipped values, and the state of the source.
   * When the connection is lost, the driver connects again and the watch continues.
   *
   * @throws VirstreamError immediately for an invalid query or interval; see checkQuery and checkCadence
   */
  watch(query: StatsQuery = {}, options: WatchOptions & CallOptions = {}): WatchStream {
    const [checked, cadence] = [this.#check(query), checkCadence(options)];
    const source = <T>(open: (sources: WatchSources) => ChunkSource<T>): ChunkSource<T> =>
      onDemand(({ watchSources }, left) => {
        // The connection may be closed while the code is loaded. The stream then completes, as for any close.
        const { aborted } = this.#end.signal;
        return aborted ? nothing() : open(watchSources(this.sampling, checked, cadence))(left);
      });
    const sources: WatchSources = {
      records: source(({ records }) => records),
      events: source(({ events }) => events),
      rates: source(({ rates }) => rates),
    };
    const begin = (): (() => void) => {
      this.#checkOpen();
      return () => {};
    };
    return new WatchStream(sources, options.signal, begin);
  }

  /**
   * A table with the newest record and rates of each domain. It begins at once. It ends with its `close()`, with its
   * signal, or with the connection. It has one watch, which shares its sweeps with other watches of the same query.
   *
   * @throws VirstreamError immediately for an invalid query or interval; see checkQuery and checkCadence
   */
  table(query: StatsQuery = {}, options: TableOptions = {}): Table {
    // A table has no option `mode`: with on-change, a domain without a new record would show rates of an earlier time.
    checkOptions("a table", options, TABLE_MEMBERS);
    return new Table({
      load,
      sampling: () => this.sampling,
      query: this.#check(query),
      cadence: checkCadence(options),
      signal: options.signal,
      now: () => this.#clock.now(),
      source: this.driver,
    });
  }

  /**
   * The records of all domains that pass the query's filters, collected from the stream into one array in the order of
   * arrival. The counterpart of virConnectGetAllDomainStats. With `rates: true`: the rates of these domains between two
   * sweeps. A domain whose rates are unknown is included, with undefined rates.
   *
   * @throws VirstreamError `invalid-argument` for `overMs` without `rates`; see checkQuery
   */
  getAllDomainStats(query: RatesQuery, options?: CallOptions): Promise<DomainRates[]>;
  getAllDomainStats(query?: GroupQuery, options?: CallOptions): Promise<DomainStatsRecord[]>;
  async getAllDomainStats(query: BatchQuery = {}, options: CallOptions = {}) {
    return this.#collect(query, options);
  }

  /**
   * The records of the given domains, each domain once, in the order of the list. With several hosts, the records are
   * sorted by host first. The counterpart of virDomainListGetStats. A domain that does not exist yields a record with
   * status `gone`. If domains of several hosts have the same name, this name yields a record of each of these domains.
   * With `rates: true` it yields rates, as getAllDomainStats() does.
   *
   * @param domains domains of this connection, or uuids or names
   */
  domainListGetStats(
    domains: readonly (Domain | string)[],
    query: RatesQuery,
    options?: CallOptions,
  ): Promise<DomainRates[]>;
  domainListGetStats(
    domains: readonly (Domain | string)[],
    query?: GroupQuery,
    options?: CallOptions,
  ): Promise<DomainStatsRecord[]>;
  async domainListGetStats(
    domains: readonly (Domain | string)[],
    query: BatchQuery = {},
    options: CallOptions = {},
  ): Promise<(DomainRates | DomainStatsRecord)[]> {
    return this.#collect({ ...query, domains }, options, (records) => records.sort(byIndex));
  }

  /** The domains that pass the query's filters, in the order in which the driver lists them. */
  async listDomains(
    query: Pick<StatsQuery, "filter" | "names" | "hosts"> = {},
    options: CallOptions = {},
  ): Promise<Domain[]> {
    const records = await this.stats({ ...query, groups: ["state"] }, options).toArray();
    return records
      .filter((record) => record.status !== "gone")
      .sort(byIndex)
      .map((record) => record.domain);
  }

  /**
   * Finds a domain as virsh does: tries the text as an id, then as a uuid, then as a name.
   *
   * @throws VirstreamError `unknown-domain`; `invalid-argument` when domains of several hosts have the id or the name;
   *   `connection-lost` when a host cannot be reached that may have the domain
   */
  async lookupDomain(text: string, options: CallOptions = {}): Promise<Domain> {
    const { lookup } = await load();
    return lookup(this, text, options);
  }

  /**
   * Completes every watch, and releases all resources. Sweeps under way, and later calls, fail with `connection-closed`.
   * With `drain`, sweeps under way first end completely. Calling it twice is allowed: a second call without `drain`
   * ends the wait of the first.
   *
   * @throws VirstreamError `invalid-argument`
   */
  async close(options: CloseOptions = {}): Promise<void> {
    checkClose(options);
    if (!options.drain) this.#hurry.abort();
    this.#closing ??= this.#board.close(this.#closedError(), () => this.#close());
    await this.#closing;
  }

  async #close(): Promise<void> {
    this.#end.abort(this.#closedError());
    if (!this.#hurry.signal.aborted) await this.#drained();
    this.#sampling?.close(this.#closedError());
    await this.driver.close();
  }

  /**
   * Resolves when no sweep is under way, when the longest deadline and DRAIN_GRACE_MS have passed, or when the program
   * calls `close()` without `drain`.
   */
  async #drained(): Promise<void> {
    const watched = [...(this.#sampling?.watched.values() ?? [])].map(({ query }) => query);
    const underWay = [...this.#sweeps, ...watched];
    const longestMs = Math.max(0, ...underWay.map(({ deadlineMs }) => deadlineMs));
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const ended = Promise.all([this.#sweeps.size === 0 || idle, this.#sampling?.drain(this.#closedError())]);
    const options = { signal: this.#hurry.signal, clock: this.#clock };
    await withTimeout<unknown>(ended, longestMs + DRAIN_GRACE_MS, () => {}, options).catch(() => {});
  }

  /** Counts a sweep that begins. Returns a function to call at its end. */
  #begin({ deadlineMs }: Query): () => void {
    this.#checkOpen();
    const sweep = { deadlineMs };
    this.#sweeps.add(sweep);
    return () => {
      this.#sweeps.delete(sweep);
      if (this.#sweeps.size === 0) this.#onIdle?.();
    };
  }

  /** Closes the connection at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #check(query: StatsQuery): Query {
    this.#checkOpen();
    return checkQuery(query, this.driver);
  }

  /** The records of one sweep; with `rates`, the rates between an earlier sweep and this sweep. */
  async #collect(
    { rates = false, overMs, ...query }: BatchQuery,
    options: CallOptions,
    sorted = (records: DomainStatsRecord[]): DomainStatsRecord[] => records,
  ): Promise<DomainRates[] | DomainStatsRecord[]> {
    const sweep = async (asked: StatsQuery = query): Promise<DomainStatsRecord[]> =>
      sorted(await this.stats(asked, options).toArray());
    if (rates === false && overMs === undefined) return sweep();
    const { ratesOver } = await load();
    const context = { signal: options.signal, end: this.#end.signal, clock: this.#clock };
    return ratesOver(sweep, { rates, overMs, query }, context, this);
  }

  #checkOpen(): void {
    if (this.#end.signal.aborted) throw this.#closedError();
  }

  #closedError(): VirstreamError {
    return new VirstreamError("connection-closed", `the connection to ${this.uri} was closed: connect() again`);
  }
}

/** Makes a source whose code is loaded when it is first consumed. */
function onDemand<T>(
  open: (code: Awaited<ReturnType<typeof load>>, left: AbortSignal) => AsyncIterable<readonly T[]>,
): ChunkSource<T> {
  return (left) => later(load().then((code) => (left.aborted ? nothing() : open(code, left))[Symbol.asyncIterator]()));
}

async function* nothing(): AsyncGenerator<never> {}
