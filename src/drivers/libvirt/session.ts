import { sleep, withTimeout } from "../../driver/clock.ts";
import type { Driver, SweepContext } from "../../driver/driver.ts";
import { Backoff } from "../../driver/reconnector.ts";
import type { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import { connectDaemon, type DaemonAddress, type HypervisorFacts, type OpenedDaemon } from "./daemon.ts";
import { DomainReader } from "./domain-reader.ts";
import { ControlState, FEATURE_EVENT_CALLBACK, isMonitorBroken, PROCEDURES, type Procedure } from "./rpc/procedures.ts";
import {
  CHANGE_EVENTS,
  LIFECYCLE_EVENT,
  LIFECYCLE_EVENT_ID,
  LifecycleEventType,
  readEventDomain,
  readLifecycleEvent,
} from "./rpc/remote-domain.ts";
import { isRemoteError } from "./rpc/remote-error.ts";
import type { RpcClient } from "./rpc/rpc-client.ts";
import type { XdrReader } from "./rpc/xdr.ts";
import { SideCalls } from "./side-calls.ts";
import { type Admission, admissionOf } from "./sweep/admission.ts";
import { BatchSize } from "./sweep/batch-size.ts";
import { Calls, type SweepHost } from "./sweep/calls.ts";
import { Completeness } from "./sweep/completeness.ts";
import type { WorkerProbe } from "./sweep/concurrency-limit.ts";
import { Deadlines } from "./sweep/deadlines.ts";
import type { DomainCache } from "./sweep/domain-cache.ts";
import { Sweep } from "./sweep/sweep.ts";
import type { LibvirtUri } from "./transport/uri.ts";

/**
 * The maximum number of connections to one QEMU daemon. Each connection adds four slots for calls that may hang in a
 * guest (see Admission). With two connections, a sweep continues while four guests are frozen. More connections would
 * be of no use, because admission lets such calls occupy at most 8 of the daemon's 20 workers.
 */
const QEMU_CONNECTIONS = 2;

/**
 * How long a worker needs to take up a call, or to become free after an answer, in ms. Workers that are already idle
 * take up a burst of calls within BURST_SETTLE_MS.
 */
const SETTLE_MS = 5;
const BURST_SETTLE_MS = 2;

/** While this many calls about storage pools are unanswered, the session sends no other such call. */
const POOL_CALLS_MAX = 2;

/**
 * How long a sweep waits at most for the checks of orphaned calls (see Admission), in ms. A check takes 1 ms, or
 * seconds if the domain is locked.
 */
const LOOK_MS = 250;

/**
 * A session with one daemon. All sweeps of the session share its connections: one at first, and with QEMU a second one
 * when a sweep has more domains than slots. When a connection is lost, the session ends: every sweep under way ends
 * with `connection-lost`.
 */
export class Session implements SweepHost {
  readonly facts: HypervisorFacts;
  /** Called when any connection of the session is lost, and not again when its other connections end. */
  onLost: ((error: VirstreamError) => void) | undefined;
  /** Called when a domain may have another definition now. */
  onChanged: ((uuid: string) => void) | undefined;

  // These members are for the sweeps; see SweepHost.
  readonly admission: Admission;
  readonly domainCache: DomainCache;
  readonly batchSize = new BatchSize();
  readonly completeness: Completeness | undefined;
  readonly monitors: boolean;

  readonly #address: DaemonAddress;
  /** The clients, by the number of their connection in admission. */
  readonly #clients = new Map<number, RpcClient>();
  readonly #sweeps = new Set<Sweep>();
  /** Sends the session's own calls: registrations for events, checks of orphans, and probes. */
  readonly #calls: Calls;
  #reader: DomainReader | undefined;
  #poolCalls: SideCalls | undefined;
  readonly #end = new AbortController();
  #growing: Promise<void> | undefined;
  readonly #growth = new Backoff(() => performance.now());
  #growAfter = 0;
  #looking: Promise<void> | undefined;

  /** @param domainCache the domains that earlier sessions have seen */
  constructor(address: DaemonAddress, { client, facts }: OpenedDaemon, domainCache: DomainCache) {
    this.#address = address;
    this.domainCache = domainCache;
    this.facts = facts;
    this.monitors = facts.statistics && facts.hypervisor !== "test";
    this.completeness = facts.hypervisor === "qemu" ? new Completeness(facts.libvirtVersion) : undefined;
    this.admission = admissionOf(hostKey(address.uri, facts));
    this.#calls = new Calls(this, new Deadlines(Number.POSITIVE_INFINITY, performance.now()));
    this.#end.signal.addEventListener("abort", () => {
      this.#calls.close();
      this.#reader?.close();
      // After the connection has ended, nothing shows whether a call about a storage pool is answered. Without `true`,
      // the call would keep its permit forever.
      this.#poolCalls?.close(true);
    });
    this.#adopt(client);
    this.#listen().catch(() => {});
    this.#lookAfterOrphans();
  }

  /** Begins a sweep. */
  sweep(query: Query, context: SweepContext, driver: Driver): AsyncIterableIterator<readonly DomainStatsRecord[]> {
    const sweep = new Sweep(this, query, context, driver);
    this.#sweeps.add(sweep);
    sweep.onDone = () => this.#sweeps.delete(sweep);
    if (this.#end.signal.aborted) sweep.lose(this.#end.signal.reason);
    else sweep.start(this.#lookAfterOrphans());
    return sweep.queue;
  }

  /**
   * Reads definitions, I/O limits and CPU placement, outside the sweeps. When this getter is first used, the session
   * also asks the daemon to report changed definitions.
   */
  get reader(): DomainReader {
    if (this.#reader === undefined) {
      this.#reader = new DomainReader(this);
      if (this.#end.signal.aborted) this.#reader.close();
      this.#listenForChanges().catch(() => {});
    }
    return this.#reader;
  }

  /** Makes the calls about storage pools. */
  get poolCalls(): SideCalls {
    if (this.#poolCalls === undefined) {
      this.#poolCalls = new SideCalls(this, POOL_CALLS_MAX);
      if (this.#end.signal.aborted) this.#poolCalls.close(true);
    }
    return this.#poolCalls;
  }

  /** Ends the sweeps under way with this error, and closes the connections in an orderly way. */
  async close(error: VirstreamError): Promise<void> {
    this.onLost = undefined;
    for (const sweep of this.#sweeps) sweep.end(error);
    this.#end.abort(error);
    for (const [number, client] of this.#clients) {
      // `onEnded` runs before the calls in flight are rejected. So these calls become orphans: the daemon still works
      // on them.
      client.onEnded = () => this.admission.removeConnections([number]);
    }
    await Promise.all([this.#growing, ...[...this.#clients.values()].map((client) => client.close())]);
  }

  /** Makes a call on the session's connection with this number. */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result> {
    const client = this.#clients.get(connection);
    return client === undefined ? Promise.reject(this.#end.signal.reason) : client.call(procedure, args);
  }

  #adopt(client: RpcClient): void {
    client.onEvent = (procedure, payload) => this.#hear(procedure, payload);
    this.admission.addConnection(this, (number) => this.#clients.set(number, client));
    client.onEnded = (error) => this.#lose(error);
  }

  #lose(error: VirstreamError): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort(error);
    this.domainCache.disconnected();
    // Admission learns of the loss before the sweeps do: calls that were in flight still occupy the daemon, so they
    // must count before any other call is sent.
    this.admission.removeConnections([...this.#clients.keys()]);
    for (const sweep of this.#sweeps) sweep.lose(error);
    for (const client of this.#clients.values()) client.destroy(error);
    this.onLost?.(error);
  }

  /**
   * Registers for lifecycle events, which the daemon then sends on the connection that registered. If a daemon sends
   * none, each sweep lists the domains.
   */
  async #listen(): Promise<void> {
    if (!(await this.#ask(PROCEDURES.supportsFeature, FEATURE_EVENT_CALLBACK, "events"))) return;
    await this.#ask(PROCEDURES.listen, LIFECYCLE_EVENT_ID, "events");
    if (!this.#end.signal.aborted) this.domainCache.live = true;
  }

  /**
   * Registers for the other events that report a changed definition (CHANGE_EVENTS). A daemon may not know all of them,
   * so a refusal is ignored.
   */
  async #listenForChanges(): Promise<void> {
    if (!(await this.#ask(PROCEDURES.supportsFeature, FEATURE_EVENT_CALLBACK, "changes"))) return;
    for (const { id } of CHANGE_EVENTS) await this.#ask(PROCEDURES.listen, id, "changes").catch(refusedAtMost);
  }

  #hear(procedure: number, payload: XdrReader): void {
    if (CHANGE_EVENTS.some(({ message }) => message === procedure)) this.onChanged?.(readEventDomain(payload).uuid);
    if (procedure !== LIFECYCLE_EVENT) return;
    const event = readLifecycleEvent(payload);
    this.domainCache.apply(event);
    if (event.type === LifecycleEventType.defined || event.type === LifecycleEventType.started) {
      this.onChanged?.(event.domain.uuid);
    }
    // The domain has another QEMU process now, or none.
    if (event.type === LifecycleEventType.started || event.type === LifecycleEventType.stopped) {
      this.admission.distrust(event.domain.uuid);
    }
  }

  /**
   * Checks the orphans, which are calls that were unanswered when their connection ended, and frees the permits of the
   * orphans that do not hang any more. Orphans count against the budget of monitor calls (BUDGET), and keep their
   * domains in quarantine. The state of a domain's monitor shows whether the domain's orphan still occupies a worker;
   * libvirt reports this state without using the monitor. The promise, for which a sweep waits before its first call,
   * resolves when all orphans were checked, or after LOOK_MS. The result is undefined if there are no orphans.
   */
  #lookAfterOrphans(): Promise<void> | undefined {
    if (this.#looking === undefined && this.admission.orphans.length > 0) {
      this.#looking = this.#lookAtOrphans().finally(() => {
        this.#looking = undefined;
      });
    }
    return this.#looking === undefined ? undefined : withTimeout(this.#looking, LOOK_MS, () => {});
  }

  async #lookAtOrphans(): Promise<void> {
    for (const uuid of this.admission.orphans) {
      try {
        const domain = { uuid, name: "", id: 0 };
        const control = await this.#ask(PROCEDURES.controlInfo, domain, `orphan ${uuid}`);
        // The orphan does not hang any more if the monitor is free (`ok`) or lost for good. The state `job` proves
        // nothing, and neither does `error` alone, which libvirt also reports between two commands of one call.
        if (control.state === ControlState.ok || isMonitorBroken(control)) this.admission.releaseOrphan(uuid);
      } catch (error) {
        if (!isRemoteError(error)) return;
        // The domain does not run any more, or does not exist: no call hangs in it.
        this.admission.releaseOrphan(uuid);
      }
    }
  }

  /**
   * Asks for the statistics of a domain that cannot exist: such a call needs a worker like every statistics call,
   * touches no domain, and cannot hang. ConcurrencyLimit explains what an answer proves.
   */
  async probeWorker(probe: WorkerProbe): Promise<void> {
    try {
      // An idle daemon has workers ready for a burst of calls. A single call may need a worker that is still being
      // started.
      await sleep(probe.fresh ? BURST_SETTLE_MS : SETTLE_MS);
      if (probe.useful) {
        await this.#ask(PROCEDURES.stats, { uuids: [NIL_UUID], groups: 1, flags: 0 }, "probe").catch(refusedAtMost);
        probe.answered();
        await sleep(SETTLE_MS);
      }
    } catch {
      // The connection has ended, and nothing was proven.
    } finally {
      probe.end();
    }
  }

  /**
   * Makes a call that belongs to no sweep, as soon as admission has a place for it. The call must wait for such a
   * place, because the daemon handles only five calls of a connection at a time. Rejects with the daemon's error, or
   * when the session ends.
   */
  #ask<Args, Result>(procedure: Procedure<Args, Result>, args: Args, key: string): Promise<Result> {
    const never = (): never => {
      throw this.#end.signal.reason;
    };
    return withTimeout(this.#calls.ask(procedure, args, key), Number.POSITIVE_INFINITY, never, {
      signal: this.#end.signal,
    });
  }

  /** A sweep has more domains than slots: opens one more connection, up to QEMU_CONNECTIONS. */
  crowded(): void {
    // With other drivers, a domain takes too little time to need a second connection, and each connection to the test
    // driver has its own domains.
    if (this.facts.hypervisor !== "qemu" || this.#clients.size >= QEMU_CONNECTIONS) return;
    if (performance.now() < this.#growAfter) return;
    this.#growing ??= this.#grow().finally(() => {
      this.#growing = undefined;
    });
  }

  /**
   * Opens one more connection. If that fails, the session continues with the first one, and a later sweep tries again,
   * with back-off.
   */
  async #grow(): Promise<void> {
    const { signal } = this.#end;
    const opened = await connectDaemon(this.#address, signal).catch(() => undefined);
    if (opened === undefined) this.#growAfter = performance.now() + this.#growth.next();
    else if (signal.aborted) opened.client.destroy(signal.reason);
    else this.#adopt(opened.client);
  }
}

/**
 * Ignores an error that the daemon has sent, and throws any other error. A refusal also proves a free worker, because
 * the daemon needs a worker to refuse a call.
 */
function refusedAtMost(error: unknown): void {
  if (!isRemoteError(error)) throw error;
}

/**
 * Identifies a daemon by the URI's driver, path and host, and by the socket that the URI names. If the URI names no
 * socket, the host's own name takes its place.
 */
function hostKey({ driver, path, socket, host: address }: LibvirtUri, { host }: HypervisorFacts): string {
  // Cloned machines have the same host name. Without the address in the URI, their daemons would share one budget.
  return [driver, path, address ?? "", socket?.replace(/-ro$/, "") ?? host].join(" ");
}
