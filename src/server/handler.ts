/// <reference lib="esnext.disposable" preserve="true" />

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer, type ServerOptions as WebSocketServerOptions } from "ws";
import { type CloseOptions, type Connection, checkClose } from "../client/connection.ts";
import { withTimeout } from "../driver/clock.ts";
import { hostNames } from "../driver/matcher.ts";
import { type ErrorCode, invalid, VirstreamError } from "../model/error.ts";
import { checkOptions } from "../model/options.ts";
import { Exporter } from "../outlets/prometheus/exporter.ts";
import { VERSION } from "../version.ts";
import { LIMITS, SUBPROTOCOLS, type Subprotocol } from "../wire/protocol.ts";
import { Admission, type AdmittedClient, identifyBy, RoleDenied } from "./access/admission.ts";
import { Origins } from "./access/origins.ts";
import { neededToken, roleDenial, tokenFault } from "./access/principal.ts";
import { identifyByToken, knownTokens } from "./access/viewer.ts";
import { Views } from "./access/views.ts";
import { ClientAddresses, type Peer } from "./bounds/client-address.ts";
import { Clients } from "./bounds/clients.ts";
import { EventLog, nameOf, type ServerEvent } from "./bounds/event-log.ts";
import { PacedSocket } from "./bounds/paced-socket.ts";
import { Rate } from "./bounds/rate.ts";
import { sharedBounds } from "./bounds/shared-bounds.ts";
import { WaitingSockets } from "./bounds/waiting-sockets.ts";
import { ClientSession, type SessionContext } from "./client-session.ts";
import { checkPrefix, HANDLER_MEMBERS, type HandlerOptions, isGuarded } from "./handler-options.ts";
import { checkLimits, type ServerLimits } from "./limits.ts";
import { markOf } from "./outbound.ts";
import { absentSources, EventLoopDelay, type ServerFigures, type ServerHealth } from "./server-metrics.ts";
import { Explanations } from "./web/explanations.ts";
import { OpenAnswers } from "./web/open-answers.ts";
import { PageFiles } from "./web/page-files.ts";
import { ambiguity, answerRequest, type PageRefusal, type PageSource } from "./web/pages.ts";

/** How long a client may take to answer a close frame, or to take the answer to a refused request, in ms. */
export const CLOSE_TIMEOUT_MS = 1_000;
/** How long `close` with `drain` waits for the sweeps that are under way, in ms. */
const DRAIN_MS = 10_000;
/**
 * The most frames of a client's message; MAX_CHUNKS is the most chunks in which a frame may arrive. Both are limited
 * because each frame and each chunk takes memory besides its bytes.
 */
const MAX_FRAGMENTS = 128;
const MAX_CHUNKS = 2_048;

/**
 * The event that is logged when a client is refused because of an error, by the error's code. For other codes, the
 * event is `client-refused`.
 */
const REFUSED: Partial<Record<ErrorCode, ServerEvent>> = {
  denied: "token-refused",
  "limit-exceeded": "limit-exceeded",
};

/**
 * Serves the statistics of a Connection over WebSocket, as a part of an HTTP server. Closing the handler closes neither
 * that server nor the Connection.
 *
 * `request` and `upgrade` are bound, so they can be passed as they are: `server.on("upgrade", handler.upgrade)`.
 */
export class VirstreamHandler implements AsyncDisposable {
  readonly #webSockets: WebSocketServer;
  readonly #sessions = new Set<ClientSession>();
  /** The clients whose hello was accepted. */
  readonly #greeted: Clients;
  readonly #addresses: ClientAddresses;
  /**
   * The sockets whose clients have no accepted hello yet.
   *
   * @internal
   */
  protected readonly waiting: WaitingSockets;
  /** Makes the answers of `/metrics`. */
  readonly exporter: Exporter;
  readonly #pages: PageSource;
  /** The limits may change, so all parts of the handler read the limits whenever they need them. */
  readonly #limits: ServerLimits;
  readonly #answers = new OpenAnswers();
  readonly #views: Views;
  readonly #admission: Admission;
  readonly #explanations: Explanations | undefined;
  readonly #context: SessionContext;
  readonly #log: EventLog;
  readonly #startedAt = performance.now();
  readonly #delay: EventLoopDelay;
  #accepted = 0;
  /** The beginning of all paths of the handler: the option `prefix`. Empty if there is none. */
  readonly prefix: string;
  #origins: Origins;
  readonly #needsToken: boolean;
  #closing: Promise<void> | undefined;
  readonly #hurry = new AbortController();

  /** @throws VirstreamError as createHandler */
  constructor(connection: Connection, options: HandlerOptions) {
    const limits = checkLimits(options.limits);
    this.#limits = limits;
    this.prefix = checkPrefix(options.prefix);
    const { authenticate, token, viewers, ui, webSockets } = options;
    if (ui === true && webSockets === false)
      throw invalid("ui does not go with webSockets: false: the page needs them");
    if (authenticate !== undefined && (token ?? viewers) !== undefined) {
      throw invalid("authenticate does not go with token and viewers: it decides about all clients");
    }
    this.#log = new EventLog(options.log);
    const tokens = knownTokens(token, viewers);
    this.#addresses = new ClientAddresses(options.trustedProxies);
    this.#greeted = new Clients(limits);
    const bounds = sharedBounds(limits);
    this.#views = new Views(connection, () => limits.views + tokens.length, bounds.memory);
    // Each viewer holds its view, so these views last as long as the handler.
    for (const { identity } of tokens) this.#views.hold(identity.restriction, identity);
    const identify =
      authenticate === undefined
        ? identifyByToken(tokens)
        : identifyBy(authenticate, (request, { message }) => {
            const address = this.#addresses.addressOf(request);
            this.#log.say(
              "authenticate-failed",
              { address },
              `authenticate failed, so ${address} is refused: ${message}`,
            );
          });
    this.#admission = new Admission(identify, this.#views, limits.helloTimeoutMs, () => limits.waiting);
    this.#context = {
      admission: this.#admission,
      traffic: { messages: 0, bytes: 0 },
      welcome: {
        server: `virstream/${VERSION}`,
        // These members are computed at each use, because hosts come and go, and limits may change.
        get host() {
          return connection.host;
        },
        get hypervisor() {
          return connection.hypervisor;
        },
        get minIntervalMs() {
          return Math.max(limits.minIntervalMs, connection.driver.minIntervalMs ?? 0);
        },
      },
      limits,
      ...bounds,
      mark: () => markOf(limits, this.#greeted.size),
      log: this.#log,
      addresses: this.#addresses,
    };
    if (options.explain !== undefined)
      this.#explanations = new Explanations(
        options.explain,
        this.#admission,
        this.#context.pace,
        (request, why, principal) => this.sayRefused("token-refused", request, `/why: ${why}`, principal),
      );
    this.#origins = new Origins(options.origins);
    this.#needsToken = tokens.length > 0;
    this.exporter = new Exporter(connection, options.metrics);
    const guarded = isGuarded(options);
    this.#pages = {
      prefix: this.prefix,
      exporter: this.exporter,
      webSockets: options.webSockets ?? true,
      files: options.ui === true ? new PageFiles() : undefined,
      isForeign: ({ headers }) => !this.#admitsHost(headers.host),
      isClosing: () => this.#closing !== undefined,
      health: () => this.health(),
      isReady: ({ sourcesAbsent }) => sourcesAbsent < hostNames(this.#views.whole.driver.host).length,
      stats: () => this.stats(),
      isForged: ({ headers }) => !guarded && !this.#origins.admitHost(headers.host),
      logRefused: (request, why) => this.sayRefused("client-refused", request, why),
      refusalOf: (request, path) => this.#refusalOf(request, path),
      why: this.#explanations && ((request, guest) => this.#explanations!.answer(request, bearerToken(request), guest)),
    };
    // The types of ws lack closeTimeout.
    const webSocketOptions: WebSocketServerOptions & { readonly closeTimeout: number } = {
      noServer: true,
      maxPayload: LIMITS.request,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_CHUNKS,
      closeTimeout: CLOSE_TIMEOUT_MS,
      WebSocket: PacedSocket,
      autoPong: false,
      perMessageDeflate: false,
      handleProtocols: (offered) => SUBPROTOCOLS.find((known) => offered.has(known)) ?? false,
    };
    this.#webSockets = new WebSocketServer(webSocketOptions);
    this.waiting = new WaitingSockets(limits, this.#addresses, (address, most) => {
      const rule = `at most ${most} may wait for their hello, or be plain HTTP`;
      this.#log.say("limit-exceeded", { address }, `a connection of ${address} was replaced by a newer one: ${rule}`);
    });
    this.#delay = new EventLoopDelay();
  }

  /** How many connected clients have sent a hello, with a valid token if one is needed. */
  get clients(): number {
    return this.#greeted.size;
  }

  /** How many single sweeps of all clients are under way; watches do not count. */
  get sweeps(): number {
    return [...this.#sessions].reduce((sum, { sweeps }) => sum + sweeps, 0);
  }

  /** How many watches all clients have together. */
  get watches(): number {
    return [...this.#sessions].reduce((sum, { watches }) => sum + watches, 0);
  }

  /**
   * The health of the server and of the watched hosts; also at `/healthz` and `/readyz`. These pages need no token, so
   * they show no names.
   */
  health(): ServerHealth {
    const views = this.#views;
    const known = views.whole.driver.absent?.length ?? 0;
    const sourcesAbsent = Math.max(known, ...[...views].map(({ sampling }) => absentSources(sampling)));
    const status = sourcesAbsent === 0 ? "ok" : "degraded";
    return { status, clients: this.clients, watches: this.watches, sourcesAbsent };
  }

  /** The metrics of the server; also at `/stats.json`. */
  stats(): ServerFigures {
    const { welcome, traffic, memory } = this.#context;
    const views = this.#views;
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
      ringBytes: memory.rings.used,
      snapshotRecords: memory.snapshots.used,
      sampling: sampling.snapshot(),
      viewers: views.narrow.map(({ holders, sampling }) => ({
        names: [...new Set([...holders].map(({ name }) => name))],
        sampling: sampling.snapshot(),
      })),
      messagesSent: traffic.messages,
      bytesSent: traffic.bytes,
      eventLoopDelayMs: this.#delay.figures,
      memoryBytes: { rss, heapUsed },
    };
  }

  /**
   * Closes the WebSockets of all principals, or viewers, with this name, so that their clients authenticate again. A
   * client of this library connects again by itself. Returns how many clients must authenticate again.
   */
  disconnect(name: string): number {
    return this.#admission.disconnect(name);
  }

  /**
   * Replaces the option `origins`, for pages that connect from now on.
   *
   * @throws VirstreamError `invalid-argument`; the handler then keeps its present origins
   */
  admitOrigins(origins: readonly string[]): void {
    this.#origins = new Origins(origins);
  }

  /**
   * Replaces the option `limits`, for connections, requests and messages from now on. A limit that is absent gets its
   * default. No client, sweep or watch ends. If `waiting` or `waitingPerAddress` is lower now, the next connection
   * replaces the oldest connections beyond the new limit. Only `helloTimeoutMs` stays as it was at the start.
   *
   * @throws VirstreamError `invalid-argument`; the handler then keeps its present limits
   */
  limit(limits: Partial<ServerLimits>): void {
    Object.assign(this.#limits, checkLimits(limits), { helloTimeoutMs: this.#limits.helloTimeoutMs });
  }

  /**
   * Ends sweeps and WebSockets with `server-shutdown`, and refuses further sweeps and WebSockets. With `drain`, it
   * first waits until the sweeps under way are complete, for at most ten seconds. Safe to call twice: a second call
   * without `drain` ends the wait of the first call.
   *
   * @throws VirstreamError `invalid-argument`
   */
  async close(options: CloseOptions = {}): Promise<void> {
    const { drain = false } = checkClose(options);
    if (!drain) this.#hurry.abort();
    this.#closing ??= this.#close();
    await this.#closing;
  }

  /** Closes the handler at the end of an `await using` block. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    const { signal } = this.#hurry;
    if (!signal.aborted) {
      const drained = Promise.all([...this.#sessions].map((session) => session.drain()));
      await withTimeout<unknown>(drained, DRAIN_MS, () => {}, { signal }).catch(() => {});
    }
    this.#admission.close();
    this.#explanations?.close();
    const sessions = [...this.#sessions];
    for (const session of sessions) session.close("going-away", "the server is shutting down");
    await Promise.all(sessions.map((session) => session.ended()));
    this.exporter.close();
    this.#views.close();
    this.#context.pace.close();
    this.#log.close();
    this.#delay.close();
  }

  /**
   * Answers a request: `/healthz`, `/readyz`, `/stats.json`, `/metrics`, `/why` (with the option `explain`), and the
   * files of the live page (with the option `ui`).
   *
   * @param next called for a path outside the prefix, as in Express. Default: the answer is 404
   */
  readonly request = (request: IncomingMessage, response: ServerResponse, next?: () => void): void => {
    const path = this.#pathOf(request);
    if (path === undefined && next !== undefined) next();
    else {
      this.#answers.add(request.socket, response);
      answerRequest(this.#pages, request, response, path);
    }
  };

  /**
   * Accepts a client, or refuses it: for the event `upgrade` of an HTTP server.
   *
   * @param next called for a path outside the prefix. Default: the answer is 404
   */
  readonly upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer, next?: () => void): void => {
    const path = this.#pathOf(request);
    if (path === undefined && next !== undefined) next();
    else if (path === undefined) refuse(socket, "404 Not Found", "nothing here");
    else if (!this.#pages.webSockets) refuse(socket, "404 Not Found", "this server has no WebSockets, only /metrics");
    else this.#accept(request, socket, head);
  };

  /**
   * The part of the request's path below the prefix: empty for the prefix itself, undefined for a path outside the
   * prefix. If Express mounts the handler at a path, it removes that path from `url`, but not from `originalUrl`.
   */
  #pathOf(request: IncomingMessage & { readonly originalUrl?: string }): string | undefined {
    const url = this.prefix === "" ? request.url : (request.originalUrl ?? request.url);
    const path = url?.split("?")[0] ?? "";
    if (path === this.prefix) return this.prefix === "" ? "/" : "";
    return path.startsWith(`${this.prefix}/`) ? path.slice(this.prefix.length) : undefined;
  }

  /** The answer to a client that may not read this page; undefined if the client may read it. */
  async #refusalOf(request: IncomingMessage, path: string): Promise<PageRefusal | undefined> {
    const token = bearerToken(request);
    const identity = await this.#admission.identify(request, token).catch(() => undefined);
    const denial = identity && roleDenial(identity.role, path);
    if (identity !== undefined && denial === undefined) return undefined;
    this.sayRefused("token-refused", request, `${path}: ${denial ?? tokenFault(token)}`, identity?.name);
    if (denial !== undefined) return { status: 403, text: denial };
    return { status: 401, text: `this needs ${neededToken(path)}: Authorization: Bearer TOKEN` };
  }

  /**
   * True if a page that this server serves under this name may connect. If clients need tokens, the name does not
   * matter: a hostile page whose own name resolves to this machine (DNS rebinding) has no token, because browsers keep
   * tokens separately for each name.
   */
  #admitsHost(host: string | undefined): boolean {
    return this.#needsToken || this.#origins.admitHost(host);
  }

  #admitsOrigin(origin: string, host: string | undefined): boolean {
    if (this.#origins.admit(origin)) return true;
    return this.#pages.files !== undefined && Origins.isSame(origin, host) && this.#admitsHost(host);
  }

  #accept(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.waiting.add(socket, request);
    const malformed = this.#answers.has(socket) ? "an earlier request has no answer yet" : ambiguity(request);
    if (malformed !== undefined) {
      this.sayRefused("client-refused", request, malformed);
      refuse(socket, "400 Bad Request", malformed);
      return;
    }
    const origin = request.headers.origin;
    if (origin !== undefined && !this.#admitsOrigin(origin, request.headers.host)) {
      const why = `pages of ${origin.slice(0, 200)} may not connect: allow that origin in the option origins`;
      this.sayRefused("client-refused", request, why);
      refuse(socket, "403 Forbidden", why);
      return;
    }
    const offered = request.headers["sec-websocket-protocol"];
    if (offered !== undefined && !offered.split(",").some((name) => isSubprotocol(name.trim()))) {
      const why = `the subprotocols here are ${SUBPROTOCOLS.join(" and ")}`;
      this.sayRefused("client-refused", request, why);
      refuse(socket, "400 Bad Request", why);
      return;
    }
    const token = bearerToken(request);
    if (token === undefined) this.#open(request, socket, head, undefined);
    else void this.#admit(token, request, socket, head);
  }

  /** Accepts a client that shows its token in the request, or refuses it. */
  async #admit(token: string, request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    socket.on("error", () => {});
    try {
      const client = await this.#admission.admit(request, token);
      if (client === undefined) {
        const why = tokenFault(token);
        this.sayRefused("token-refused", request, why);
        refuse(socket, "401 Unauthorized", why);
      } else if (socket.destroyed) client.release();
      else {
        socket.once("close", () => client.release());
        this.#open(request, socket, head, client);
      }
    } catch (thrown) {
      const { code, retryable, message } = VirstreamError.from(thrown);
      const principal = thrown instanceof RoleDenied ? thrown.principal : undefined;
      if (code !== "server-shutdown") this.sayRefused(REFUSED[code] ?? "client-refused", request, message, principal);
      if (code === "denied") refuse(socket, "401 Unauthorized", message);
      else refuse(socket, retryable ? "503 Service Unavailable" : "500 Internal Server Error", message);
    }
  }

  /**
   * Logs that a client is refused.
   *
   * @param principal the name of the client's principal, if the client's token is valid
   * @internal
   */
  protected sayRefused(event: ServerEvent, peer: Peer, why: string, principal?: string): void {
    const address = this.#addresses.addressOf(peer);
    this.#log.say(
      event,
      { address, ...(principal && { principal }) },
      `${nameOf(address, principal)} is refused: ${why}`,
    );
  }

  #open(request: IncomingMessage, socket: Duplex, head: Buffer, client: AdmittedClient | undefined): void {
    const address = this.#addresses.limitKeyOf(request);
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      (webSocket as PacedSocket).rate = new Rate(() => this.#limits.requestsPerSecond);
      const subprotocol = webSocket.protocol;
      const session = new ClientSession(
        webSocket,
        isSubprotocol(subprotocol) ? subprotocol : SUBPROTOCOLS[1],
        request,
        client,
        this.#context,
        () => {
          const refusal = this.#greeted.enter(session, address);
          if (refusal === undefined) this.waiting.delete(socket);
          return refusal;
        },
      );
      this.#sessions.add(session);
      this.#accepted++;
      session.boundHello(socket);
      webSocket.on("close", () => {
        this.#sessions.delete(session);
        this.#greeted.leave(session);
      });
      if (!isSubprotocol(subprotocol)) {
        session.close("wrong-subprotocol", `offer one of the subprotocols ${SUBPROTOCOLS.join(", ")}`);
      } else if (this.#closing !== undefined) {
        session.close("going-away", "the server is shutting down");
      }
    });
  }
}

/**
 * Serves a Connection as a part of the caller's own HTTP server. Pass the handler's `request` and `upgrade` to the
 * events of that server.
 *
 * @throws VirstreamError `invalid-argument` if `authenticate`, `token`, `viewers` and `allowAnyone` are all absent, and
 *   for an invalid prefix, and invalid tokens, viewers or limits
 */
export function createHandler(connection: Connection, options: HandlerOptions): VirstreamHandler {
  checkOptions("createHandler's options object", options, HANDLER_MEMBERS);
  if (!isGuarded(options) && options.allowAnyone !== true) {
    throw invalid(
      "a handler shows every domain to every client that reaches its HTTP server: set authenticate, a token or viewers, or allowAnyone",
    );
  }
  return new VirstreamHandler(connection, options);
}

/** Answers an upgrade request that is not accepted. */
function refuse(socket: Duplex, status: string, text: string): void {
  const body = `${text}\n`;
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  );
  // Without this timer, a client that keeps its end open would keep the socket open.
  const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
  socket
    .on("error", () => {})
    .on("close", () => clearTimeout(timer))
    .resume();
}

/** The token in the header `Authorization` of a request, if it has one. */
function bearerToken(request: IncomingMessage): string | undefined {
  return /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1];
}

function isSubprotocol(name: string): name is Subprotocol {
  return (SUBPROTOCOLS as readonly string[]).includes(name);
}
