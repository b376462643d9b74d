import { STEADY_CLOCK } from "../../driver/clock.ts";
import { DescriptionCache, type DescriptionReader, type Descriptions } from "../../driver/description.ts";
import type {
  Driver,
  HostVersions,
  OpenDriver,
  OpenOptions,
  StatusListener,
  SweepContext,
} from "../../driver/driver.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, Reconnector, sweepWhenReached } from "../../driver/reconnector.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { Absent, DomainStatsRecord } from "../../model/record.ts";
import { connectDaemon, type DaemonAddress, type OpenTransport, openTransport } from "./daemon.ts";
import type { DomainReader } from "./domain-reader.ts";
import { PoolReader } from "./pool-reader.ts";
import { StatsReader } from "./rpc/stats-reply.ts";
import { Session } from "./session.ts";
import { DomainCache } from "./sweep/domain-cache.ts";
import { LIBVIRT_DRIVERS, parseLibvirtUri, TRANSPORTS } from "./transport/uri.ts";

/**
 * The URI schemes that this driver opens: each of libvirt's drivers, alone and with each of libvirt's transports. Plain
 * `test:` is not among them, because it means the simulated host. libvirt's test driver is reached by
 * `test+unix:///default`.
 */
export const LIBVIRT_SCHEMES: readonly string[] = LIBVIRT_DRIVERS.flatMap((driver) => [
  ...(driver === "test" ? [] : [driver]),
  ...TRANSPORTS.map((transport) => `${driver}+${transport}`),
]);

/**
 * Opens a connection to a libvirt daemon, always read-only.
 *
 * Rejects with `invalid-uri`, `unsupported` (for the transport ext, `command=` or another parameter that cannot be
 * honoured), `socket-missing`, `socket-denied`, `connection-refused`, `connect-timeout`, `connection-lost`,
 * `protocol-error`, `unauthenticated`, or the daemon's own error.
 */
export const openLibvirt: OpenDriver = (uri, options) => LibvirtDriver.open(uri, options);

/**
 * The driver for a hypervisor that is reached through a libvirt daemon. When the connection is lost (the daemon was
 * restarted, was killed, or hangs for 30 s), sweeps under way end with `connection-lost`, and the driver connects again
 * by itself, and waits longer after each failure. Its `Domain` objects stay valid.
 */
export class LibvirtDriver implements Driver {
  readonly uri: string;
  readonly storagePools: PoolReader;
  readonly #address: DaemonAddress;
  /**
   * The driver keeps this cache across connections, because libvirt may be unable to list its domains just after a
   * reconnection.
   */
  readonly #domainCache = new DomainCache(() => performance.now());
  readonly #reconnector: Reconnector<Session>;
  readonly #descriptions = new Set<DescriptionCache<unknown>>();
  /**
   * The names of the host and the hypervisor, from the first connection. The driver keeps them when it connects again,
   * because the name of a domain's host is part of the domain's key.
   */
  #host = "";
  #hypervisor = "";

  private constructor(address: DaemonAddress, { reconnect }: OpenOptions) {
    this.uri = address.uri.uri;
    this.#address = address;
    const pools = { host: () => this.host, calls: () => this.#present().poolCalls };
    this.storagePools = new PoolReader(pools, STEADY_CLOCK);
    this.#reconnector = new Reconnector({
      name: () => this.uri,
      host: () => this.host,
      open: (signal) => this.#open(signal),
      release: (session, error) => session.close(error),
      // A daemon that is starting may refuse a connection that it accepts a moment later, because it binds its socket
      // before it sets the socket's owner. So no error is permanent.
      isPermanent: () => false,
      reconnect,
    });
  }

  /** @param transports opens a stream to the daemon; by default, over the transport that the URI names */
  static async open(
    text: string,
    options: OpenOptions = {},
    transports: OpenTransport = openTransport,
  ): Promise<LibvirtDriver> {
    const timeoutMs = options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const address = { uri: parseLibvirtUri(text), transports, timeoutMs, stats: new StatsReader() };
    const driver = new LibvirtDriver(address, options);
    const { facts } = await driver.#reconnector.connect(options.signal);
    driver.#host = facts.host;
    driver.#hypervisor = facts.hypervisor;
    return driver;
  }

  get host(): string {
    return this.#host;
  }

  get hypervisor(): string {
    return this.#hypervisor;
  }

  get absent(): Absent[] {
    const { error } = this.#reconnector;
    return error === undefined ? [] : [{ host: this.host, error }];
  }

  get unansweredCalls(): number | undefined {
    const admission = this.#reconnector.session?.admission;
    return admission === undefined ? undefined : admission.inFlight("monitor") + admission.inFlight("free");
  }

  onStatus(listener: StatusListener): () => void {
    return this.#reconnector.onStatus(listener);
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    const sweep = (session: Session, rest: Query) => session.sweep(rest, context, this);
    return {
      [Symbol.asyncIterator]: () => {
        const { session } = this.#reconnector;
        return session === undefined
          ? sweepWhenReached(this.#reconnector, query, context, sweep)
          : sweep(session, query);
      },
    };
  }

  /**
   * Makes a cache that reads a domain's definition while callers ask for the domain. DomainReader and docs/harmless.md
   * describe the calls.
   */
  describe<T>(reader: DescriptionReader<T>): Descriptions<T> {
    const source = async (): Promise<DomainReader> => this.#present().reader;
    const cache = new DescriptionCache(
      reader,
      {
        definition: async (domain) => (await source()).definition(domain),
        limits: async (domain, target) => (await source()).limits(domain, target),
        placement: async (domain) => (await source()).placement(domain),
      },
      STEADY_CLOCK,
    );
    this.#descriptions.add(cache);
    cache.onClosed = () => this.#descriptions.delete(cache);
    return cache;
  }

  get versions(): readonly HostVersions[] {
    const { session } = this.#reconnector;
    if (session === undefined) return [];
    const { hypervisorVersion, libvirtVersion } = session.facts;
    const hypervisor = hypervisorVersion === undefined ? undefined : versionText(hypervisorVersion);
    return [{ host: this.host, hypervisor, libvirt: versionText(libvirtVersion) }];
  }

  close(): Promise<void> {
    for (const cache of [...this.#descriptions]) cache.close();
    return this.#reconnector.close(new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @throws VirstreamError while there is no session */
  #present(): Session {
    const { session, unreachable } = this.#reconnector;
    if (session === undefined) throw unreachable;
    return session;
  }

  async #open(signal: AbortSignal): Promise<Session> {
    const session = new Session(this.#address, await connectDaemon(this.#address, signal), this.#domainCache);
    session.onLost = (error) => this.#reconnector.lost(error, session);
    session.onChanged = (uuid) => {
      for (const cache of this.#descriptions) cache.changed(uuid);
    };
    for (const cache of this.#descriptions) cache.reconnected();
    return session;
  }
}

/** Converts libvirt's encoded version (see HypervisorFacts) to text, such as `9.0.0`. */
export function versionText(version: number): string {
  return [version / 1_000_000, (version / 1_000) % 1_000, version % 1_000].map(Math.floor).join(".");
}
