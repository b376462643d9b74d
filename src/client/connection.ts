import { type Clock, STEADY_CLOCK } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import type { StatusListener } from "../driver/status.ts";
import { VirstreamError } from "../model/error.ts";
import { checkQuery, type Query, type StatsQuery } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import { checkCadence, type WatchOptions } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";
import { StatsStream } from "./stats-stream.ts";
import { WatchStream } from "./watch-stream.ts";

/** What every call takes besides its query. */
export interface CallOptions {
  /** Ends the call, all the way to the driver; it then fails with the signal's reason. */
  readonly signal?: AbortSignal;
}

/** A query without a list of domains, for the calls that take that list apart. */
export type GroupQuery = Omit<StatsQuery, "domains">;

/**
 * A connection to a host's domains, whatever the driver: in this process, behind libvirtd, or behind another virstream.
 * It owns the driver: `close()`, or leaving an `await using` block, ends every sweep and releases everything.
 */
export class Connection implements AsyncDisposable {
  /** The driver that serves it. */
  readonly driver: Driver;
  /** What watches it, and how that goes: `sampling.snapshot()` has the figures. */
  readonly sampling: Sampling;
  #closed = false;

  /**
   * @internal
   * @param clock by which its watches keep their intervals; a steady one
   */
  constructor(driver: Driver, clock: Clock = STEADY_CLOCK) {
    this.driver = driver;
    this.sampling = new Sampling(driver, clock);
  }

  /** The URI that it was opened with. */
  get uri(): string {
    return this.driver.uri;
  }

  /** The name of the host whose domains these are. */
  get host(): string {
    return this.driver.host;
  }

  /** What kind of hypervisor answers: `qemu`, `test`, … */
  get hypervisor(): string {
    return this.driver.hypervisor;
  }

  /**
   * One sweep: a stream of one record per domain, each as soon as the driver has it.
   *
   * @throws VirstreamError at once for a query that is not valid; see checkQuery
   */
  stats(query: StatsQuery = {}, options: CallOptions = {}): StatsStream {
    return new StatsStream(this.driver, this.#check(query), options.signal);
  }

  /**
   * The same sweep once per interval, for as long as the stream is consumed: a stream of records, whose `events` also have
   * the end of each sweep, the domains that left, what was skipped, and how the source is doing. A connection that
   * is lost is made again, and the watch goes on.
   *
   * @throws VirstreamError at once for a query or an interval that is not valid; see checkQuery and checkCadence
   */
  watch(query: StatsQuery = {}, options: WatchOptions & CallOptions = {}): WatchStream {
    const { signal, ...cadence } = options;
    return new WatchStream(this.sampling, this.#check(query), checkCadence(cadence), signal);
  }

  /**
   * The records of all domains that pass the query's filters, as one array: the stream, collected, in the order of
   * arrival. The counterpart of virConnectGetAllDomainStats.
   */
  async getAllDomainStats(query: GroupQuery = {}, options: CallOptions = {}): Promise<DomainStatsRecord[]> {
    return this.stats(query, options).toArray();
  }

  /**
   * The records of these domains, in the order of arrival, each domain once. The counterpart of virDomainListGetStats.
   * A domain that is not there yields a record with status `gone`.
   *
   * @param domains as this connection gave them out, or uuids or names
   */
  async domainListGetStats(
    domains: readonly (Domain | string)[],
    query: GroupQuery = {},
    options: CallOptions = {},
  ): Promise<DomainStatsRecord[]> {
    return this.stats({ ...query, domains }, options).toArray();
  }

  /** The domains that pass the query's filters, in the order of the driver's listing. */
  async listDomains(query: Pick<StatsQuery, "filter"> = {}, options: CallOptions = {}): Promise<Domain[]> {
    const records = await this.stats({ ...query, groups: ["state"] }, options).toArray();
    return records
      .filter((record) => record.status !== "gone")
      .sort((one, other) => one.index - other.index)
      .map((record) => record.domain);
  }

  /**
   * The domain of a uuid or a name.
   *
   * @throws VirstreamError `unknown-domain`
   */
  async lookupDomain(uuidOrName: string, options: CallOptions = {}): Promise<Domain> {
    const [record] = await this.stats({ groups: ["state"], domains: [uuidOrName] }, options).toArray();
    if (record === undefined || record.status === "gone") {
      throw (
        record?.error ?? new VirstreamError("unknown-domain", `no domain ${JSON.stringify(uuidOrName)} on ${this.uri}`)
      );
    }
    return record.domain;
  }

  /**
   * Calls back at each change of the connection's state: `reconnecting` when it is lost, `connected` when there is one
   * again, `closed` when there will be none any more; `degraded` when one of several hosts cannot be reached. Not called
   * for the state at present: see `driver.absent`. A driver whose connection cannot be lost never calls.
   *
   * An error that the listener throws does not reach the connection: it becomes an uncaught exception, as one of an
   * EventTarget's listener or of an RxJS subscriber does.
   *
   * @returns a function that removes the listener
   */
  onStatus(listener: StatusListener): () => void {
    return this.driver.onStatus?.(listener) ?? (() => {});
  }

  /** Ends every sweep and releases everything. Safe to call twice. */
  async close(): Promise<void> {
    this.#closed = true;
    this.sampling.close(this.#closedError());
    await this.driver.close();
  }

  /** Closes the connection at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #check(query: StatsQuery): Query {
    if (this.#closed) throw this.#closedError();
    return checkQuery(query, this.driver);
  }

  #closedError(): VirstreamError {
    return new VirstreamError("connection-closed", `the connection to ${this.uri} was closed: connect() again`);
  }
}
