import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Driver, OpenDriver, OpenOptions, SweepContext } from "../driver.ts";
import { type HypervisorFacts, openHypervisor } from "./rpc/handshake.ts";
import { RpcClient } from "./rpc/rpc-client.ts";
import { Admission } from "./sweep/admission.ts";
import { Listings } from "./sweep/listings.ts";
import { Sweep, type SweepHost } from "./sweep/sweep.ts";
import { type OpenTransport, openTransport } from "./transport/transport.ts";
import { LIBVIRT_DRIVERS, type LibvirtUri, parseLibvirtUri, TRANSPORTS } from "./transport/uri.ts";

const CONNECT_TIMEOUT_MS = 10_000;

/**
 * Connections to one QEMU daemon. Each adds four slots. Two let four frozen guests and a healthy sweep live side by side,
 * and can never hold more than 8 of the 20 workers that the daemon has for everyone.
 */
const QEMU_CONNECTIONS = 2;

/**
 * The URI schemes that this driver opens: libvirt's drivers with each of libvirt's transports. Plain `test:` is not
 * among them: libvirt's test driver is reached by `test+unix:///default`.
 */
export const LIBVIRT_SCHEMES: readonly string[] = LIBVIRT_DRIVERS.flatMap((driver) => [
  ...(driver === "test" ? [] : [driver]),
  ...TRANSPORTS.map((transport) => `${driver}+${transport}`),
]);

/**
 * Opens a connection to a libvirt daemon, always read-only.
 *
 * Rejects with `invalid-uri`, `unsupported` (transports other than unix), `socket-missing`, `socket-denied`,
 * `connection-refused`, `connect-timeout`, `unauthenticated`, or what the daemon says to the opening.
 */
export const openLibvirt: OpenDriver = (uri, options) => LibvirtDriver.open(uri, options);

/**
 * A hypervisor behind a libvirt daemon. Its sweeps share the daemon's patience (see Admission). It begins with one
 * connection, and opens the second when there are more domains than slots. When any connection is lost, all are.
 */
export class LibvirtDriver implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor: string;
  /** libvirt's version and the hypervisor's, as libvirt counts them. */
  readonly facts: HypervisorFacts;

  readonly #dial: Dial;
  /** By admission's numbers. */
  readonly #clients: RpcClient[] = [];
  readonly #admission = new Admission({ now: () => performance.now() });
  readonly #listings = new Listings(() => performance.now());
  readonly #sweeps = new Set<Sweep>();
  readonly #end = new AbortController();
  #growing: Promise<void> | undefined;
  #lost: VirstreamError | undefined;
  #closed: Promise<void> | undefined;

  private constructor(uri: string, dial: Dial, client: RpcClient, facts: HypervisorFacts) {
    this.uri = uri;
    this.#dial = dial;
    this.facts = facts;
    this.host = facts.host;
    this.hypervisor = facts.hypervisor;
    this.#adopt(client);
  }

  /** @param transports how to reach the daemon; by default, the transports there are */
  static async open(
    text: string,
    options: OpenOptions = {},
    transports: OpenTransport = openTransport,
  ): Promise<LibvirtDriver> {
    const uri = parseLibvirtUri(text);
    const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    const dial: Dial = (signal) => connect(uri, transports, timeoutMs, signal);
    const { client, facts } = await dial(options.signal);
    return new LibvirtDriver(uri.uri, dial, client, facts);
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

  async #close(): Promise<void> {
    const error = this.#closedError();
    this.#end.abort(error);
    for (const sweep of this.#sweeps) sweep.close(error);
    await this.#growing;
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  #closedError(): VirstreamError {
    return new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`);
  }

  #start(query: Query, context: SweepContext): Sweep {
    const host: SweepHost = {
      admission: this.#admission,
      listings: this.#listings,
      host: this.host,
      driver: this,
      call: (procedure, args, connection) => this.#clients[connection]!.call(procedure, args),
      crowded: () => this.#crowded(),
    };
    const sweep = new Sweep(host, query, context);
    this.#sweeps.add(sweep);
    sweep.onDone = () => this.#sweeps.delete(sweep);
    if (this.#closed !== undefined) sweep.close(this.#closedError());
    else if (this.#lost !== undefined) sweep.lose(this.#lost);
    else sweep.start();
    return sweep;
  }

  #adopt(client: RpcClient): void {
    this.#clients.push(client);
    client.onLost = (error) => this.#lose(error);
  }

  #lose(error: VirstreamError): void {
    if (this.#lost !== undefined) return;
    this.#lost = error;
    this.#end.abort(error);
    for (const sweep of this.#sweeps) sweep.lose(error);
    for (const client of this.#clients) client.destroy(error);
  }

  #crowded(): void {
    // Other drivers' domains cost too little, and each connection to the test driver has domains of its own.
    if (this.hypervisor !== "qemu" || this.#clients.length >= QEMU_CONNECTIONS) return;
    this.#growing ??= this.#grow().finally(() => {
      this.#growing = undefined;
    });
  }

  /** Opens one more connection. Failing to is no misfortune: the first one serves, and the next crowd tries again. */
  async #grow(): Promise<void> {
    const { signal } = this.#end;
    const opened = await this.#dial(signal).catch(() => undefined);
    if (opened === undefined) return;
    if (signal.aborted) {
      opened.client.destroy(signal.reason);
    } else {
      this.#adopt(opened.client);
      this.#admission.addConnection();
    }
  }
}

type Dial = (signal: AbortSignal | undefined) => Promise<{ client: RpcClient; facts: HypervisorFacts }>;

/** One connection, opened: transport and handshake together within the time. */
async function connect(
  uri: LibvirtUri,
  transports: OpenTransport,
  timeoutMs: number,
  given: AbortSignal | undefined,
): Promise<{ client: RpcClient; facts: HypervisorFacts }> {
  const timeout = new AbortController();
  const timer = setTimeout(() => {
    timeout.abort(new VirstreamError("connect-timeout", `${uri.uri} did not answer within ${timeoutMs} ms`));
  }, timeoutMs);
  const signal = given === undefined ? timeout.signal : AbortSignal.any([given, timeout.signal]);
  let client: RpcClient | undefined;
  const onAbort = () => client?.destroy(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    client = new RpcClient(await transports(uri, signal));
    signal.throwIfAborted();
    return { client, facts: await openHypervisor(client, uri.name) };
  } catch (error) {
    client?.destroy(VirstreamError.from(error));
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  }
}
