import type { Clock } from "../driver/clock.ts";
import type { Driver, OpenDriver, OpenOptions, SweepContext } from "../driver/driver.ts";
import { Reconnector, unreachableError } from "../driver/reconnector.ts";
import type { StatusListener } from "../driver/status.ts";
import { VirstreamError } from "../model/error.ts";
import { groupMask } from "../model/group.ts";
import { FILTER_MASK, type Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";
import { sweepWithTimeout } from "./sweep-timeout.ts";
import { isFaultOfQuery, KnownDomains } from "./unreachable.ts";

/** What shows that a host is there: the first record of this is enough. */
const PROBE: Query = { groups: groupMask(["state"]), flags: 0, deadlineMs: 5_000, domains: undefined };

/** What a member depends on. */
export interface MemberOptions {
  readonly uri: string;
  /** Its place among the members, from 0. */
  readonly number: number;
  readonly open: OpenDriver;
  readonly openOptions: OpenOptions;
  readonly clock: Clock;
  /** Refuses a host that another member is already. */
  readonly check: (driver: Driver) => void;
}

/** A host's driver, and its watches. */
interface OpenHost {
  readonly driver: Driver;
  readonly sampling: Sampling;
  readonly unlisten: (() => void) | undefined;
}

/**
 * One of the hosts. It is opened, again and again until it answers. From then on it is reachable or not: a host whose
 * sweep fails, or hangs, is asked nothing more until it has answered a probe, so that it costs the others no time but
 * that of the first sweep. Never gives up: only close() ends it.
 */
export class Member {
  readonly number: number;
  /** The domains that it had when it last answered. */
  readonly known = new KnownDomains();
  readonly #options: MemberOptions;
  readonly #label: string;
  /** Keeps the host reachable: an attempt is a probe, or opens a driver where there is none. */
  readonly #reconnector: Reconnector<OpenHost>;
  /** It outlives losses, until its driver says that it will not work again. */
  #open: OpenHost | undefined;
  /** Its name when it was last reachable. */
  #host = "";
  #inquiry: Promise<VirstreamError | undefined> | undefined;
  readonly #end = new AbortController();

  constructor(options: MemberOptions) {
    this.#options = options;
    this.number = options.number;
    this.#label = withoutSecrets(options.uri);
    this.#reconnector = new Reconnector({
      name: () => this.name,
      host: () => this.name,
      open: (signal) => this.#attempt(signal),
      isPermanent: () => false,
      retryAtOnce: true,
      clock: options.clock,
    });
  }

  /** Its URI, without a password. */
  get uri(): string {
    return this.#open?.driver.uri ?? this.#label;
  }

  /** The host's name; its URI, without a password, until that is known. */
  get name(): string {
    return this.#open?.driver.host || this.#host || this.#label;
  }

  /** Its driver, once there is one. */
  get driver(): Driver | undefined {
    return this.#open?.driver;
  }

  /** Why it cannot be asked; undefined while it is reachable. */
  get unreachable(): VirstreamError | undefined {
    return this.#reconnector.unreachable;
  }

  /** Why the last attempt failed; undefined while it is reachable. */
  get error(): VirstreamError | undefined {
    return this.#reconnector.error;
  }

  /** Its own changes of state: `connected` and `reconnecting`. */
  onStatus(listener: StatusListener): () => void {
    return this.#reconnector.onStatus(listener);
  }

  /** Begins to open it. Resolves at the end of the first attempt, with its error if it failed; others follow. */
  async start(): Promise<VirstreamError | undefined> {
    try {
      await this.#reconnector.connect();
      return undefined;
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      this.#reconnector.retry(error);
      return error;
    }
  }

  /**
   * One sweep of it. Fails at once while it is unreachable, and becomes unreachable by a failure that is not the query's;
   * the error names the host.
   */
  async *sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const open = this.#open;
    if (open === undefined || this.unreachable !== undefined) throw this.unreachable;
    const snapshot = isWhole(query) ? this.known.snapshot() : undefined;
    try {
      for await (const records of sweepWithTimeout(open.driver, query, context, this.#options.clock)) {
        snapshot?.add(records);
        yield records;
      }
      if (!context.signal.aborted) snapshot?.finish();
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (isFaultOfQuery(error)) throw error;
      throw this.markUnreachable(error, open.driver);
    }
  }

  /** Pushes a watch of it into a sink: by its driver, or by the sampler. It must have a driver. Returns what stops it. */
  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const { driver, sampling } = this.#open!;
    return driver.watch === undefined ? sampling.push(query, cadence, sink) : driver.watch(query, cadence, sink);
  }

  /** Resolves once it is reachable, when the signal is aborted, or when it is closed. */
  async opened(signal: AbortSignal): Promise<void> {
    await this.#reconnector.reached(Number.POSITIVE_INFINITY, signal).catch(() => {});
  }

  /** Resolves with why it is unreachable, or undefined; asks the host if that is not known. */
  probe(driver: Driver): Promise<VirstreamError | undefined> {
    this.#inquiry ??= this.#inquire(driver);
    return this.#inquiry;
  }

  async close(error: VirstreamError): Promise<void> {
    this.#end.abort(error);
    const attempts = this.#reconnector.close(error);
    const open = this.#open;
    if (open !== undefined) await closeHost(open, error);
    await attempts;
  }

  /** It has shown that it cannot be reached. Ignored when this driver was replaced since. */
  markUnreachable(cause: VirstreamError, driver: Driver): VirstreamError {
    const open = this.#open;
    if (open?.driver === driver) this.#reconnector.lost(cause, open);
    return this.unreachable ?? unreachableError(this.name, cause);
  }

  async #attempt(signal: AbortSignal): Promise<OpenHost> {
    const open = this.#open;
    if (open === undefined) return this.#openDriver(signal);
    const error = await this.#probe(open.driver);
    if (error === undefined || isFaultOfQuery(error)) return open;
    if (!error.retryable && !signal.aborted && this.#reconnector.session === undefined) {
      // The driver will not work again: the next attempt opens another one.
      this.#open = undefined;
      await closeHost(open, unreachableError(this.name, error));
    }
    throw error;
  }

  async #openDriver(signal: AbortSignal): Promise<OpenHost> {
    const { uri, open, openOptions, check } = this.#options;
    const driver = await open(uri, { ...openOptions, signal });
    try {
      signal.throwIfAborted();
      check(driver);
    } catch (refused) {
      await driver.close();
      throw refused;
    }
    const source: Driver = {
      uri: driver.uri,
      hypervisor: driver.hypervisor,
      host: driver.host,
      sweep: (query, context) => this.sweep(query, context),
      close: () => driver.close(),
    };
    const opened: OpenHost = {
      driver,
      sampling: new Sampling(source, this.#options.clock),
      unlisten: driver.onStatus?.(({ state, error }) => {
        if (state === "connected") this.#reconnector.restored(opened);
        // A driver of several hosts that is degraded serves the others.
        else if (state !== "degraded") this.#reconnector.lost(error!, opened);
      }),
    };
    this.#open = opened;
    this.#host = driver.host;
    return opened;
  }

  /** Undefined when it has given a sign of life. What a host that hangs owes us does not grow: each is given up. */
  async #probe(driver: Driver): Promise<VirstreamError | undefined> {
    const context: SweepContext = { signal: this.#end.signal, expect: () => {} };
    try {
      for await (const _first of sweepWithTimeout(driver, PROBE, context, this.#options.clock)) break;
      return undefined;
    } catch (thrown) {
      return VirstreamError.from(thrown);
    }
  }

  /** Why it cannot be reached; asks it if that is not known. */
  async #inquire(driver: Driver): Promise<VirstreamError | undefined> {
    const error = this.unreachable === undefined ? await this.#probe(driver) : undefined;
    this.#inquiry = undefined;
    if (error !== undefined && !isFaultOfQuery(error)) return this.markUnreachable(error, driver);
    return this.unreachable;
  }
}

async function closeHost({ driver, sampling, unlisten }: OpenHost, error: VirstreamError): Promise<void> {
  unlisten?.();
  sampling.close(error);
  await driver.close();
}

/** Whether a query is about all domains there are. */
export function isWhole({ domains, flags }: Query): boolean {
  return domains === undefined && (flags & FILTER_MASK) === 0;
}

/** A URI as it may be shown. */
function withoutSecrets(uri: string): string {
  return uri.replace(/(\/\/[^/:@]*):[^/@]*@/, "$1@");
}
