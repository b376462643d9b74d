import { AggregateDriver } from "../../src/aggregate/aggregate-driver.ts";
import { Connection } from "../../src/client/connection.ts";
import { type Driver, type StatusListener, StatusListeners, type SweepContext } from "../../src/driver/driver.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { checkQuery, type Query, type StatsQuery } from "../../src/model/query.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { checkCadence, type WatchEvent, type WatchOptions, type WatchSink } from "../../src/model/watch.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";
import { CollectingSink } from "../sampling/collecting-sink.ts";
import { aborted } from "../server/scripted-driver.ts";

/** A simulated host that can be taken away in every way that hosts go. */
export class Host implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor = "test";
  /** Cannot be opened. */
  down = false;
  /** Why it cannot be opened, if it is down; undefined: nothing listens. */
  refusal: VirstreamError | undefined;
  /** Why sweeps fail. */
  failure: VirstreamError | undefined;
  /** What is said of a record before it is given out. */
  edit: ((record: DomainStatsRecord) => DomainStatsRecord | undefined) | undefined;
  /** After so many chunks a sweep says nothing more; undefined: it is not frozen. */
  frozenAfter: number | undefined;
  /** For how many turns of the event loop its sweeps say nothing. */
  delayTurns = 0;
  /** How often it was opened, and closed. */
  opened = 0;
  closed = 0;
  /** What was asked of it, in order. */
  readonly queries: Query[] = [];
  readonly #inner: SimulatedDriver;
  readonly #listeners = new StatusListeners();

  constructor(name: string, parameters = "domains=3") {
    this.host = name;
    this.uri = `host:///${name}`;
    this.#inner = new SimulatedDriver(`test:///default?host=${name}&${parameters}`);
  }

  get simulation() {
    return this.#inner.simulation;
  }

  async *sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    this.queries.push(query);
    let chunks = 0;
    for (let i = 0; i < this.delayTurns; i++) await turn();
    if (this.frozenAfter === 0) return this.#hang(context);
    if (this.failure !== undefined) throw this.failure;
    for await (const records of this.#inner.sweep(query, context)) {
      yield this.edit === undefined ? records : records.flatMap((record) => this.edit?.(record) ?? []);
      if (++chunks === this.frozenAfter) return this.#hang(context);
    }
  }

  onStatus(listener: StatusListener): () => void {
    return this.#listeners.add(listener);
  }

  /** Its driver reports that the connection is lost. */
  lose(): void {
    const error = new VirstreamError("connection-lost", "the daemon went away");
    this.#listeners.emit({ state: "reconnecting", host: this.host, error });
  }

  /** Its driver reports that it is connected again. */
  reconnect(): void {
    this.#listeners.emit({ state: "connected", host: this.host, error: undefined });
  }

  async close(): Promise<void> {
    this.closed++;
  }

  async #hang({ signal }: SweepContext): Promise<void> {
    await aborted(signal);
  }
}

/** Several hosts behind one driver, on a clock that stands still. */
export class Hosts implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly hosts: readonly Host[];
  driver!: AggregateDriver;
  connection!: Connection;

  constructor(...hosts: Host[]) {
    this.hosts = hosts;
  }

  /** Opens them, with as much time as it takes. */
  static async opened(...hosts: Host[]): Promise<Hosts> {
    const all = new Hosts(...hosts);
    await all.open();
    return all;
  }

  async open(): Promise<void> {
    this.driver = await AggregateDriver.open(
      this.hosts.map(({ uri }) => uri),
      {},
      { clock: this.clock, open: async (uri) => this.#open(uri) },
    );
    this.connection = new Connection(this.driver);
  }

  /** A sweep, with as much time as it takes. */
  async records(query: StatsQuery = {}): Promise<DomainStatsRecord[]> {
    return this.settle(this.connection.stats(query).toArray());
  }

  /** A sweep in which no time passes: whoever has to be waited for fails the test by its time limit. */
  async recordsAtOnce(query: StatsQuery = {}): Promise<DomainStatsRecord[]> {
    return this.connection.stats(query).toArray();
  }

  watch(query: StatsQuery = {}, options: WatchOptions = {}): Watched {
    return new Watched((sink) => this.driver.watch(checkQuery(query, this.driver), checkCadence(options), sink));
  }

  /** Settles a promise by letting time pass, as far as it takes: a little, whenever nothing else happens. */
  async settle<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => {
      settled = true;
    };
    promise.then(done, done);
    while (!settled) {
      for (let i = 0; i < 20 && !settled; i++) await turn();
      if (!settled) this.clock.advance(100);
    }
    return promise;
  }

  /** Lets time pass, and everything happen that comes of it. */
  async pass(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      this.clock.advance(Math.min(left, 50));
      for (let i = 0; i < 5; i++) await turn();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection?.close();
  }

  #open(uri: string): Host {
    const host = this.hosts.find((each) => each.uri === uri)!;
    host.opened++;
    if (host.down) throw host.refusal ?? new VirstreamError("connection-refused", `nothing listens at ${uri}`);
    return host;
  }
}

/** A watch, and what it has pushed. */
export class Watched {
  readonly #sink = new CollectingSink();
  readonly stop: () => void;

  constructor(watch: (sink: WatchSink) => () => void) {
    this.stop = watch(this.#sink);
  }

  get events(): readonly WatchEvent[] {
    return this.#sink.events;
  }

  get error(): VirstreamError | undefined {
    return this.#sink.error;
  }

  /** What has happened since the last call, in short. */
  take(): string[] {
    return this.#sink.take().map(briefly);
  }

  /** The syncs, statuses, gaps and ends since the last call, in short. */
  takeSigns(): string[] {
    return this.take().filter((sign) => !sign.startsWith("record"));
  }
}

function briefly(event: WatchEvent): string {
  switch (event.type) {
    case "record":
      return `record ${event.record.domain.host}/${event.record.domain.name} ${event.record.status}`;
    case "gone":
      return `gone ${event.domain.host}/${event.domain.name}`;
    case "sync":
      return `sync ${event.host} ${event.summary.domains}`;
    case "gap":
      return `gap ${event.host} ${event.reason} ${event.skipped}`;
    case "status":
      return `status ${event.host} ${event.state}`;
  }
}

/** Records in short, sorted by place. */
export function inOrder(records: readonly DomainStatsRecord[]): string[] {
  return [...records]
    .sort((one, other) => one.index - other.index)
    .map(({ domain, status }) => `${domain.host}/${domain.name} ${status}`);
}
