import type { Driver, OpenOptions, StatusListener, SweepContext } from "../../driver/driver.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, Reconnector, sweepWhenReached } from "../../driver/reconnector.ts";
import { withoutSecrets } from "../../driver/registry.ts";
import { VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { Absent, DomainStatsRecord, Recorded } from "../../model/record.ts";
import type { Cadence, WatchSink } from "../../model/watch.ts";
import { DEFAULT_CREDIT } from "../../wire/protocol.ts";
import { ServerClock } from "../../wire/server-clock.ts";
import { RemoteSession, type ServerAddress } from "./session.ts";
import type { OpenSocket } from "./socket.ts";
import type { RemoteWatch } from "./watch.ts";

/** The schemes of virstream servers. */
export const REMOTE_SCHEMES = ["ws", "wss"] as const;

/** Begins a watch: a RemoteWatch with these arguments. Returns a function that stops it. */
export type OpenWatch = (...watch: ConstructorParameters<typeof RemoteWatch>) => () => void;

/** The functions of the driver that differ between Node and browsers. */
export interface RemotePlatform {
  readonly openSocket: OpenSocket;
  /** In a web page, the first call of this function loads the code of watches. */
  readonly openWatch: OpenWatch;
}

/**
 * A driver for the domains of another virstream, over a WebSocket. When the connection is lost, running sweeps end with
 * `connection-lost`. The driver reconnects with back-off, and its watches continue. `Domain` objects from before the
 * loss stay valid. An error that a retry cannot repair, such as `unauthenticated`, ends all sweeps and watches with
 * that error.
 */
export class RemoteDriver implements Driver {
  readonly uri: string;
  readonly #address: ServerAddress;
  readonly #signal: AbortSignal | undefined;
  readonly #openWatch: OpenWatch;
  readonly #reconnector: Reconnector<RemoteSession>;
  /** The last session, also after it was lost: its socket may still be open. */
  #last: RemoteSession | undefined;

  constructor(uri: string, { openSocket, openWatch }: RemotePlatform, options: OpenOptions) {
    const { headers, ca, cert, key, rejectUnauthorized, agent } = options;
    this.uri = uri;
    this.#openWatch = openWatch;
    this.#signal = options.signal;
    this.#address = {
      url: uri,
      owner: this,
      openSocket,
      clock: new ServerClock(() => performance.now()),
      token: options.token,
      socketOptions: { headers, ca, cert, key, rejectUnauthorized, agent },
      timeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      credit: options.creditBytes ?? DEFAULT_CREDIT,
    };
    this.#reconnector = new Reconnector({
      name: () => uri,
      host: () => this.host,
      open: async (signal) => {
        const session = await RemoteSession.open(this.#address, signal);
        session.onLost = (error) => this.#reconnector.lost(error, session);
        this.#last = session;
        return session;
      },
      release: (session, error) => session.close(error),
      reconnect: options.reconnect,
      onHint: onOnline,
    });
  }

  /** From the last welcome of the server; empty before the first one. */
  get host(): string {
    return this.#last?.welcome.host ?? "";
  }

  /** From the last welcome of the server; empty before the first one. */
  get hypervisor(): string {
    return this.#last?.welcome.hypervisor ?? "";
  }

  /** From the last welcome of the server. */
  get permittedGroups(): readonly string[] | undefined {
    return this.#last?.welcome.groups;
  }

  /** From the last welcome of the server. */
  get minIntervalMs(): number | undefined {
    return this.#last?.welcome.minIntervalMs;
  }

  /** From the last welcome of the server. */
  get recorded(): Recorded | undefined {
    return this.#last?.welcome.recorded;
  }

  get absent(): Absent[] {
    const { error } = this.#reconnector;
    return error === undefined ? [] : [{ host: this.host, error }];
  }

  onStatus(listener: StatusListener): () => void {
    return this.#reconnector.onStatus(listener);
  }

  /** Makes the first connection. Resolves when the server has answered; rejects with the reason if it has not. */
  async opened(): Promise<void> {
    await this.#reconnector.connect(this.#signal);
  }

  sweep(query: Query, context: SweepContext): AsyncIterable<readonly DomainStatsRecord[]> {
    return {
      [Symbol.asyncIterator]: () =>
        this.#reconnector.session?.sweep(query, context) ??
        sweepWhenReached(this.#reconnector, query, context, (session, rest) => session.sweep(rest, context)),
    };
  }

  watch(query: Query, cadence: Cadence, sink: WatchSink): () => void {
    return this.#openWatch(this.#reconnector, this.#address, query, cadence, sink);
  }

  async close(): Promise<void> {
    const error = new VirstreamError("connection-closed", `the connection to ${this.uri} was closed`);
    await this.#reconnector.close(error);
    await this.#last?.close(error);
  }
}

/**
 * Calls `hint` when a browser is online again. Returns a function that ends this. In Node, `hint` is never called,
 * because only in browsers the global scope emits events.
 */
function onOnline(hint: () => void): () => void {
  const page: Partial<Pick<EventTarget, "addEventListener" | "removeEventListener">> = globalThis;
  page.addEventListener?.("online", hint);
  return () => page.removeEventListener?.("online", hint);
}

/** Returns a function that opens a driver for a ws: or wss: URI. */
export function remoteDriver(platform: RemotePlatform): (uri: string, options: OpenOptions) => Promise<RemoteDriver> {
  return async (uri, options) => {
    let url: URL;
    try {
      url = new URL(uri);
    } catch {
      // The error does not get the cause, because the cause contains the URI with its secrets.
      throw new VirstreamError(
        "invalid-uri",
        `${JSON.stringify(withoutSecrets(uri))} is not of the form ws://HOST:PORT`,
      );
    }
    const [parameter] = url.searchParams.keys();
    if (parameter !== undefined || url.username || url.password || url.hash) {
      const what = parameter === undefined ? "user or fragment" : `parameter ${parameter}=`;
      const message = `a ${url.protocol}// URI has no ${what}: a token goes into the option token of connect()`;
      throw new VirstreamError("invalid-uri", message);
    }
    const driver = new RemoteDriver(uri, platform, options);
    await driver.opened();
    return driver;
  };
}
