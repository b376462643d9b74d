import { type Clock, sleep } from "../driver/clock.ts";
import type { Driver } from "../driver/driver.ts";
import { Backoff, nextStatus } from "../driver/reconnector.ts";
import { DomainMap } from "../model/domain-map.ts";
import { VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Domain, DomainStatsRecord } from "../model/record.ts";
import type { Cadence, GapEvent, StatusEvent, SyncEvent, WatchSink } from "../model/watch.ts";
import { GRACE_MS, isFaultOfQuery, isWhole, type Member } from "./member.ts";
import type { Ownership } from "./ownership.ts";

/** The inputs of a HostWatch. */
export interface HostWatchOptions {
  readonly member: Member;
  readonly query: Query;
  readonly cadence: Cadence;
  readonly ownership: Ownership;
  readonly clock: Clock;
  /** Gets the host's events, with domains that belong to the aggregate. HostWatch never calls its `end`. */
  readonly sink: WatchSink;
  /** Called with the error when the host refuses the query, if it has sent no event before. */
  readonly refused: (error: VirstreamError) => void;
}

interface WatchedDomain {
  /** The domain as the object that the host's own driver uses. */
  readonly domain: Domain;
  /**
   * The same domain as a domain of the aggregate. All records of the domain share this object, so that readers
   * recognize the domain without a search.
   */
  readonly owned: Domain;
}

/** A host that was reported as degraded. */
interface Degraded {
  /** False for the member's source itself. True for a host behind it: the source may be a server of several hosts. */
  readonly behind: boolean;
  /** True if the host was reported as degraded during the present watch of this member. */
  reported: boolean;
  /** The message of the error that was reported last. */
  message: string | undefined;
}

/**
 * The part of one host in a watch of several hosts: a sink that reassigns the host's domains to the aggregate and
 * passes the events on. An unreachable host does not end the watch: the sink gets the status `degraded`, and no other
 * event of the host until the host is back. Then the sink gets the status `connected` of the same host, and the watch
 * continues.
 *
 * When a host hangs, its connection stays open for long, and a watch has no deadline. But each sweep ends with an
 * event. So when a driver that pushes its watch sends no event for too long, the member probes the host. If the host
 * does not answer, it counts as unreachable until the watch has events again.
 */
export class HostWatch implements WatchSink {
  readonly #options: HostWatchOptions;
  readonly #backoff: Backoff;
  readonly #degraded = new Map<string, Degraded>();
  /** The domains that the host has, according to its events. */
  readonly #known = new DomainMap<WatchedDomain>();
  /** The domains that were known when the last watch ended, and that the present watch has not confirmed yet. */
  readonly #doubtful = new DomainMap<Domain>();
  readonly #whole: boolean;
  /** True if the host has refused the query, and has sent nothing. */
  refuses = false;
  /**
   * `#heard` is true if the host has ever sent an event; `#joined` is true if it has sent an event in the present
   * watch.
   */
  #heard = false;
  #joined = false;
  #silent = false;
  #heardAt = 0;
  readonly #end = new AbortController();
  #stop: (() => void) | undefined;
  #ended: ((error: VirstreamError | undefined) => void) | undefined;

  constructor(options: HostWatchOptions) {
    this.#options = options;
    this.#backoff = new Backoff(() => options.clock.now());
    this.#whole = isWhole(options.query);
  }

  /** Watches the host again and again, until the watch is stopped or the attempts to reach the host end. */
  async run(): Promise<void> {
    const { member, query, clock, refused, sink } = this.#options;
    const { signal } = this.#end;
    while (!signal.aborted) {
      const { driver } = member;
      if (driver === undefined) {
        this.#degrade(member.name, member.unreachable, { behind: false, reported: false });
        // If the member makes no further attempts, this host sends no event any more.
        if (member.reconnector.failure !== undefined) return;
        const unlisten = member.reconnector.onStatus(({ error }) => {
          // When this watch has ended, the sink gets no further event, not even about a connection that is closing.
          if (error === undefined || signal.aborted) return;
          this.#degrade(member.name, member.unreachable, { behind: false, reported: false }, true);
        });
        await member.reconnector.reached(Number.POSITIVE_INFINITY, signal).catch(() => {});
        unlisten();
        continue;
      }
      if (!member.isSelected(query)) {
        // The query does not select this host under its present name. Perhaps the host had no name before, or another
        // name, which the query selects. So the sink gets `connected` for each host that is degraded, and `gone` for
        // each domain that it has of this host.
        for (const host of [...this.#degraded.keys()]) this.#connected(host);
        for (const { domain } of [...this.#known]) this.#gone(domain);
        sink.flush();
        await nextStatus(member.reconnector, Number.POSITIVE_INFINITY, { signal, clock }).catch(() => {});
        continue;
      }
      const error = await this.#watch(driver);
      if (error === undefined) return;
      if (error.code === "end-of-recording") {
        // The sink keeps the domains of this host as they were at the end of the recording, and the watches of the
        // other hosts continue.
        this.#degrade(member.name, error, { behind: false, reported: false });
        return;
      }
      const faultOfQuery = isFaultOfQuery(error);
      this.refuses = faultOfQuery && !this.#heard;
      if (this.refuses) refused(error);
      if (signal.aborted) return;
      const reason = faultOfQuery ? error : member.markUnreachable(error, driver);
      this.#degrade(member.name, reason, { behind: false, reported: false });
      for (const { domain } of this.#known) this.#doubtful.set(domain, domain);
      await sleep(this.#backoff.next(), { signal, clock }).catch(() => {});
    }
  }

  stop(): void {
    this.#end.abort();
    this.#stop?.();
    this.#ended?.(undefined);
  }

  /** Stops the watch of a host that was removed, and reports its domains as gone. */
  remove(): void {
    this.stop();
    const { member, sink } = this.#options;
    for (const { domain } of [...this.#known]) this.#gone(domain);
    for (const host of new Set([member.name, ...this.#degraded.keys()])) this.#removed(host);
    sink.flush();
  }

  record(record: DomainStatsRecord): void {
    this.#signOfLife();
    const { member, ownership, sink } = this.#options;
    const { domain } = record;
    let known = this.#known.get(domain);
    if (known?.domain !== domain) {
      known = { domain, owned: ownership.domain(domain, member.number) };
      this.#known.set(domain, known);
    }
    if (this.#doubtful.size > 0) this.#doubtful.delete(domain);
    if (this.#whole) member.known.add(record);
    sink.record(ownership.record(record, member.number, known.owned));
  }

  gone(domain: Domain): void {
    this.#signOfLife();
    this.#gone(domain);
  }

  event(event: SyncEvent | GapEvent | StatusEvent): void {
    const { member, sink } = this.#options;
    const host = member.label ?? event.host ?? member.name;
    if (event.type === "status" && event.state === "removed") {
      this.#removed(host);
      return;
    }
    if (event.type === "status" && event.state !== "connected") {
      const behind = host !== member.name;
      this.#degrade(host, event.error, { behind, reported: true }, behind);
      return;
    }
    this.#signOfLife();
    if (event.type === "status") this.#connected(host);
    if (event.type === "gap") sink.event({ ...event, host });
    if (event.type !== "sync") return;
    // Before its first sync, a watch reports which of the hosts that its source serves are degraded. So at a sync, the
    // hosts that it has not reported are connected.
    this.#recovered(true);
    this.#left(event.host);
    sink.event({ ...event, host });
  }

  flush(): void {
    this.#heardAt = this.#options.clock.now();
    this.#options.sink.flush();
  }

  end(error: VirstreamError): void {
    this.#ended?.(error);
  }

  /** One watch of the host. Resolves with the error that ended it, or with undefined when it was stopped. */
  async #watch(driver: Driver): Promise<VirstreamError | undefined> {
    const { member, query, cadence, clock } = this.#options;
    for (const degraded of this.#degraded.values()) degraded.reported = false;
    this.#joined = false;
    this.#silent = false;
    this.#heardAt = clock.now();
    const over = new AbortController();
    const ended = new Promise<VirstreamError | undefined>((resolve) => {
      this.#ended = (error) => {
        this.#ended = undefined;
        this.#stop = undefined;
        over.abort();
        resolve(error);
      };
    });
    // Only a driver with its own watch can be silent without end. The sampler sweeps any other driver, and each of
    // these sweeps has a timeout.
    if (driver.watch !== undefined) void this.#listen(driver, over.signal);
    try {
      const stop = member.watch(member.queryFor(query), cadence, this);
      if (this.#end.signal.aborted) stop();
      else if (!over.signal.aborted) this.#stop = stop;
    } catch (thrown) {
      this.end(VirstreamError.from(thrown));
    }
    return ended;
  }

  /** Probes the host each time that it has been silent for longer than a healthy host ever is. */
  async #listen(driver: Driver, over: AbortSignal): Promise<void> {
    const { member, query, cadence, clock } = this.#options;
    const silenceMs = cadence.intervalMs + query.deadlineMs + GRACE_MS;
    while (!over.aborted) {
      const heardAt = this.#heardAt;
      const restMs = heardAt + silenceMs - clock.now();
      if (restMs > 0) {
        await sleep(restMs, { signal: over, clock }).catch(() => {});
        continue;
      }
      const error = await member.probe(driver);
      if (over.aborted || heardAt !== this.#heardAt) continue;
      this.#heardAt = clock.now();
      if (error === undefined) continue;
      this.#silent = true;
      this.#degrade(member.name, error, { behind: false, reported: true });
    }
  }

  /**
   * Notes that the host has sent an event. If the host was degraded because it was silent, or since an earlier watch,
   * it is connected now. If its own source has reported it as degraded in the present watch, it stays degraded.
   */
  #signOfLife(): void {
    const { member, sink } = this.#options;
    if (this.#silent) this.#connected(member.name);
    this.#silent = false;
    if (this.#joined) return;
    this.#joined = true;
    this.#backoff.connected();
    this.#recovered(false);
    if (this.#heard) sink.event({ type: "gap", reason: "source", skipped: undefined, host: member.name });
    this.#heard = true;
    this.refuses = false;
  }

  /**
   * Reports as connected each degraded host that the present watch has not reported as degraded again: the hosts behind
   * the source if `behind` is true, otherwise the source itself.
   */
  #recovered(behind: boolean): void {
    for (const [host, degraded] of this.#degraded) {
      if (degraded.behind === behind && !degraded.reported) this.#connected(host);
    }
  }

  #connected(host: string): void {
    if (!this.#degraded.delete(host)) return;
    this.#options.sink.event({ type: "status", state: "connected", host, error: undefined });
  }

  #removed(host: string): void {
    this.#degraded.delete(host);
    this.#options.sink.event({ type: "status", state: "removed", host, error: undefined });
  }

  /**
   * Reports a host as degraded. For a host that is degraded already there is no event, except if `renewed` is true and
   * the error has a new message: a person must learn of it.
   */
  #degrade(
    host: string,
    error: VirstreamError | undefined,
    degraded: Omit<Degraded, "message">,
    renewed = false,
  ): void {
    const before = this.#degraded.get(host);
    if (before !== undefined) {
      before.reported ||= degraded.reported;
      if (!renewed || before.message === error?.message) return;
    }
    const known = before ?? { ...degraded, message: undefined };
    known.message = error?.message;
    this.#degraded.set(host, known);
    const { sink } = this.#options;
    sink.event({ type: "status", state: "degraded", host, error });
    sink.flush();
  }

  /**
   * Called at a sync, which ends a whole sweep of `host`. Reports as gone the domains of this host that are still in
   * doubt: they left while the host was not watched.
   */
  #left(host: string): void {
    if (this.#doubtful.size === 0) return;
    const hosts = host.split(",");
    for (const domain of [...this.#doubtful]) if (hosts.includes(domain.host)) this.#gone(domain);
  }

  #gone(domain: Domain): void {
    const { member, ownership, sink } = this.#options;
    this.#known.delete(domain);
    this.#doubtful.delete(domain);
    if (this.#whole) member.known.delete(domain);
    sink.gone(ownership.domain(domain, member.number));
  }
}
