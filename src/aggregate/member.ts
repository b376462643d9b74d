import { Backoff } from "../driver/backoff.ts";
import type { Clock } from "../driver/clock.ts";
import type { Driver, OpenDriver, OpenOptions, SweepContext } from "../driver/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { groupMask } from "../model/group.ts";
import { FILTER_MASK, type Query } from "../model/query.ts";
import type { DomainStatsRecord } from "../model/record.ts";
import type { Cadence, WatchSink } from "../model/watch.ts";
import { Sampling } from "../sampling/sampling.ts";
import { absenceError, isFaultOfQuery } from "./absence.ts";
import { GuardedSweep } from "./guarded-sweep.ts";
import { KnownDomains } from "./known-domains.ts";

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

/**
 * One of the hosts. It is opened, again and again until it is there. From then on it is there, or absent: a host whose
 * sweep fails, or hangs, is asked nothing more until it has answered a probe, so that it costs the others no time but
 * that of the first sweep. Never gives up: only close() ends it.
 */
export class Member {
  readonly number: number;
  /** What it had when it was last heard of, for those who must answer for it. */
  readonly known = new KnownDomains();
  /** Called whenever it has become absent (with the reason), or is there again. */
  onPresence: ((absence: VirstreamError | undefined) => void) | undefined;
  readonly #options: MemberOptions;
  readonly #label: string;
  readonly #backoff: Backoff;
  readonly #end = new AbortController();
  #driver: Driver | undefined;
  /** Its name when it was last there. */
  #host = "";
  #sampling: Sampling | undefined;
  #absence: VirstreamError | undefined;
  #running: Promise<void> | undefined;
  #inquiry: Promise<VirstreamError | undefined> | undefined;
  #wake: (() => void) | undefined;
  #attempted: ((error: VirstreamError | undefined) => void) | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(options: MemberOptions) {
    this.#options = options;
    this.number = options.number;
    this.#label = withoutSecrets(options.uri);
    this.#backoff = new Backoff({ now: () => options.clock.now() });
    this.#absence = absenceError(this.#label, new VirstreamError("connect-timeout", "it has not answered yet"));
  }

  /** Its URI, without a password. */
  get uri(): string {
    return this.#driver?.uri ?? this.#label;
  }

  /** The host's name; its URI, without a password, until that is known. */
  get name(): string {
    return this.#driver?.host || this.#host || this.#label;
  }

  /** Its driver, once there is one. */
  get driver(): Driver | undefined {
    return this.#driver;
  }

  /** Why it is absent; undefined while it is there. */
  get absence(): VirstreamError | undefined {
    return this.#absence;
  }

  /** Begins to open it. Resolves at the end of the first attempt, with its error if it failed. */
  start(): Promise<VirstreamError | undefined> {
    return new Promise((resolve) => {
      this.#attempted = resolve;
      this.#running = this.#run();
    });
  }

  /**
   * One sweep of it. Fails at once while it is absent, and becomes absent by a failure that does not lie in the query;
   * what is thrown says then which host it is.
   */
  async *sweep(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const driver = this.#driver;
    if (driver === undefined || this.#absence !== undefined) throw this.#absence;
    const census = isWhole(query) ? this.known.census() : undefined;
    try {
      for await (const records of new GuardedSweep(driver, query, context, this.#options.clock)) {
        census?.add(records);
        yield records;
      }
      if (!context.signal.aborted) census?.finish();
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (isFaultOfQuery(error)) throw error;
      throw this.lost(error, driver);
    }
  }

  /** Pushes a watch of it into a sink: by its driver, or by the sampler. It must have a driver. Returns what stops it. */
  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const driver = this.#driver;
    return driver?.watch === undefined
      ? this.#sampling!.push(query, cadence, sink)
      : driver.watch(query, cadence, sink);
  }

  /** Resolves once it has a driver, or when the signal is aborted. */
  opened(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiting.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      if (this.#driver !== undefined || signal.aborted) {
        resolve();
        return;
      }
      this.#waiting.add(done);
      signal.addEventListener("abort", done);
    });
  }

  /** It has shown that it is not there. What this driver's predecessor has shown does not count. */
  lost(cause: VirstreamError, driver: Driver | undefined): VirstreamError {
    if (driver !== this.#driver || this.#end.signal.aborted) return this.#absence ?? absenceError(this.name, cause);
    if (this.#absence === undefined) {
      this.#absence = absenceError(this.name, cause);
      this.#wake?.();
      this.onPresence?.(this.#absence);
    }
    return this.#absence;
  }

  /** Resolves with why it is absent, or undefined; asks it if that is not known. */
  probe(driver: Driver): Promise<VirstreamError | undefined> {
    this.#inquiry ??= this.#inquire(driver);
    return this.#inquiry;
  }

  async close(error: VirstreamError): Promise<void> {
    if (this.#end.signal.aborted) return;
    this.#end.abort(error);
    this.#absence = error;
    this.#wake?.();
    this.#sampling?.close(error);
    await this.#driver?.close();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      const error = await this.#open();
      this.#attempted?.(error);
      this.#attempted = undefined;
      if (error === undefined) await this.#attend(this.#driver!);
      else await this.#rest(this.#backoff.next());
    }
  }

  async #open(): Promise<VirstreamError | undefined> {
    const { uri, open, openOptions, check } = this.#options;
    const { signal } = this.#end;
    try {
      const driver = await open(uri, { ...openOptions, signal });
      try {
        signal.throwIfAborted();
        check(driver);
      } catch (refused) {
        await driver.close();
        throw refused;
      }
      this.#adopt(driver);
      return undefined;
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      if (!signal.aborted) this.#absence = absenceError(this.#label, error);
      return error;
    }
  }

  #adopt(driver: Driver): void {
    this.#driver = driver;
    this.#host = driver.host;
    driver.onConnection = (lost) => {
      if (lost !== undefined) this.lost(lost, driver);
      else if (driver === this.#driver && this.#absence !== undefined) this.#found();
    };
    const source: Driver = {
      uri: driver.uri,
      hypervisor: driver.hypervisor,
      host: driver.host,
      sweep: (query, context) => this.sweep(query, context),
      close: () => driver.close(),
    };
    this.#sampling = new Sampling(source, this.#options.clock);
    this.#found();
    for (const done of [...this.#waiting]) done();
  }

  #found(): void {
    this.#backoff.connected();
    this.#absence = undefined;
    this.#wake?.();
    this.onPresence?.(undefined);
  }

  /** For as long as the driver is of use: whenever its host is absent, probes it until it is there again. */
  async #attend(driver: Driver): Promise<void> {
    const { signal } = this.#end;
    while (!signal.aborted) {
      if (this.#absence === undefined) {
        await this.#rest(undefined);
        continue;
      }
      const error = await this.#probe(driver);
      if (signal.aborted) return;
      if (this.#absence === undefined) continue;
      if (error === undefined || isFaultOfQuery(error)) {
        this.#found();
        continue;
      }
      if (!error.retryable) {
        await this.#dismiss(driver, error);
        return;
      }
      this.#absence = absenceError(this.name, error);
      await this.#rest(this.#backoff.next());
    }
  }

  /** Undefined when it has given a sign of life. What a host that hangs owes us does not grow: each is given up. */
  async #probe(driver: Driver): Promise<VirstreamError | undefined> {
    const context: SweepContext = { signal: this.#end.signal, expect: () => {} };
    try {
      for await (const _first of new GuardedSweep(driver, PROBE, context, this.#options.clock)) break;
      return undefined;
    } catch (thrown) {
      return VirstreamError.from(thrown);
    }
  }

  /** The driver says that it will never work again: it is opened anew by and by, as on the first day. */
  async #dismiss(driver: Driver, error: VirstreamError): Promise<void> {
    this.#absence = absenceError(this.name, error);
    const sampling = this.#sampling;
    this.#driver = undefined;
    this.#sampling = undefined;
    driver.onConnection = undefined;
    sampling?.close(this.#absence);
    await driver.close();
    await this.#rest(this.#backoff.next());
  }

  /** Waits for so long, or until something happens. */
  #rest(ms: number | undefined): Promise<void> {
    const { clock } = this.#options;
    if (this.#end.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : clock.setTimeout(() => this.#wake?.(), ms);
      this.#wake = () => {
        this.#wake = undefined;
        if (timer !== undefined) clock.clearTimeout(timer);
        resolve();
      };
    });
  }

  async #inquire(driver: Driver): Promise<VirstreamError | undefined> {
    const error = this.#absence === undefined ? await this.#probe(driver) : undefined;
    this.#inquiry = undefined;
    if (error !== undefined && !isFaultOfQuery(error)) return this.lost(error, driver);
    return this.#absence;
  }
}

/** Whether a query is about all domains there are. */
export function isWhole({ domains, flags }: Query): boolean {
  return domains === undefined && (flags & FILTER_MASK) === 0;
}

/** A URI as it may be shown. */
function withoutSecrets(uri: string): string {
  return uri.replace(/(\/\/[^/:@]*):[^/@]*@/, "$1@");
}
