import { setTimeout as sleep } from "node:timers/promises";
import { Backoff } from "../../driver/backoff.ts";
import type { Absent, Driver, OpenDriver, OpenOptions, SweepContext } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Dial } from "./dial.ts";
import type { HypervisorFacts } from "./rpc/handshake.ts";
import { StatsReader } from "./rpc/stats-reply.ts";
import { Session } from "./session.ts";
import { Inventory } from "./sweep/inventory.ts";
import { type OpenTransport, openTransport } from "./transport/transport.ts";
import { LIBVIRT_DRIVERS, parseLibvirtUri, TRANSPORTS } from "./transport/uri.ts";

const CONNECT_TIMEOUT_MS = 10_000;

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
 * Rejects with `invalid-uri`, `unsupported` (the transport ext, `command=`; a parameter that cannot be honoured), `socket-missing`,
 * `socket-denied`, `connection-refused`, `connect-timeout`, `unauthenticated`, or what the daemon says to the opening.
 */
export const openLibvirt: OpenDriver = (uri, options) => LibvirtDriver.open(uri, options);

/**
 * A hypervisor behind a libvirt daemon. When the connection is lost (the daemon was restarted, was killed, or hangs for
 * 30 s), sweeps under way end with `connection-lost`, and the driver connects again by itself, with growing waits. Its
 * domains stay its own.
 */
export class LibvirtDriver implements Driver {
  readonly uri: string;
  readonly host: string;
  readonly hypervisor: string;
  onConnection: ((lost: VirstreamError | undefined) => void) | undefined;

  readonly #dial: Dial;
  /** It outlives connections: libvirt may not be able to list when it is back. */
  readonly #inventory: Inventory;
  readonly #backoff = new Backoff({ now: () => performance.now() });
  readonly #end = new AbortController();
  #session: Session | undefined;
  #facts: HypervisorFacts;
  /** Why there is no session, and when there is one again. */
  #lost: VirstreamError | undefined;
  #reconnecting: Promise<void> | undefined;
  #closed: Promise<void> | undefined;

  private constructor(dial: Dial, inventory: Inventory, session: Session) {
    this.uri = dial.uri.uri;
    this.#dial = dial;
    this.#inventory = inventory;
    this.#facts = session.facts;
    this.host = session.facts.host;
    this.hypervisor = session.facts.hypervisor;
    this.#adopt(session);
  }

  /** @param transports how to reach the daemon; by default, the transports there are */
  static async open(
    text: string,
    options: OpenOptions = {},
    transports: OpenTransport = openTransport,
  ): Promise<LibvirtDriver> {
    const timeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    const dial: Dial = { uri: parseLibvirtUri(text), transports, timeoutMs, stats: new StatsReader() };
    const inventory = new Inventory(() => performance.now());
    return new LibvirtDriver(dial, inventory, await Session.open(dial, inventory, options.signal));
  }

  /** libvirt's version and the hypervisor's, as libvirt counts them; those of the last connection. */
  get facts(): HypervisorFacts {
    return this.#facts;
  }

  get absent(): Absent[] {
    return this.#lost === undefined ? [] : [{ host: this.host, error: this.#lost }];
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return {
      [Symbol.asyncIterator]: () => {
        const session = this.#session;
        if (session === undefined) return this.#sweepLater(query, context);
        return session.sweep(query, context, this, this.host).queue;
      },
    };
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
    const session = this.#session;
    this.#session = undefined;
    await session?.close(error);
    await this.#reconnecting;
  }

  #closedError(): VirstreamError {
    return new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`);
  }

  #adopt(session: Session): void {
    this.#session = session;
    this.#facts = session.facts;
    this.#lost = undefined;
    this.#backoff.connected();
    session.onLost = (error) => {
      this.#session = undefined;
      this.#lost = error;
      this.#reconnecting = this.#reconnect();
      this.onConnection?.(error);
    };
  }

  async #reconnect(): Promise<void> {
    const { signal } = this.#end;
    while (this.#session === undefined) {
      try {
        await sleep(this.#backoff.next(), undefined, { signal });
        const session = await Session.open(this.#dial, this.#inventory, signal);
        if (signal.aborted) await session.close(this.#closedError());
        else this.#adopt(session);
        if (!signal.aborted) this.onConnection?.(undefined);
      } catch (error) {
        if (signal.aborted) return;
        this.#lost = VirstreamError.from(error);
      }
    }
  }

  /** A sweep that begins while there is no connection waits for one, as long as its deadline allows. */
  async *#sweepLater(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const { signal } = context;
    const closed = this.#end.signal;
    const began = performance.now();
    await this.#reconnected(query.deadlineMs, signal);
    if (closed.aborted) throw this.#closedError();
    if (signal.aborted) return;
    const session = this.#session;
    if (session === undefined) {
      const why = this.#lost?.message ?? "the connection was lost";
      const message = `${this.uri} cannot be reached, which is tried again by and by: ${why}`;
      throw new VirstreamError("connection-lost", message, { cause: this.#lost });
    }
    const deadlineMs = Math.max(1, Math.round(query.deadlineMs - (performance.now() - began)));
    yield* session.sweep({ ...query, deadlineMs }, context, this, this.host).queue;
  }

  /** Resolves when there is a connection again, the time is over, the driver is closed, or the signal is aborted. */
  async #reconnected(withinMs: number, signal: AbortSignal): Promise<void> {
    const closed = this.#end.signal;
    let end = (): void => {};
    const over = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      const stop = (): void => resolve();
      for (const each of [signal, closed]) each.addEventListener("abort", stop);
      end = () => {
        clearTimeout(timer);
        for (const each of [signal, closed]) each.removeEventListener("abort", stop);
      };
      if (signal.aborted || closed.aborted) resolve();
    });
    await Promise.race([this.#reconnecting, over]);
    end();
  }
}
