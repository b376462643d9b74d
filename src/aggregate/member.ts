import { type Clock, withTimeout } from "../driver/clock.ts";
import type { ConnectionStatus, Driver, OpenDriver, OpenOptions, SweepContext } from "../driver/driver.ts";
import { eventLoopTurn } from "../driver/event-loop.ts";
import { mayHaveHost } from "../driver/matcher.ts";
import { Reconnector, unreachableError } from "../driver/reconnector.ts";
import { withoutSecrets } from "../driver/registry.ts";
import { type ErrorCode, VirstreamError } from "../model/error.ts";
import { groupMask } from "../model/group.ts";
import { FILTER_MASK, type Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";
import { KnownDomains } from "./known-domains.ts";

/** The query of a probe: its first record proves that the host answers. */
const PROBE: Query = { groups: groupMask(["state"]), flags: 0, deadlineMs: 5_000, domains: undefined };

type Chunk = readonly DomainStatsRecord[];
type Pulled = IteratorResult<Chunk> | undefined;

/**
 * A healthy host sends a record by the deadline, even if only for a late domain. A host that is silent for this many ms
 * longer counts as unreachable.
 */
export const GRACE_MS = 1_000;

/** The codes of the errors that a query causes. A host that answers with one of them can be reached. */
const FAULTS_OF_THE_QUERY: ReadonlySet<ErrorCode> = new Set([
  "invalid-argument",
  "unknown-group",
  "unknown-flag",
  "empty-domain-list",
  "foreign-domain",
  "unknown-domain",
  "unsupported",
]);

/** The inputs of a member. Only `openOptions` may differ between the members of an aggregate. */
export interface MemberOptions {
  readonly open: OpenDriver;
  readonly openOptions: OpenOptions;
  readonly clock: Clock;
  /**
   * Calls `admitted` if no other member has the same host. Otherwise, or if a source of several hosts has a label, it
   * rejects. An aborted signal cuts this check short, so `admitted` must check the signal, too.
   */
  readonly admit: (driver: Driver, member: Member, signal: AbortSignal, admitted: () => void) => Promise<void>;
}

interface OpenHost {
  readonly driver: Driver;
  readonly sampling: Sampling;
  readonly unlisten: (() => void) | undefined;
}

/**
 * One host of an aggregate. It is opened again and again until it answers. Later, if a sweep of the host fails or
 * hangs, the host is unreachable, and is not queried until it has answered a probe. So it delays the other hosts in one
 * sweep only. The attempts end with close(), or when the program's `reconnect` options end them.
 */
export class Member {
  readonly number: number;
  /** Its URI as the program gave it, which may have secrets. */
  readonly given: string;
  /** Its name in this aggregate, if its URI gives it one with `label=`. */
  readonly label: string | undefined;
  /** The domains that it had when it last answered. */
  known = new KnownDomains();
  readonly #uri: string;
  readonly #options: MemberOptions;
  /**
   * Makes attempts to reach the host while it is unreachable. An attempt probes the open driver, or opens a driver if
   * none is open.
   */
  readonly reconnector: Reconnector<OpenHost>;
  /**
   * The host's open driver, with its sampling. It stays open while the host is unreachable, until the driver reports a
   * permanent error.
   */
  #open: OpenHost | undefined;
  /** Its name when it was last reachable. */
  #host = "";
  #probing: Promise<VirstreamError | undefined> | undefined;
  #released: Promise<void> | undefined;
  readonly #end = new AbortController();

  /** @param number returns a number for this member that no other member has */
  constructor(uri: string, number: (label: string | undefined) => number, options: MemberOptions) {
    const { rest, label } = withoutLabel(uri);
    this.given = uri;
    this.#uri = rest;
    this.label = label;
    this.#options = options;
    this.number = number(label);
    this.reconnector = new Reconnector({
      name: () => this.name,
      host: () => this.name,
      open: (signal) => this.#attempt(signal),
      isPermanent: () => false,
      reconnect: options.openOptions.reconnect,
      retryAtOnce: true,
      clock: options.clock,
    });
    this.reconnector.onStatus(({ state, error }) => {
      if (state === "closed") this.#releaseHost(error!);
    });
  }

  /** The URI of the host, without secrets and without `label=`. It is the same before and after the host is opened. */
  get uri(): string {
    return withoutSecrets(this.#uri);
  }

  /** Its label, or else the host's own name. Until that name is known: its URI without secrets. */
  get name(): string {
    return this.label || this.#open?.driver.host || this.#host || withoutSecrets(this.#uri);
  }

  get driver(): Driver | undefined {
    return this.#open?.driver;
  }

  /** True if a query selects this host, or may select it while its name is not known. */
  isSelected({ hosts }: Query): boolean {
    return mayHaveHost(this.name, hosts);
  }

  /**
   * The query for its driver. If the driver has one host, the query has no `hosts`: the aggregate has already selected
   * the host by the name that the host has in the aggregate.
   */
  queryFor(query: Query): Query {
    if (query.hosts === undefined || this.driver?.host.includes(",")) return query;
    const { hosts: _, ...rest } = query;
    return rest;
  }

  /** The error for queries while the host is unreachable; undefined while it is reachable. */
  get unreachable(): VirstreamError | undefined {
    return this.reconnector.unreachable;
  }

  /** The error of the last loss or the last failed attempt; undefined while the host is reachable. */
  get error(): VirstreamError | undefined {
    return this.reconnector.error;
  }

  /**
   * Begins to open the host. Resolves at the end of the first attempt, with the error if that attempt failed; further
   * attempts follow.
   */
  async start(): Promise<VirstreamError | undefined> {
    try {
      await this.reconnector.connect();
      return undefined;
    } catch (thrown) {
      this.reconnector.retry();
      return VirstreamError.from(thrown);
    }
  }

  /**
   * One sweep of the host. Fails at once while the host is unreachable. A failure that the query did not cause makes
   * the host unreachable, and its error names the host.
   */
  async *sweep(query: Query, context: SweepContext): AsyncGenerator<Chunk, void, void> {
    const open = this.#open;
    if (open === undefined || this.unreachable !== undefined) throw this.unreachable;
    const known = isWhole(query) ? new KnownDomains() : undefined;
    try {
      for await (const records of sweepWithTimeout(open.driver, query, context, this.#options.clock)) {
        if (known !== undefined) for (const record of records) known.add(record);
        yield records;
      }
      if (known !== undefined && !context.signal.aborted) this.known = known;
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (isFaultOfQuery(error)) throw error;
      throw this.markUnreachable(error, open.driver);
    }
  }

  /**
   * Pushes a watch of the host into a sink, by the driver's own watch or by the sampler. The host must have a driver.
   * Returns a function that stops the watch.
   */
  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const { driver, sampling } = this.#open!;
    return driver.watch === undefined ? sampling.push(query, cadence, sink) : driver.watch(query, cadence, sink);
  }

  /**
   * Resolves with the error that makes the host unreachable, or with undefined if the host answers. Asks the host,
   * unless it counts as unreachable already.
   */
  async probe(driver: Driver): Promise<VirstreamError | undefined> {
    if (this.unreachable !== undefined) return this.unreachable;
    this.#probing ??= this.#probe(driver).finally(() => {
      this.#probing = undefined;
    });
    const error = await this.#probing;
    return error === undefined || isFaultOfQuery(error) ? this.unreachable : this.markUnreachable(error, driver);
  }

  async close(error: VirstreamError): Promise<void> {
    this.#end.abort(error);
    await this.reconnector.close(error);
    await this.#released;
  }

  /** The present state of the host. */
  get status(): ConnectionStatus {
    const { failure, error } = this.reconnector;
    const state = failure !== undefined ? "closed" : error === undefined ? "connected" : "degraded";
    return { state, host: this.name, uri: this.uri, error: failure ?? error };
  }

  /** Closes the driver. There will be no more attempts, so a driver that reconnects by itself must stop. */
  #releaseHost(error: VirstreamError): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    this.#released = closeHost(open, error);
  }

  /** Marks the host as unreachable, unless this driver was replaced in the meantime. Returns the error for queries. */
  markUnreachable(cause: VirstreamError, driver: Driver): VirstreamError {
    const open = this.#open;
    if (open?.driver === driver) this.reconnector.lost(cause, open);
    return this.unreachable ?? unreachableError(this.name, cause);
  }

  async #attempt(signal: AbortSignal): Promise<OpenHost> {
    const open = this.#open;
    if (open === undefined) return this.#openDriver(signal);
    const error = await this.#probe(open.driver);
    if (error === undefined || isFaultOfQuery(error)) return open;
    // The cause is the driver's own error, which says why it has no connection. The program's shouldRetry gets the
    // driver's error.
    if (error.code === "connection-lost" && error.cause instanceof VirstreamError) throw error.cause;
    if (!error.retryable && !signal.aborted && this.reconnector.session === undefined) {
      // The driver will not work again: the next attempt opens another driver.
      this.#open = undefined;
      await closeHost(open, unreachableError(this.name, error));
    }
    throw error;
  }

  async #openDriver(signal: AbortSignal): Promise<OpenHost> {
    const { open, openOptions, admit } = this.#options;
    // Only the member decides when to give up the host, so the driver gets neither `attempts` nor `shouldRetry`. The
    // driver's own retries during an attempt are part of that attempt.
    const { initialMs, maxMs } = openOptions.reconnect ?? {};
    const reconnect = { ...(initialMs !== undefined && { initialMs }), ...(maxMs !== undefined && { maxMs }) };
    const driver = await open(this.#uri, { ...openOptions, signal, reconnect, waitForFirstConnection: false });
    const source = { host: driver.host, sweep: this.sweep.bind(this) };
    const opened: OpenHost = {
      driver,
      sampling: new Sampling(source, this.#options.clock),
      unlisten: driver.onStatus?.(({ state, error }) => {
        if (state === "connected") this.reconnector.restored(opened);
        // A degraded driver of several hosts still serves its other hosts.
        else if (state !== "degraded") this.reconnector.lost(error!, opened);
      }),
    };
    try {
      await admit(driver, this, signal, () => {
        signal.throwIfAborted();
        this.#open = opened;
        this.#host = driver.host;
      });
    } catch (refused) {
      await closeHost(opened, VirstreamError.from(refused));
      throw refused;
    }
    return opened;
  }

  /**
   * The error of a probe; undefined when the host has answered. Each probe has a timeout, so calls to a host that hangs
   * do not accumulate.
   */
  async #probe(driver: Driver): Promise<VirstreamError | undefined> {
    const context: SweepContext = { signal: this.#end.signal, expect: () => {} };
    try {
      for await (const _first of sweepWithTimeout(driver, PROBE, context, this.#options.clock)) break;
      return undefined;
    } catch (thrown) {
      return VirstreamError.from(thrown);
    }
  }
}

/** The uuids of the domains of a host; if the sweep fails, only the uuids that the host sent before the error. */
export async function uuidsOf(driver: Driver, signal: AbortSignal, clock: Clock): Promise<Set<string>> {
  const uuids = new Set<string>();
  const context: SweepContext = { signal, expect: () => {} };
  try {
    for await (const records of sweepWithTimeout(driver, PROBE, context, clock)) {
      for (const { domain } of records) uuids.add(domain.uuid);
    }
  } catch {}
  return uuids;
}

/**
 * A sweep of one host that cannot hang. It fails with `connection-lost` when no record comes for the query's deadline
 * plus GRACE_MS. Only the time in which the consumer waits for records counts, so a slow consumer does not make a
 * host silent. A large host may take as long as it needs while records come.
 */
async function* sweepWithTimeout(
  driver: Driver,
  query: Query,
  { signal, expect, ...rest }: SweepContext,
  clock: Clock,
): AsyncGenerator<Chunk, void, void> {
  if (signal.aborted) return;
  const silenceMs = query.deadlineMs + GRACE_MS;
  const abort = new AbortController();
  const stop = (): void => abort.abort();
  signal.addEventListener("abort", stop);
  const context: SweepContext = {
    ...rest,
    signal: abort.signal,
    expect: (domains) => {
      if (!abort.signal.aborted) expect(domains);
    },
  };
  let source: AsyncIterator<Chunk> | undefined;
  try {
    source = driver.sweep(query, context)[Symbol.asyncIterator]();
    for (;;) {
      const pulled = source.next();
      let result = await withTimeout<Pulled>(pulled, silenceMs, () => undefined, { signal, clock });
      // If this process was suspended, the timer fires before the data that has arrived is read. One more turn of the
      // event loop reads this data.
      result ??= await Promise.race<Pulled>([pulled, eventLoopTurn().then(() => undefined)]);
      if (result === undefined) {
        throw new VirstreamError("connection-lost", `${driver.uri} has been silent for ${silenceMs} ms`);
      }
      if (result.done) return;
      yield result.value;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    stop();
    // Not awaited, because a driver that hangs may never settle this promise. The abort signal makes the driver give
    // up.
    source?.return?.().then(undefined, () => {});
  }
}

async function closeHost({ driver, sampling, unlisten }: OpenHost, error: VirstreamError): Promise<void> {
  unlisten?.();
  sampling.close(error);
  await driver.close();
}

/** True if a sweep failed because of its query, rather than because of its host. */
export function isFaultOfQuery(error: VirstreamError): boolean {
  return FAULTS_OF_THE_QUERY.has(error.code);
}

/** True if a query selects all domains of all hosts. */
export function isWhole({ domains, names, hosts, flags }: Query): boolean {
  return (domains ?? names ?? hosts) === undefined && (flags & FILTER_MASK) === 0;
}

/** Takes the parameter `label` out of a URI. @throws VirstreamError `invalid-uri` */
function withoutLabel(uri: string): { rest: string; label: string | undefined } {
  const [whole, before, text, after] = /([?&])label=([^&#]*)(&?)/.exec(uri) ?? [];
  if (whole === undefined) return { rest: uri, label: undefined };
  const label = new URLSearchParams(`label=${text}`).get("label")!;
  // No comma, because commas separate the names of several hosts; no ://, because that marks the URI of a host that has
  // no name yet.
  if (label === "" || label.includes(",") || label.includes("://")) {
    throw new VirstreamError("invalid-uri", `label= takes a name without commas, not ${JSON.stringify(label)}`);
  }
  return { rest: uri.replace(whole, after === "" ? "" : before!), label };
}
