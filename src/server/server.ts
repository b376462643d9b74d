/// <reference lib="esnext.disposable" preserve="true" />

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, isIP } from "node:net";
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import { WebSocketServer, type ServerOptions as WebSocketServerOptions } from "ws";
import type { Connection } from "../client/connection.ts";
import { withTimeout } from "../driver/clock.ts";
import { checkMembers, checkWhole, invalid, VirstreamError } from "../model/error.ts";
import { VERSION } from "../model/version.ts";
import { hostNames } from "../model/watch.ts";
import { LIMITS, SUBPROTOCOLS, type Subprotocol } from "../wire/protocol.ts";
import { Quota } from "./bounds/quota.ts";
import { SweepPace } from "./bounds/sweep-pace.ts";
import { WaitingSockets } from "./bounds/waiting-sockets.ts";
import { ClientSession, type SessionContext } from "./client-session.ts";
import { checkLimits, type ServerLimits } from "./limits.ts";
import { absentSources, EventLoopDelay, type ServerFigures, type ServerHealth } from "./server-metrics.ts";
import { type Viewer, Views } from "./viewer.ts";

/** The default address to listen on: this machine only. */
export const DEFAULT_LISTEN_HOST = "127.0.0.1";
/** The default port. */
export const DEFAULT_PORT = 16_580;

/** How long a client may take to answer a close frame, or to take the answer to a refused request, in ms. */
const CLOSE_TIMEOUT_MS = 1_000;
/** How often Node looks for connections whose request does not come, in ms. */
const REQUEST_CHECK_MS = 1_000;
/** Frames of a client's message, and the parts in which a frame may arrive: each takes memory besides its bytes. */
const MAX_FRAGMENTS = 128;
const MAX_CHUNKS = 2_048;

const SERVE_MEMBERS = ["host", "port", "token", "viewers", "allowAnyone", "origins", "limits"];

/** How to serve. */
export interface ServeOptions {
  /** Address to listen on. Default 127.0.0.1. Any address but loopback needs a token, viewers, or `allowAnyone`. */
  readonly host?: string;
  /** Port; 0 selects a free port. Default 16580. */
  readonly port?: number;
  /**
   * The token that shows every domain. Clients send it as `Authorization: Bearer …` with the upgrade, or as `token` in the
   * hello.
   */
  readonly token?: string;
  /**
   * Tokens that show some domains only. With viewers, every client needs a token; without `token`, no client sees every
   * domain.
   */
  readonly viewers?: readonly Viewer[];
  /** Serve beyond loopback without a token: every client that reaches the port may read every domain's statistics. */
  readonly allowAnyone?: boolean;
  /**
   * Origins of web pages that may connect (`https://dashboard.example`). Pages of loopback origins always may. The server refuses
   * other pages, because browsers let any page connect to any address.
   */
  readonly origins?: readonly string[];
  /** Limits that replace those of DEFAULT_SERVER_LIMITS. */
  readonly limits?: Partial<ServerLimits>;
}

/** A connection, served over WebSocket. Closing it does not close the connection that it serves. */
export class VirstreamServer implements AsyncDisposable {
  readonly #http: Server;
  readonly #webSockets: WebSocketServer;
  readonly #sessions = new Set<ClientSession>();
  /** Those that have been greeted: the clients. */
  readonly #greeted = new Set<ClientSession>();
  readonly #waiting: WaitingSockets;
  readonly #context: SessionContext;
  readonly #startedAt = performance.now();
  readonly #delay = new EventLoopDelay();
  #accepted = 0;
  readonly #origins: ReadonlySet<string>;
  #closing: Promise<void> | undefined;

  private constructor(connection: Connection, views: Views, options: ServeOptions, limits: ServerLimits) {
    this.#context = {
      views,
      traffic: { messages: 0, bytes: 0 },
      welcome: {
        server: `virstream/${VERSION}`,
        host: connection.host,
        hypervisor: connection.hypervisor,
        beatMs: limits.beatMs,
        minIntervalMs: limits.minIntervalMs,
      },
      limits,
      pace: new SweepPace(limits.sweepsPerSecond),
      selectors: new Quota(
        limits.selectors,
        `all clients together may name at most ${limits.selectors} domains at a time: query all domains`,
      ),
    };
    this.#origins = new Set(options.origins);
    // The types of ws lack closeTimeout.
    const webSocketOptions: WebSocketServerOptions & { readonly closeTimeout: number } = {
      noServer: true,
      maxPayload: LIMITS.request,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_CHUNKS,
      closeTimeout: CLOSE_TIMEOUT_MS,
      // One message of a client in a turn of the event loop: a burst of requests delays the other clients by one at a time.
      allowSynchronousEvents: false,
      perMessageDeflate: false,
      handleProtocols: (offered) => SUBPROTOCOLS.find((known) => offered.has(known)) ?? false,
    };
    this.#webSockets = new WebSocketServer(webSocketOptions);
    this.#waiting = new WaitingSockets(limits.waiting);
    const timeouts = { headersTimeout: limits.helloTimeoutMs, requestTimeout: limits.helloTimeoutMs };
    this.#http = createServer({ ...timeouts, connectionsCheckingInterval: REQUEST_CHECK_MS }, (request, response) =>
      this.#answer(request, response),
    );
    this.#http.on("connection", (socket) => this.#waiting.add(socket));
    this.#http.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /**
   * Starts to listen.
   *
   * @throws VirstreamError `invalid-argument` for an address beyond loopback without a token, and for invalid tokens, viewers
   *   or limits, or an address on which the server cannot listen; `address-in-use` if another program listens there
   */
  static async listen(connection: Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
    checkMembers(options, SERVE_MEMBERS, "serve's options");
    const limits = checkLimits(options.limits);
    const host = options.host ?? DEFAULT_LISTEN_HOST;
    const port = options.port ?? DEFAULT_PORT;
    checkWhole("port", port, 0, 65_535);
    const guarded = options.token !== undefined || options.viewers !== undefined;
    if (!isLoopback(host) && !guarded && options.allowAnyone !== true) {
      throw invalid(
        `listening on ${host} would show every domain to every client that reaches it: set a token (--token-file), or allow anyone (--allow-anyone)`,
      );
    }
    const views = new Views(connection, options.token, options.viewers);
    const server = new VirstreamServer(connection, views, options, limits);
    try {
      await once(server.#http.listen(port, host), "listening");
    } catch (thrown) {
      server.#delay.close();
      const cause = thrown as NodeJS.ErrnoException;
      const inUse = cause.code === "EADDRINUSE";
      const fix = inUse
        ? "another program uses that port; choose another, or 0 for a free one"
        : listenAdvice(cause.code);
      const message = `cannot listen on ${host} port ${port} (${cause.code}): ${fix}`;
      throw new VirstreamError(inUse ? "address-in-use" : "invalid-argument", message, { cause });
    }
    // If the system fails to accept a connection, the listening socket reports an error and continues to listen.
    server.#http.on("error", () => {});
    return server;
  }

  /** The address as bound, as a URL. `0.0.0.0` and `[::]` are all addresses of this machine: clients elsewhere use one of them. */
  get url(): string {
    const { address, port } = this.#http.address() as AddressInfo;
    return `ws://${address.includes(":") ? `[${address}]` : address}:${port}`;
  }

  /** How many clients are connected, of those that have said hello and shown a right token if one is needed. */
  get clients(): number {
    return this.#greeted.size;
  }

  /** How many sweeps are under way, over all clients. */
  get sweeps(): number {
    return [...this.#sessions].reduce((sum, { sweeps }) => sum + sweeps, 0);
  }

  /** How many watches there are, over all clients. */
  get watches(): number {
    return [...this.#sessions].reduce((sum, { watches }) => sum + watches, 0);
  }

  /**
   * The health of the server and of the watched hosts; also at `/healthz` and `/readyz`, which need no token and so have no names.
   */
  health(): ServerHealth {
    const { views } = this.#context;
    const known = views.whole.driver.absent?.length ?? 0;
    const sourcesAbsent = Math.max(known, ...[...views].map(({ sampling }) => absentSources(sampling)));
    const status = sourcesAbsent === 0 ? "ok" : "degraded";
    return { status, clients: this.clients, watches: this.watches, sourcesAbsent };
  }

  /** The metrics of the server; also at `/stats.json`. */
  stats(): ServerFigures {
    const { welcome, views, traffic } = this.#context;
    const { epoch, sampling } = views.whole;
    const { rss, heapUsed } = process.memoryUsage();
    return {
      server: welcome.server,
      host: welcome.host,
      hypervisor: welcome.hypervisor,
      epoch,
      uptimeSeconds: (performance.now() - this.#startedAt) / 1000,
      clients: this.clients,
      clientsAccepted: this.#accepted,
      sweepsServed: this.sweeps,
      watches: this.watches,
      channels: [...views].reduce((sum, { channels }) => sum + channels.size, 0),
      sampling: sampling.snapshot(),
      viewers: views.narrow.map((view) => ({ name: view.viewer!, sampling: view.sampling.snapshot() })),
      messagesSent: traffic.messages,
      bytesSent: traffic.bytes,
      eventLoopDelayMs: this.#delay.figures,
      memoryBytes: { rss, heapUsed },
    };
  }

  /** Ends sweeps and connections with `server-shutdown`, and frees the port. Safe to call twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Closes the server at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    const sessions = [...this.#sessions];
    for (const session of sessions) session.close("going-away", "the server is shutting down");
    await withTimeout(closed, CLOSE_TIMEOUT_MS, () => {
      for (const session of this.#sessions) session.terminate();
      this.#waiting.destroy();
    });
    await closed;
    await Promise.all(sessions.map((session) => session.idle()));
    this.#context.views.close();
    this.#context.pace.close();
    this.#delay.close();
    this.#webSockets.close();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const respond = (status: number, type: string, body: string): void => {
      response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
      response.end(request.method === "HEAD" ? undefined : `${body}\n`);
    };
    const say = (status: number, text: string): void => respond(status, "text/plain", text);
    const path = request.url?.split("?")[0];
    const { views } = this.#context;
    if (request.method !== "GET" && request.method !== "HEAD") say(405, "only GET and HEAD");
    else if (path === "/healthz" || path === "/readyz") {
      const health = this.health();
      const ready = path === "/healthz" || health.sourcesAbsent < hostNames(views.whole.driver.host).length;
      respond(ready ? 200 : 503, "application/json", JSON.stringify(health));
    } else if (path === "/")
      say(426, `This is a virstream server: connect with WebSocket, subprotocol ${SUBPROTOCOLS[0]}.`);
    else if (path !== "/stats.json") say(404, "nothing here");
    else if (!views.guarded && !this.#hostAllowed(request.headers.host)) {
      say(
        403,
        "the Host header has a name that is not this server's: use its address, or allow that origin on the server",
      );
    } else if (views.admit(bearerToken(request)) === views.whole) {
      respond(200, "application/json", JSON.stringify(this.stats()));
    } else say(401, "this needs the token that shows every domain: Authorization: Bearer TOKEN");
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refuse = (status: string, text: string): void => {
      const body = `${text}\n`;
      socket.end(
        `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
          `Connection: close\r\n\r\n${body}`,
      );
      // A client that keeps its end open would keep the socket.
      const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
      socket
        .on("error", () => {})
        .on("close", () => clearTimeout(timer))
        .resume();
    };
    const origin = request.headers.origin;
    if (origin !== undefined && !this.#originAllowed(origin)) {
      refuse("403 Forbidden", `pages of ${origin.slice(0, 200)} may not connect: allow that origin on the server`);
      return;
    }
    const shown = bearerToken(request);
    const view = shown === undefined ? undefined : this.#context.views.admit(shown);
    if (shown !== undefined && view === undefined) {
      refuse("401 Unauthorized", "the token is wrong");
      return;
    }
    const offered = request.headers["sec-websocket-protocol"];
    if (offered !== undefined && !offered.split(",").some((name) => isSubprotocol(name.trim()))) {
      refuse("400 Bad Request", `the subprotocols here are ${SUBPROTOCOLS.join(" and ")}`);
      return;
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const subprotocol = webSocket.protocol;
      const session = new ClientSession(
        webSocket,
        isSubprotocol(subprotocol) ? subprotocol : SUBPROTOCOLS[1],
        view,
        this.#context,
        () => {
          if (this.#greeted.size >= this.#context.limits.clients) return false;
          this.#waiting.delete(socket);
          this.#greeted.add(session);
          return true;
        },
      );
      this.#sessions.add(session);
      this.#accepted++;
      session.boundHello(socket);
      webSocket.on("close", () => {
        this.#sessions.delete(session);
        this.#greeted.delete(session);
      });
      if (!isSubprotocol(subprotocol)) {
        session.close("wrong-subprotocol", `offer one of the subprotocols ${SUBPROTOCOLS.join(", ")}`);
      } else if (this.#closing !== undefined) {
        session.close("going-away", "the server is shutting down");
      }
    });
  }

  /**
   * Whether a browser may have got this name of the server from an honest page. A page can make its own name resolve to any
   * address (DNS rebinding); then its requests have no Origin, because they go to its own origin.
   */
  #hostAllowed(host: string | undefined): boolean {
    if (host === undefined) return true;
    const name = hostnameOf(`http://${host}`);
    if (name === undefined) return false;
    if (isLoopback(name) || isIP(name.replace(/^\[|\]$/g, "")) > 0 || name === hostname().toLowerCase()) return true;
    return [...this.#origins].some((origin) => hostnameOf(origin) === name);
  }

  #originAllowed(origin: string): boolean {
    return this.#origins.has(origin) || isLoopback(hostnameOf(origin) ?? "");
  }
}

/**
 * Serves a connection over WebSocket.
 *
 * @throws VirstreamError as VirstreamServer.listen
 */
export function serve(connection: Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
  return VirstreamServer.listen(connection, options);
}

/** The token of a request, if it has one. */
function bearerToken(request: IncomingMessage): string | undefined {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
}

function hostnameOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname : undefined;
}

function isSubprotocol(name: string): name is Subprotocol {
  return (SUBPROTOCOLS as readonly string[]).includes(name);
}

function listenAdvice(code: string | undefined): string {
  return code === "EACCES" ? "choose a port above 1023" : "choose an address of this machine";
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}
