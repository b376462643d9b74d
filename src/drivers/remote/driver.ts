import type { Absent, Driver, OpenOptions, SweepContext } from "../../driver/driver.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { DEFAULT_CREDIT, LIMITS, SUBPROTOCOLS } from "../../wire/protocol.ts";
import { Link } from "./link.ts";
import type { OpenSocket } from "./socket.ts";
import { RemoteWatch } from "./watch.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;

/** The schemes of virstream servers. */
export const REMOTE_SCHEMES = ["ws", "wss"] as const;

/**
 * The domains of another virstream, over a WebSocket: remote is just another driver. When the connection is lost, sweeps
 * under way end with `connection-lost`, and the driver connects again by itself, with growing waits; watches go on. Its
 * domains stay its own. A loss that waiting cannot mend, such as `unauthenticated`, ends everything with that error.
 */
export class RemoteDriver implements Driver {
  readonly uri: string;
  readonly #link: Link;
  readonly #signal: AbortSignal | undefined;

  /** @throws VirstreamError `invalid-argument` */
  constructor(uri: string, openSocket: OpenSocket, options: OpenOptions) {
    const subprotocol = options.subprotocol ?? SUBPROTOCOLS[0];
    if (!SUBPROTOCOLS.includes(subprotocol)) {
      throw new VirstreamError(
        "invalid-argument",
        `unknown subprotocol ${JSON.stringify(subprotocol)}: there are ${SUBPROTOCOLS.join(" and ")}`,
      );
    }
    const credit = options.creditBytes ?? DEFAULT_CREDIT;
    if (!Number.isInteger(credit) || credit < 1 || credit > LIMITS.credit) {
      throw new VirstreamError("invalid-argument", `creditBytes must be from 1 to ${LIMITS.credit}`);
    }
    this.uri = uri;
    this.#signal = options.signal;
    this.#link = new Link({
      url: uri,
      owner: this,
      openSocket,
      subprotocol,
      token: options.token,
      timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      credit,
    });
  }

  /** As the server said at the last connection; empty before the first. */
  get host(): string {
    return this.#link.welcome?.host ?? "";
  }

  /** As the server said at the last connection; empty before the first. */
  get hypervisor(): string {
    return this.#link.welcome?.hypervisor ?? "";
  }

  /** Which start of the server it is; another one after a reconnection means that the server began anew. */
  get epoch(): string {
    return this.#link.welcome?.epoch ?? "";
  }

  get absent(): Absent[] {
    const error = this.#link.absence;
    return error === undefined ? [] : [{ host: this.host, error }];
  }

  get onConnection(): ((lost: VirstreamError | undefined) => void) | undefined {
    return this.#link.onConnection;
  }

  set onConnection(listener: ((lost: VirstreamError | undefined) => void) | undefined) {
    this.#link.onConnection = listener;
  }

  /** The first connection. Resolves when the server has answered; rejects with why it has not. */
  opened(): Promise<void> {
    return this.#link.open(this.#signal);
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return {
      [Symbol.asyncIterator]: () => this.#link.session?.sweep(query, context) ?? this.#sweepLater(query, context),
    };
  }

  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    const watch = new RemoteWatch(this.#link, query, cadence, sink);
    return () => watch.stop();
  }

  close(): Promise<void> {
    return this.#link.close();
  }

  /** A sweep that begins while there is no connection waits for one, as long as its deadline allows. */
  async *#sweepLater(query: Query, context: SweepContext): AsyncGenerator<readonly DomainStatsRecord[], void, void> {
    const began = performance.now();
    const session = await this.#link.reached(query.deadlineMs, context.signal);
    if (context.signal.aborted) return;
    if (session === undefined) throw this.#link.lost;
    const deadlineMs = Math.max(1, Math.round(query.deadlineMs - (performance.now() - began)));
    yield* session.sweep({ ...query, deadlineMs }, context);
  }
}

/** A driver for ws: and wss: URIs that opens its sockets in this way. */
export function remoteDriver(openSocket: OpenSocket): (uri: string, options: OpenOptions) => Promise<RemoteDriver> {
  return async (uri, options) => {
    let url: URL;
    try {
      url = new URL(uri);
    } catch (cause) {
      throw new VirstreamError("invalid-uri", `${JSON.stringify(uri)} is not of the form ws://HOST:PORT`, { cause });
    }
    if (url.username !== "" || url.password !== "" || url.hash !== "") {
      throw new VirstreamError(
        "invalid-uri",
        `a ${url.protocol}// URI has no user and no fragment: give a token apart`,
      );
    }
    const driver = new RemoteDriver(uri, openSocket, options);
    await driver.opened();
    return driver;
  };
}
