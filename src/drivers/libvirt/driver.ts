import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Driver, OpenDriver, OpenOptions, SweepContext } from "../driver.ts";
import { registerDriver } from "../registry.ts";
import { Admission } from "./admission.ts";
import { type HypervisorFacts, openHypervisor } from "./handshake.ts";
import { RpcClient } from "./rpc-client.ts";
import { Sweep, type SweepHost } from "./sweep.ts";
import { type OpenTransport, openTransport } from "./transport.ts";
import { LIBVIRT_DRIVERS, type LibvirtUri, parseLibvirtUri, TRANSPORTS } from "./uri.ts";

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * The URI schemes that this driver opens: libvirt's drivers with each of libvirt's transports. Plain `test:` is not
 * among them: libvirt's test driver is reached by `test+unix:///default`.
 */
export const LIBVIRT_SCHEMES: readonly string[] = LIBVIRT_DRIVERS.flatMap((driver) => [
  ...(driver === "test" ? [] : [driver]),
  ...TRANSPORTS.map((transport) => `${driver}+${transport}`),
]);

/** Makes `connect()` open libvirt's URIs. */
export function registerLibvirt(): void {
  for (const scheme of LIBVIRT_SCHEMES) registerDriver(scheme, openLibvirt);
}

/**
 * Opens a connection to a libvirt daemon, always read-only.
 *
 * Rejects with `invalid-uri`, `unsupported` (transports other than unix), `socket-missing`, `socket-denied`,
 * `connection-refused`, `connect-timeout`, `unauthenticated`, or what the daemon says to the opening.
 */
export const openLibvirt: OpenDriver = (uri, options) => LibvirtDriver.open(uri, options);

/** A hypervisor behind a libvirt daemon. One connection; its sweeps share the daemon's patience (see Admission). */
export class LibvirtDriver implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor: string;
  /** libvirt's version and the hypervisor's, as libvirt counts them. */
  readonly facts: HypervisorFacts;

  readonly #client: RpcClient;
  readonly #admission = new Admission({ now: () => performance.now() });
  readonly #sweeps = new Set<Sweep>();
  #closed: Promise<void> | undefined;

  private constructor(uri: LibvirtUri, client: RpcClient, facts: HypervisorFacts) {
    this.uri = uri.uri;
    this.#client = client;
    this.facts = facts;
    this.host = facts.host;
    this.hypervisor = facts.hypervisor;
    client.onLost = (error) => {
      for (const sweep of this.#sweeps) sweep.lose(error);
    };
  }

  /** @param transports how to reach the daemon; by default, the transports there are */
  static async open(
    text: string,
    options: OpenOptions = {},
    transports: OpenTransport = openTransport,
  ): Promise<LibvirtDriver> {
    const uri = parseLibvirtUri(text);
    const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    const timeout = new AbortController();
    const timer = setTimeout(() => {
      timeout.abort(new VirstreamError("connect-timeout", `${uri.uri} did not answer within ${timeoutMs} ms`));
    }, timeoutMs);
    const signal = options.signal === undefined ? timeout.signal : AbortSignal.any([options.signal, timeout.signal]);
    let client: RpcClient | undefined;
    const onAbort = () => client?.destroy(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      signal.throwIfAborted();
      client = new RpcClient(await transports(uri, signal));
      signal.throwIfAborted();
      return new LibvirtDriver(uri, client, await openHypervisor(client, uri.name));
    } catch (error) {
      client?.destroy(VirstreamError.from(error));
      throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return { [Symbol.asyncIterator]: () => this.#start(query, context).queue };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #close(): Promise<void> {
    const error = new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`);
    for (const sweep of this.#sweeps) sweep.close(error);
    return this.#client.close();
  }

  #start(query: Query, context: SweepContext): Sweep {
    const host: SweepHost = {
      admission: this.#admission,
      host: this.host,
      driver: this,
      call: (procedure, args) => this.#client.call(procedure, args),
    };
    const sweep = new Sweep(host, query, context);
    this.#sweeps.add(sweep);
    sweep.onDone = () => this.#sweeps.delete(sweep);
    const ended = this.#client.ended;
    if (this.#closed !== undefined)
      sweep.close(new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`));
    else if (ended !== undefined) sweep.lose(ended);
    else sweep.start();
    return sweep;
  }
}
