import { Backoff } from "../../driver/backoff.ts";
import { sleep, withTimeout } from "../../driver/clock.ts";
import type { SweepContext } from "../../driver/driver.ts";
import type { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import { NIL_UUID } from "../../model/uuid.ts";
import { connectDaemon, type DaemonAddress, type OpenedDaemon } from "./daemon.ts";
import type { HypervisorFacts } from "./handshake.ts";
import { LIFECYCLE_EVENT, LifecycleEventType, readLifecycleEvent } from "./rpc/lifecycle-event.ts";
import { ControlState, FEATURE_EVENT_CALLBACK, PROCEDURES, type Procedure } from "./rpc/procedures.ts";
import { isRemoteError } from "./rpc/remote-error.ts";
import type { RpcClient } from "./rpc/rpc-client.ts";
import { type Admission, admissionOf } from "./sweep/admission.ts";
import { Completeness } from "./sweep/completeness.ts";
import type { ConnectionOwner, WorkerProbe } from "./sweep/concurrency-limit.ts";
import { BatchSize } from "./sweep/dispatcher.ts";
import type { DomainCache } from "./sweep/domain-cache.ts";
import { Sweep, type SweepHost } from "./sweep/sweep.ts";
import type { LibvirtUri } from "./transport/uri.ts";

/**
 * Connections to one QEMU daemon. Each adds four slots. Two let four frozen guests and a healthy sweep live side by side,
 * and more would be of no use: admission lets no more than 8 of the daemon's 20 workers be occupied.
 */
const QEMU_CONNECTIONS = 2;

/** Until a call that was sent has been taken up by a worker, and until a worker that has answered is free again. */
const SETTLE_MS = 5;
const BURST_SETTLE_MS = 2;

/** How many calls of a connection a daemon works on at a time (max_client_requests). */
const REQUESTS_MAX = 5;

/** How long a sweep waits until orphaned calls were looked at. Healthy is 1 ms for each; a locked domain takes seconds. */
const LOOK_MS = 250;

/**
 * One daemon, connected. Its sweeps share its connections: one at first, a second when there are more domains than slots.
 * When one of them is lost, the session has ended: every sweep under way ends with `connection-lost`.
 */
export class Session implements ConnectionOwner {
  readonly facts: HypervisorFacts;
  /** Called once, when a connection was lost. */
  onLost: ((error: VirstreamError) => void) | undefined;

  readonly #address: DaemonAddress;
  readonly #admission: Admission;
  readonly #domainCache: DomainCache;
  readonly #batchSize = new BatchSize();
  readonly #completeness: Completeness | undefined;
  /** By admission's numbers. */
  readonly #clients = new Map<number, RpcClient>();
  readonly #sweeps = new Set<Sweep>();
  readonly #end = new AbortController();
  #growing: Promise<void> | undefined;
  readonly #growth = new Backoff({ now: () => performance.now() });
  #growAfter = 0;
  #looking: Promise<void> | undefined;

  private constructor(address: DaemonAddress, { client, facts }: OpenedDaemon, domainCache: DomainCache) {
    this.#address = address;
    this.#domainCache = domainCache;
    this.facts = facts;
    this.#completeness = facts.hypervisor === "qemu" ? new Completeness(facts.libvirtVersion) : undefined;
    this.#admission = admissionOf(hostKey(address.uri, facts));
    this.#adopt(client);
    this.#listen(client);
    this.#lookAfterOrphans();
  }

  /**
   * Connects. Rejects as `openLibvirt` does, or with the signal's reason.
   *
   * @param domainCache what is known of earlier sessions
   */
  static async open(
    address: DaemonAddress,
    domainCache: DomainCache,
    signal: AbortSignal | undefined,
  ): Promise<Session> {
    return new Session(address, await connectDaemon(address, signal), domainCache);
  }

  /** Begins a sweep. */
  sweep(query: Query, context: SweepContext, driver: object, host: string): Sweep {
    const sweep = new Sweep(this.#sweepHost(driver, host), query, context);
    this.#sweeps.add(sweep);
    sweep.onDone = () => this.#sweeps.delete(sweep);
    if (this.#end.signal.aborted) sweep.lose(this.#end.signal.reason);
    else sweep.start(this.#lookAfterOrphans());
    return sweep;
  }

  /** Ends the connections in an orderly way, and sweeps under way with this error. */
  async close(error: VirstreamError): Promise<void> {
    this.onLost = undefined;
    for (const sweep of this.#sweeps) sweep.close(error);
    this.#end.abort(error);
    for (const [number, client] of this.#clients) {
      // Before its calls are rejected: the daemon works on, whether or not anybody listens.
      client.onEnded = () => this.#admission.removeConnections([number]);
    }
    await Promise.all([this.#growing, ...[...this.#clients.values()].map((client) => client.close())]);
  }

  #sweepHost(driver: object, host: string): SweepHost {
    return {
      admission: this.#admission,
      owner: this,
      domainCache: this.#domainCache,
      batchSize: this.#batchSize,
      completeness: this.#completeness,
      monitors: this.facts.hypervisor !== "test",
      host,
      driver,
      call: (procedure, args, connection) => this.#call(procedure, args, connection),
      crowded: () => this.#crowded(),
    };
  }

  #call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result> {
    const client = this.#clients.get(connection);
    return client === undefined ? Promise.reject(this.#end.signal.reason) : client.call(procedure, args);
  }

  #adopt(client: RpcClient): void {
    this.#admission.addConnection(this, (number) => this.#clients.set(number, client));
    client.onEnded = (error) => this.#lose(error);
  }

  #lose(error: VirstreamError): void {
    if (this.#end.signal.aborted) return;
    this.#end.abort(error);
    this.#domainCache.disconnected();
    // Before anything learns of it: what was in flight is still in flight at the daemon.
    this.#admission.removeConnections([...this.#clients.keys()]);
    for (const sweep of this.#sweeps) sweep.lose(error);
    for (const client of this.#clients.values()) client.destroy(error);
    this.onLost?.(error);
  }

  /** Lets the daemon tell of changes. Where it does not, domains are listed in each sweep. */
  #listen(client: RpcClient): void {
    client.onEvent = (procedure, payload) => {
      if (procedure !== LIFECYCLE_EVENT) return;
      const event = readLifecycleEvent(payload);
      this.#domainCache.apply(event);
      // Another process now, or none.
      if (event.type === LifecycleEventType.started || event.type === LifecycleEventType.stopped) {
        this.#admission.distrust(event.domain.uuid);
      }
    };
    const ask = async (): Promise<void> => {
      if (!(await client.call(PROCEDURES.supportsFeature, FEATURE_EVENT_CALLBACK))) return;
      await client.call(PROCEDURES.listen, undefined);
      if (!this.#end.signal.aborted) this.#domainCache.live = true;
    };
    ask().catch(() => {});
  }

  /**
   * Calls that an ended connection left behind hold their places of the budget, and keep their domains in quarantine. The
   * state of the domain's monitor shows whether they still occupy a worker of the daemon. The session reads the state without
   * using the monitor; once the monitor is free, it releases the permit. Sweeps begin when that is known, or after LOOK_MS.
   * Undefined where there are none.
   */
  #lookAfterOrphans(): Promise<void> | undefined {
    if (this.#looking === undefined && this.#admission.orphans.length > 0) {
      this.#looking = this.#lookAtOrphans().finally(() => {
        this.#looking = undefined;
      });
    }
    return this.#looking === undefined ? undefined : withTimeout(this.#looking, LOOK_MS, () => {});
  }

  async #lookAtOrphans(): Promise<void> {
    const [client] = this.#clients.values();
    for (const uuid of this.#admission.orphans) {
      try {
        const { state } = await client!.call(PROCEDURES.controlInfo, { uuid, name: "", id: 0 });
        if (state !== ControlState.occupied) this.#admission.releaseOrphan(uuid);
      } catch (error) {
        if (!isRemoteError(error)) return;
        // It does not run any more, or is no more: nothing hangs in it.
        this.#admission.releaseOrphan(uuid);
      }
    }
  }

  /**
   * Statistics of a domain that cannot exist: such a call goes the way of all statistics calls, touches no domain, and
   * cannot hang. See Admission for what it proves.
   *
   * @internal
   */
  async probeWorker(probe: WorkerProbe): Promise<void> {
    try {
      // A burst into an idle pool finds its workers waiting. A single call may need one that is only being started.
      await sleep(probe.fresh ? BURST_SETTLE_MS : SETTLE_MS);
      // The daemon reads no sixth call of a connection.
      const client = [...this.#clients.values()].find(({ inFlight }) => inFlight < REQUESTS_MAX);
      if (client !== undefined && probe.useful) {
        await client.call(PROCEDURES.stats, { uuids: [NIL_UUID], groups: 1, flags: 0 }).catch(refusedAtMost);
        probe.answered();
        await sleep(SETTLE_MS);
      }
    } catch {
      // The connection has ended, and nothing was proven.
    } finally {
      probe.end();
    }
  }

  #crowded(): void {
    // Other drivers' domains cost too little, and each connection to the test driver has domains of its own.
    if (this.facts.hypervisor !== "qemu" || this.#clients.size >= QEMU_CONNECTIONS) return;
    if (performance.now() < this.#growAfter) return;
    this.#growing ??= this.#grow().finally(() => {
      this.#growing = undefined;
    });
  }

  /** Opens one more connection. Failing to is no misfortune: the first one serves, and after a while a crowd tries again. */
  async #grow(): Promise<void> {
    const { signal } = this.#end;
    const opened = await connectDaemon(this.#address, signal).catch(() => undefined);
    if (opened === undefined) this.#growAfter = performance.now() + this.#growth.next();
    else if (signal.aborted) opened.client.destroy(signal.reason);
    else this.#adopt(opened.client);
  }
}

/** Passes over what the daemon itself says: also to refuse a call takes a worker. */
function refusedAtMost(error: unknown): void {
  if (!isRemoteError(error)) throw error;
}

/** The identity of a daemon: the socket that the URI names, or else the host's own name and the transport. */
function hostKey({ driver, path, socket, host: address }: LibvirtUri, { host }: HypervisorFacts): string {
  // Cloned machines have one name, and must not stand in each other's way.
  return [driver, path, address ?? "", socket?.replace(/-ro$/, "") ?? host].join(" ");
}
