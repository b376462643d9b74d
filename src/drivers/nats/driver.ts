import { withTimeout } from "../../driver/clock.ts";
import {
  type ConnectionStatus,
  type Driver,
  type OpenDriver,
  type OpenOptions,
  type StatusListener,
  StatusListeners,
  type SweepContext,
} from "../../driver/driver.ts";
import { HostList } from "../../driver/host-list.ts";
import { matcherOf } from "../../driver/matcher.ts";
import { nextStatus, unreachableError } from "../../driver/reconnector.ts";
import { VirstreamError } from "../../model/error.ts";
import { checkPatterns } from "../../model/glob.ts";
import type { Query } from "../../model/query.ts";
import type { Absent, DomainStatsRecord } from "../../model/record.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { type NatsAddress, parseNatsUri } from "./address.ts";
import { type NatsSession, readBucket } from "./bucket.ts";
import { Fleet, type FleetFigures, type FleetListener } from "./fleet.ts";
import { Follower } from "./follower.ts";
import { connectNats, followStatus, loadNats, type NatsStatus } from "./library.ts";
import { sweepFleet } from "./sweep.ts";
import { FleetWatch } from "./watch.ts";

/** How long `open` waits for a state that its publisher is replacing, in ms. */
const OPEN_PATIENCE_MS = 1_000;
/** How long an orderly close waits for the server, in ms. */
const CLOSE_TIMEOUT_MS = 1_000;

/**
 * The hosts that publish to a NATS server, as one source. Watches follow the ticks of the hosts. A sweep gets the
 * newest state of each host from these ticks, or, if there is no watch, from a bucket of NATS. The `sampledAt` of a
 * record shows how old the record is. A host that is silent is reported, and its domains have failed records.
 */
export class NatsDriver implements Driver {
  readonly uri: string;
  readonly #session: NatsSession;
  readonly #fleet: Fleet;
  readonly #hosts = new HostList();
  readonly #listeners = new StatusListeners();
  readonly #watches = new Set<FleetWatch>();
  #follower: Follower | undefined;
  #isFollowed = false;
  #status: NatsStatus = { state: "connected", error: undefined };
  #closed: Promise<void> | undefined;

  private constructor(session: NatsSession, selects: (host: string) => boolean) {
    this.uri = session.uri;
    this.#session = session;
    this.#fleet = new Fleet(this, selects);
    const relay: FleetListener = {
      tick: () => {},
      status: ({ host }, error) =>
        this.#listeners.emit({
          state: error === undefined ? "connected" : "degraded",
          host,
          uri: this.#uriOf(host),
          error,
        }),
      forgotten: ({ host }) =>
        this.#listeners.emit({ state: "removed", host, uri: this.#uriOf(host), error: undefined }),
    };
    this.#fleet.listeners.add(relay);
    void followStatus(session.connection, session.uri, (status) => this.#changed(status));
  }

  /** Connects, and reads which hosts there are. */
  static async open(address: NatsAddress, options: OpenOptions): Promise<NatsDriver> {
    const { uri, subjects, hosts, inbox } = address;
    const patterns = hosts === undefined ? undefined : checkPatterns("host=", hosts);
    const library = await loadNats();
    const connection = await connectNats(library, address, "virstream", options);
    const named = patterns?.some((pattern) => /[*?[\\]/.test(pattern)) ? undefined : patterns;
    const session = {
      library,
      connection,
      uri,
      subjects,
      inbox,
      named,
      isConnected: true,
      deletions: new Set<never>(),
    };
    const driver = new NatsDriver(session, matcherOf(patterns));
    try {
      const signal = options.signal ?? new AbortController().signal;
      await readBucket(driver.#session, driver.#fleet, { signal, patienceMs: OPEN_PATIENCE_MS });
      signal.throwIfAborted();
      return driver;
    } catch (error) {
      await driver.close();
      throw error;
    }
  }

  /** The hypervisors of all hosts, each once, with commas between them. */
  get hypervisor(): string {
    const all = [...this.#fleet.hosts.values()].flatMap(({ tick }) => tick?.hypervisor ?? []);
    return [...new Set(all)].join(",");
  }

  get host(): string {
    return this.#hosts.of([...this.#fleet.hosts.keys()]);
  }

  /** How many messages of each kind have come. */
  get figures(): FleetFigures {
    return this.#fleet.figures;
  }

  get absent(): Absent[] {
    if (this.#status.error !== undefined) return [{ host: this.host, error: this.#status.error }];
    return [...this.#fleet.degraded].map(([{ host }, error]) => ({ host, error }));
  }

  /** The state of the connection to NATS, and the hosts whose present state is not known. */
  get statuses(): ConnectionStatus[] {
    const { state, error } = this.#status;
    const degraded = [...this.#fleet.degraded].map(
      ([{ host }, reason]): ConnectionStatus => ({ state: "degraded", host, uri: this.#uriOf(host), error: reason }),
    );
    return [{ state, host: this.host, error }, ...degraded];
  }

  onStatus(listener: StatusListener): () => void {
    return this.#listeners.add(listener);
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return this.#sweep(query, context);
  }

  async *#sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    await this.#reached(query.deadlineMs, context.signal);
    if (context.signal.aborted) return;
    const source = { session: this.#session, fleet: this.#fleet, owner: this, isFollowed: this.#isFollowed };
    yield* sweepFleet(source, query, context);
  }

  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const watch = new FleetWatch(this.#fleet, query, cadence, sink, this);
    this.#watches.add(watch);
    const { state } = this.#status;
    if (state === "closed") watch.end(this.#status.error!);
    else if (state === "reconnecting") watch.connection(this.#status);
    if (this.#isFollowed) watch.begin();
    else if (this.#follower === undefined && state !== "closed") this.#follow();
    return () => {
      watch.stop();
      this.#watches.delete(watch);
      if (this.#watches.size > 0) return;
      void this.#follower?.stop();
      this.#follower = undefined;
      this.#isFollowed = false;
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { connection, deletions } = this.#session;
    const stopped = this.#follower?.stop();
    this.#changed({ state: "closed", error: closedError(this.uri) });
    // Waits for the answers to the requests that delete this driver's JetStream consumers. If the connection were closed
    // at once, the timers of these requests would continue, and the server would keep the consumers.
    const orderly = async (): Promise<void> => {
      await stopped;
      await Promise.all(deletions);
    };
    await withTimeout(orderly, CLOSE_TIMEOUT_MS, () => {});
    await connection.close();
  }

  #follow(): void {
    const follower = new Follower(this.#session, this.#fleet, (error) => {
      for (const watch of this.#watches) watch.end(error);
    });
    this.#follower = follower;
    void follower.ready.then(() => {
      if (this.#follower !== follower) return;
      this.#isFollowed = true;
      for (const watch of this.#watches) watch.begin();
    });
  }

  /**
   * Resolves when there is a connection. @throws VirstreamError if there is no connection within this many ms, or the
   * connection was closed
   */
  async #reached(ms: number, signal: AbortSignal): Promise<void> {
    const until = performance.now() + ms;
    while (this.#status.state === "reconnecting" && !signal.aborted) {
      const restMs = until - performance.now();
      if (restMs <= 0) throw unreachableError(this.uri, this.#status.error!);
      await nextStatus(this, restMs, { signal }).catch(() => {});
    }
    if (this.#status.state === "closed") throw this.#status.error;
  }

  #changed(status: NatsStatus): void {
    if (this.#status.state === "closed") return;
    const { state } = status;
    const error =
      state === "closed" && status.error !== undefined && status.error.retryable
        ? new VirstreamError(status.error.code, status.error.message, { cause: status.error, retryable: false })
        : status.error;
    this.#status = { state, error };
    if (state !== "closed") this.#session.isConnected = state === "connected";
    if (state === "connected") this.#follower?.reconnected();
    else this.#follower?.lost();
    for (const watch of this.#watches) {
      if (state === "closed") watch.end(error!);
      else watch.connection(this.#status);
    }
    if (state === "closed") void this.#follower?.stop();
    this.#listeners.emit({ state, host: this.host, error });
  }

  #uriOf(host: string): string {
    return `${this.uri.split("?")[0]}?host=${encodeURIComponent(host)}`;
  }
}

function closedError(uri: string): VirstreamError {
  return new VirstreamError("connection-closed", `the connection to ${uri} was closed`);
}

/** Opens a driver for the hosts that publish to a NATS server. */
export const openNats: OpenDriver = async (uri, options) => {
  const address = parseNatsUri(uri);
  options.signal?.throwIfAborted();
  return NatsDriver.open(address, options);
};
