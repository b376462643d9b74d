import { type Clock, STEADY_CLOCK, withTimeout } from "../driver/clock.ts";
import type { Absent, Driver, OpenDriver, OpenOptions, SweepContext } from "../driver/driver.ts";
import { openDriver } from "../driver/registry.ts";
import { type StatusListener, StatusListeners } from "../driver/status.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { AggregateWatch } from "./aggregate-watch.ts";
import { Member } from "./member.ts";
import { NamedSweep } from "./named-sweep.ts";
import { Ownership } from "./ownership.ts";
import { WholeSweep } from "./whole-sweep.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** What an aggregate depends on besides its hosts. */
export interface AggregateDependencies {
  /** How to open one host. Default: by the scheme of its URI. */
  readonly open?: OpenDriver;
  /** A steady one; for tests. */
  readonly clock?: Clock;
}

/**
 * Several hosts as one. A sweep sweeps them all at once, a watch watches them all; every record carries its host. The first
 * sweep of a host that does not answer takes the query's deadline and a second more; from then on the host is left out, and
 * probed in the background, until it answers again. See docs/aggregation.md for what that means to a reader.
 */
export class AggregateDriver implements Driver {
  readonly #members: readonly Member[];
  readonly #ownership: Ownership;
  readonly #clock: Clock;
  readonly #listeners = new StatusListeners();
  readonly #end = new AbortController();
  readonly #watches = new Set<AggregateWatch>();
  #closed: Promise<void> | undefined;

  private constructor(uris: readonly string[], options: OpenOptions, { open, clock }: AggregateDependencies) {
    this.#clock = clock ?? STEADY_CLOCK;
    this.#ownership = new Ownership(this, uris.length);
    this.#members = uris.map(
      (uri, number) =>
        new Member({
          uri,
          number,
          open: open ?? openDriver,
          openOptions: options,
          clock: this.#clock,
          check: (driver) => this.#check(driver),
        }),
    );
  }

  /**
   * Opens all at once. Resolves when each has answered, or failed once; those that failed are retried.
   *
   * @throws VirstreamError `invalid-argument` for no URI, one that is named twice, or two for one host; what a host's driver
   *   raises and retrying cannot cure (`invalid-uri`, `unauthenticated`, …); and when no host could be reached, why
   */
  static async open(
    uris: readonly string[],
    options: OpenOptions = {},
    dependencies: AggregateDependencies = {},
  ): Promise<AggregateDriver> {
    if (uris.length === 0) throw new VirstreamError("invalid-argument", "there is no URI: name at least one host");
    const twice = uris.find((uri, i) => uris.indexOf(uri) !== i);
    if (twice !== undefined)
      throw new VirstreamError("invalid-argument", `${twice} is named twice: name each host once`);
    options.signal?.throwIfAborted();
    const driver = new AggregateDriver(uris, options, dependencies);
    try {
      await driver.#opened(options);
    } catch (error) {
      await driver.close();
      throw error;
    }
    return driver;
  }

  /** The hosts' URIs without secrets, with spaces between them. */
  get uri(): string {
    return this.#members.map((member) => member.uri).join(" ");
  }

  /** What answers on the hosts that have been there, each once, with commas between them. */
  get hypervisor(): string {
    return [...new Set(this.#members.flatMap(({ driver }) => driver?.hypervisor.split(",") ?? []))].join(",");
  }

  /** The hosts' names with commas between them; a host's URI while it has not been there. */
  get host(): string {
    return this.#members.map((member) => member.name).join(",");
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    const options = { members: this.#members, query, context, ownership: this.#ownership, closed: this.#end.signal };
    return query.domains === undefined ? new WholeSweep(options).records() : new NamedSweep(options).records();
  }

  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const [members, ownership, clock] = [this.#members, this.#ownership, this.#clock];
    const over = (): void => void this.#watches.delete(watch);
    const watch = new AggregateWatch({ members, query, cadence, ownership, clock, sink, over });
    this.#watches.add(watch);
    if (this.#end.signal.aborted) watch.end(this.#end.signal.reason);
    else watch.start();
    return () => watch.stop();
  }

  /** `degraded` and `connected` of one host each, and `closed` of all. */
  onStatus(listener: StatusListener): () => void {
    return this.#listeners.add(listener);
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const error = new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`);
    this.#end.abort(error);
    this.#listeners.emit({ state: "closed", host: this.host, error });
    for (const watch of [...this.#watches]) watch.end(error);
    await Promise.all(this.#members.map((member) => member.close(error)));
  }

  async #opened({ signal, connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS }: OpenOptions): Promise<void> {
    const first = this.#members.map(async (member) => {
      const error = await member.start();
      if (error !== undefined && !error.retryable) {
        throw new VirstreamError(error.code, `${member.name}: ${error.message}`, { cause: error });
      }
    });
    await withTimeout<unknown>(Promise.all(first), connectTimeoutMs, () => {}, { signal, clock: this.#clock });
    if (this.#members.every(({ driver }) => driver === undefined)) throw this.#noneReachable();
    for (const member of this.#members) {
      member.onStatus(({ state, host, error }) => {
        if (state !== "closed") this.#listeners.emit({ state: error === undefined ? state : "degraded", host, error });
      });
    }
  }

  /** The hosts that are not there now. */
  get hosts(): string[] {
    return this.#members.flatMap(({ driver, name }) => (driver === undefined ? [] : [name]));
  }

  get absent(): Absent[] {
    return this.#members.flatMap(({ name, error }) => (error === undefined ? [] : [{ host: name, error }]));
  }

  #noneReachable(): VirstreamError {
    const causes = this.#members.map(({ error }) => error!);
    const [first] = causes;
    const code = causes.every((cause) => cause.code === first?.code) ? first!.code : "connection-lost";
    const said = causes.map(({ message }, i) => `${this.#members[i]!.name}: ${message}`);
    return new VirstreamError(code, said.length === 1 ? said[0]! : `no host can be reached: ${said.join("; ")}`);
  }

  /** Two ways to one host would give each of its domains twice. */
  #check(driver: Driver): void {
    const hosts = driver.host.split(",");
    for (const member of this.#members) {
      const same = member.driver?.host.split(",").find((host) => hosts.includes(host));
      if (same !== undefined) {
        throw new VirstreamError(
          "invalid-argument",
          `${driver.uri} and ${member.driver!.uri} are both the host ${same}: name each host once`,
        );
      }
    }
  }
}
