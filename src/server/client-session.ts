import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { RawData, WebSocket } from "ws";
import { type ErrorCode, VirstreamError } from "../model/error.ts";
import type { Query } from "../model/query.ts";
import type { Enter, WatchedQuery } from "../sampling/sampling.ts";
import { malformed } from "../wire/errors.ts";
import type { Welcome } from "../wire/messages.ts";
import { CLOSE_CODES, type CloseReason, LIMITS, type Subprotocol } from "../wire/protocol.ts";
import { type ClientMessage, parseClientMessage, type RefusedQuery } from "../wire/request.ts";
import { type Admission, type AdmittedClient, RoleDenied } from "./access/admission.ts";
import { tokenFault } from "./access/principal.ts";
import { permitted, permittedGroups } from "./access/views.ts";
import type { ClientAddresses } from "./bounds/client-address.ts";
import { type EventLog, nameOf, type ServerEvent } from "./bounds/event-log.ts";
import { PATIENT_CLOCK } from "./bounds/patient-clock.ts";
import { holdAll, Quota } from "./bounds/quota.ts";
import type { SharedBounds } from "./bounds/shared-bounds.ts";
import { loadOf, WHOLE_LOAD, watchedLoadOf } from "./bounds/sweep-pace.ts";
import type { Channel } from "./channel.ts";
import type { ServerLimits } from "./limits.ts";
import { Outbound, type TrafficMetrics } from "./outbound.ts";
import { SweepSender } from "./sweep-sender.ts";
import { WatchSender } from "./watch-sender.ts";

/** The maximum length of a close frame's reason, in bytes (RFC 6455, 5.5). */
const MAX_CLOSE_REASON = 123;
/**
 * The most bytes that the frames of a hello may have besides the hello itself. HELLO_CHUNKS is the most chunks in which
 * a hello may arrive.
 */
const HELLO_FRAMES = 1_024;
const HELLO_CHUNKS = 64;
/** After this many unanswered pings in a row, the server cuts the connection. */
const MISSED_PONGS = 6;
/**
 * The code that ws reports if the client closed the connection without a code (RFC 6455, 7.1.5), which is also an
 * orderly close.
 */
const NO_CODE = 1005;
/**
 * The codes of orderly closes: the client closed (1000), the user left the client's page (1001), or there was no code.
 * Such a client will not resume its watches.
 */
const GOODBYES: readonly number[] = [CLOSE_CODES.normal, CLOSE_CODES["going-away"], NO_CODE];

/**
 * The reason with which the server closes a connection if an error occurs while it handles the hello, by the code of
 * the error. For any other code, the reason is `server-error`.
 */
const REFUSALS: Partial<Record<ErrorCode, CloseReason>> = {
  denied: "unauthenticated",
  "deadline-exceeded": "hello-timeout",
  "limit-exceeded": "overloaded",
};

/**
 * The event that is logged when the server closes a connection, by the close reason. For other reasons, the event is
 * `client-refused`.
 */
const CLOSE_EVENTS: Partial<Record<CloseReason, ServerEvent>> = {
  unauthenticated: "token-refused",
  overloaded: "limit-exceeded",
};
/** The close reasons that do not mean a refusal. When the server closes a connection for them, it logs no refusal. */
const UNREFUSED: readonly CloseReason[] = ["normal", "going-away", "logged-out"];
/** The errors of sweeps and watches that are logged, each with its event. */
const FAILURES: Partial<Record<ErrorCode, ServerEvent>> = {
  "limit-exceeded": "limit-exceeded",
  "slow-consumer": "slow-consumer",
};

/** The parts of a server that all sessions share. */
export interface SessionContext extends SharedBounds {
  readonly admission: Admission;
  readonly traffic: TrafficMetrics;
  readonly welcome: Omit<Welcome, "epoch" | "steadyMs" | "beatMs">;
  /** The limits may change, so each limit is read whenever it is needed. */
  readonly limits: ServerLimits;
  /** Returns the present high-water mark of each client's socket, in bytes. */
  readonly mark: () => number;
  readonly log: EventLog;
  readonly addresses: ClientAddresses;
}

/** One client's WebSocket, from its hello to its end, with its sweeps and watches. */
export class ClientSession {
  readonly #socket: WebSocket;
  readonly #context: SessionContext;
  readonly #enter: () => string | undefined;
  readonly #outbound: Outbound;
  readonly #subprotocol: Subprotocol;
  /** The sweeps and watches that are under way, by id. */
  readonly #senders = new Map<number, SweepSender | WatchSender>();
  readonly #watched = new Set<Channel>();
  readonly #helloTimer: unknown;
  /** The interval of beats that the welcome announces. It stays the same if the limit `beatMs` changes later. */
  readonly #beatMs: number;
  readonly #beatTimer: NodeJS.Timeout;
  readonly #running = new Set<Promise<void>>();
  readonly #closed: Promise<unknown>;
  readonly #slots: Quota;
  readonly #selectors: Quota;
  /**
   * The queries that this session's watches added to the queries that were watched already, as keys of
   * `Sampling.watched`.
   */
  readonly #added = new Set<string>();
  #draining = false;
  #greeted = false;
  /** The value of `host` that the client got last, in the welcome or in a beat. It changes when hosts come and go. */
  #saidHost = "";
  /** Messages that came while the client's hello is being answered; undefined at other times. */
  #early: [data: RawData, isBinary: boolean][] | undefined;
  /** The request that opened the WebSocket; undefined after the client's hello. */
  #request: IncomingMessage | undefined;
  /** Undefined before the client has shown who it is. */
  #client: AdmittedClient | undefined;
  /** The name of the client's principal. It is set even if the client is refused because of its token's role. */
  #principal: string | undefined;
  #unanswered = 0;
  readonly #address: string;
  #greetedAt = 0;

  /**
   * @param client the client that the token in the upgrade request identifies; undefined if the request had no token
   * @param enter called when an admitted client has sent its hello. It returns the reason for a refusal if there are
   *   too many clients
   */
  constructor(
    socket: WebSocket,
    subprotocol: Subprotocol,
    request: IncomingMessage,
    client: AdmittedClient | undefined,
    context: SessionContext,
    enter: () => string | undefined,
  ) {
    this.#enter = enter;
    this.#socket = socket;
    this.#context = context;
    this.#request = request;
    this.#address = context.addresses.addressOf(request);
    this.#subprotocol = subprotocol;
    const { limits } = context;
    this.#slots = new Quota(
      () => limits.sweepsPerClient,
      (most) => `a connection may have at most ${most} sweeps and watches at a time`,
    );
    this.#selectors = new Quota(
      () => limits.selectorsPerClient,
      (most) => `a connection may name at most ${most} domains at a time: query all domains`,
    );
    this.#outbound = new Outbound(socket, context.mark, context.traffic, ({ code, message }) => {
      const event = FAILURES[code];
      if (event !== undefined) this.#say(event, `gets an error: ${message}`);
    });
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("pong", () => {
      this.#unanswered = 0;
    });
    // After a malformed frame, ws itself closes the connection, so this listener has nothing to do.
    socket.on("error", () => {});
    this.#closed = new Promise((resolve) => socket.on("close", resolve));
    socket.on("close", (code) => this.#stop(code));
    const noHello = (): void => this.close("hello-timeout", "no hello in time");
    this.#helloTimer = PATIENT_CLOCK.setTimeout(noHello, limits.helloTimeoutMs);
    this.#beatMs = limits.beatMs;
    this.#beatTimer = setInterval(() => this.#beat(), this.#beatMs);
    if (client !== undefined) this.#admit(client);
  }

  /**
   * Bounds the bytes that a client may send until its hello is complete. Without this bound, each client without a
   * hello could make the server keep 1 MiB in memory, as a message or as parts of a message.
   *
   * @param socket the socket from which the WebSocket reads; the WebSocket gets each chunk first
   */
  boundHello(socket: Duplex): void {
    let bytes = 0;
    let chunks = 0;
    const read = (chunk: Buffer): void => {
      bytes += chunk.length;
      chunks++;
      // The hello may be in this chunk. Then ws hands over the hello in this turn of the event loop, so the check waits
      // for the end of the turn.
      setImmediate(() => {
        if (this.#greeted || this.#early !== undefined) socket.off("data", read);
        else if (bytes > LIMITS.hello + HELLO_FRAMES || chunks > HELLO_CHUNKS) {
          this.close("bad-message", "the first message is too long");
          this.#socket.pause();
        }
      });
    };
    socket.on("data", read);
  }

  /** How many sweeps are under way. */
  get sweeps(): number {
    return this.#senders.size - this.#watched.size;
  }

  /** How many watches are under way. */
  get watches(): number {
    return this.#watched.size;
  }

  /**
   * Resolves when this session's socket is closed and all its sweeps have ended. After `close` this takes a second at
   * most.
   */
  async ended(): Promise<void> {
    await this.#closed;
    await Promise.all(this.#running);
  }

  /** From now on, this session begins no sweep and no watch. Resolves when its sweeps have ended. */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all(this.#running);
  }

  close(reason: CloseReason, detail: string): void {
    if (this.#socket.readyState === this.#socket.OPEN && !UNREFUSED.includes(reason)) {
      this.#say(CLOSE_EVENTS[reason] ?? "client-refused", `is refused: ${detail}`);
    }
    this.#socket.close(CLOSE_CODES[reason], closeReason(detail));
  }

  /** Cuts the connection without a close frame, for a client that does not read. */
  terminate(): void {
    this.#socket.terminate();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (this.#early !== undefined) {
      this.#early.push([data, isBinary]);
      return;
    }
    if (this.#outbound.flooded) {
      // A close frame would wait behind the unread messages, so the server sends no close frame.
      this.#say("slow-consumer", "is cut off: it reads no replies");
      this.terminate();
      return;
    }
    try {
      if (isBinary) throw malformed("clients speak JSON text");
      const bytes = data as Buffer;
      if (!this.#greeted && bytes.length > LIMITS.hello) throw malformed("the first message is too long");
      this.#handle(parseClientMessage(bytes.toString(), this.#context.limits.minIntervalMs));
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      this.close(error.code === "protocol-error" ? "bad-message" : "server-error", error.message);
    }
  }

  #handle(message: ClientMessage | RefusedQuery): void {
    if (!this.#greeted && message.type !== "hello") throw malformed("the first message must be a hello");
    switch (message.type) {
      case "hello":
        if (this.#greeted) throw malformed("a second hello");
        void this.#hello(message.token);
        break;
      case "get":
      case "watch":
        this.#query(message);
        break;
      case "refused":
        if (this.#isFree(message.id)) this.#outbound.end(message.id, message.error);
        break;
      // An unknown id is not an error: the client may have sent this message before it received the `end` of the sweep
      // or watch.
      case "credit":
        this.#senders.get(message.id)?.grant(message.bytes);
        break;
      case "cancel":
        this.#senders.get(message.id)?.stop();
        break;
    }
  }

  /**
   * Answers the hello. The client may send requests right after the hello; these requests wait. The socket is paused,
   * so only bytes that have already been read take memory.
   */
  async #hello(token: string | undefined): Promise<void> {
    const request = this.#request!;
    this.#request = undefined;
    this.#early = [];
    this.#socket.pause();
    try {
      if (this.#client === undefined) {
        const client = await this.#context.admission.admit(request, token);
        if (client !== undefined) this.#admit(client);
      }
      const driver = this.#client?.view.driver;
      // The welcome says where a recording ends. The recording may have grown since the driver last read its end, so
      // the driver reads its end again.
      if (driver?.refresh !== undefined) await driver.refresh();
      this.#socket.resume();
      if (this.#socket.readyState === this.#socket.OPEN) this.#greet(token);
    } catch (thrown) {
      this.#socket.resume();
      if (thrown instanceof RoleDenied) this.#principal = thrown.principal;
      const { code, message } = VirstreamError.from(thrown);
      this.close(REFUSALS[code] ?? "server-error", message);
    }
    const early = this.#early;
    this.#early = undefined;
    for (const [data, isBinary] of early) this.#receive(data, isBinary);
  }

  #admit(client: AdmittedClient): void {
    this.#client = client;
    this.#principal = client.name;
    if (this.#socket.readyState === this.#socket.CLOSED) client.release();
    else client.onLogout(() => this.close("logged-out", "authenticate again"));
  }

  #greet(token: string | undefined): void {
    if (this.#client === undefined) {
      this.close("unauthenticated", tokenFault(token));
      return;
    }
    PATIENT_CLOCK.clearTimeout(this.#helloTimer);
    const refusal = this.#enter();
    if (refusal !== undefined) {
      this.close("overloaded", refusal);
      return;
    }
    this.#greeted = true;
    this.#greetedAt = performance.now();
    this.#say("client-connected", "has connected");
    const { view } = this.#client;
    this.#outbound.profile = view.channels.profile(this.#subprotocol);
    const steadyMs = performance.now();
    const { welcome } = this.#context;
    this.#saidHost = welcome.host;
    const groups = permittedGroups(view);
    const { recorded } = view.driver;
    this.#outbound.say({
      type: "welcome",
      ...welcome,
      beatMs: this.#beatMs,
      epoch: view.epoch,
      steadyMs,
      ...(groups !== undefined && { groups }),
      ...(recorded !== undefined && { recorded }),
    });
  }

  #query(message: Extract<ClientMessage, { type: "get" | "watch" }>): void {
    if (!this.#isFree(message.id)) return;
    this.#say("request", message.type === "get" ? "begins a sweep" : "begins a watch", { type: message.type });
    if (this.#draining) {
      this.#outbound.end(message.id, new VirstreamError("server-shutdown", "the server is shutting down"));
      return;
    }
    let query: Query;
    try {
      query = permitted(message.query, this.#client!.view);
    } catch (thrown) {
      this.#outbound.end(message.id, VirstreamError.from(thrown));
      return;
    }
    if (message.type === "get") this.#get({ ...message, query });
    else this.#watch({ ...message, query });
  }

  #get({ id, query, credit }: Extract<ClientMessage, { type: "get" }>): void {
    const { selectors, sweeps } = this.#context;
    const release = this.#hold(
      id,
      query,
      () => selectors.hold(named(query)),
      () => sweeps.hold(1),
    );
    if (release === undefined) return;
    const { progressTimeoutMs } = this.#context.limits;
    const { driver, sampling } = this.#client!.view;
    const sweep = new SweepSender({
      id,
      query,
      credit,
      driver,
      metrics: sampling.metrics,
      outbound: this.#outbound,
      progressTimeoutMs,
      enter: this.#enterOf(query),
    });
    this.#senders.set(id, sweep);
    const run = sweep.run().then(() => {
      this.#senders.delete(id);
      release();
      this.#running.delete(run);
    });
    this.#running.add(run);
  }

  #watch({ id, query, cadence, credit, since }: Extract<ClientMessage, { type: "watch" }>): void {
    const { sampling, channels, epoch } = this.#client!.view;
    const known = since?.epoch === epoch ? since : undefined;
    let channel!: Channel;
    const holdQuery = (): (() => void) => {
      const { watched } = sampling;
      const key = JSON.stringify(query);
      if (watched.has(key)) return () => {};
      const { queries, queriesPerClient } = this.#context.limits;
      checkLoad(query, [...watched.values()], "all clients", queries);
      const own = [...this.#added].flatMap((added) => watched.get(added) ?? []);
      checkLoad(query, own, "a connection", queriesPerClient);
      this.#added.add(key);
      return () => this.#added.delete(key);
    };
    const holdChannel = (): (() => void) => {
      const feed = sampling.feed(query, cadence, this.#enterOf(query));
      const { selectors, channels: most } = this.#context;
      const hold = (): (() => void) => holdAll([() => selectors.hold(named(query)), () => most.hold(1)]);
      channel = channels.open(feed, this.#outbound.profile, this.#watched, known?.channel, hold);
      return () => {};
    };
    const release = this.#hold(id, query, holdQuery, holdChannel);
    if (release === undefined) return;
    const watch = new WatchSender({
      id,
      credit,
      channel,
      sampling,
      outbound: this.#outbound,
      progressTimeoutMs: this.#context.limits.progressTimeoutMs,
      since: known?.channel === channel.number ? known.sequence : undefined,
      done: () => {
        this.#senders.delete(id);
        release();
        this.#watched.delete(channel);
      },
    });
    this.#watched.add(channel);
    this.#senders.set(id, watch);
    watch.start();
  }

  #enterOf(query: Query): Enter {
    return (begin) => this.#context.pace.enter(this, loadOf(query), begin);
  }

  /**
   * Counts a sweep or watch in the quotas, and returns a function that takes it out of them again. If a limit does not
   * permit the sweep or watch, or one of `others` throws, the client gets the reason, and the result is undefined.
   */
  #hold(id: number, query: Query, ...others: (() => () => void)[]): (() => void) | undefined {
    try {
      return holdAll([() => this.#slots.hold(1), () => this.#selectors.hold(named(query)), ...others]);
    } catch (thrown) {
      this.#outbound.end(id, VirstreamError.from(thrown));
      return undefined;
    }
  }

  /**
   * True if the id is free. If not, this method closes the connection, because messages with this id must belong to one
   * sweep or watch only.
   */
  #isFree(id: number): boolean {
    if (!this.#senders.has(id)) return true;
    this.close("duplicate-id", `sweep or watch ${id} is still under way`);
    return false;
  }

  /** Sends a beat, so that the client sees that the connection works, and a ping, so that the server sees it. */
  #beat(): void {
    if (this.#unanswered >= MISSED_PONGS) {
      this.terminate();
      return;
    }
    this.#unanswered++;
    this.#socket.ping();
    if (!this.#greeted) return;
    const { host } = this.#context.welcome;
    this.#outbound.say({ type: "beat", ...(host !== this.#saidHost && { host }) });
    this.#saidHost = host;
  }

  /** Logs what happened to the client. */
  #say(event: ServerEvent, what: string, fields: { readonly [field: string]: string | number } = {}): void {
    const { log } = this.#context;
    const [address, principal] = [this.#address, this.#principal];
    log.say(event, { address, ...(principal && { principal }), ...fields }, `${nameOf(address, principal)} ${what}`);
  }

  #stop(code: number): void {
    if (this.#greeted) {
      const connectedMs = Math.round(performance.now() - this.#greetedAt);
      this.#say("client-disconnected", `has left, after ${Math.round(connectedMs / 1_000)} s`, { code, connectedMs });
    }
    PATIENT_CLOCK.clearTimeout(this.#helloTimer);
    clearInterval(this.#beatTimer);
    this.#client?.release();
    for (const sender of [...this.#senders.values()]) {
      if (sender instanceof SweepSender || GOODBYES.includes(code)) sender.stop();
      else sender.cut();
    }
  }
}

/**
 * @throws VirstreamError `limit-exceeded` if the loads of the query and of the other queries are together more than the
 *   load of `most` queries of all domains
 */
function checkLoad(query: Query, others: readonly WatchedQuery[], who: string, most: number): void {
  const load = others.reduce((sum, other) => sum + watchedLoadOf(other.query, other.feeds), 0);
  if (load + watchedLoadOf(query, undefined) <= WHOLE_LOAD * most) return;
  const advice = "use the same groups, flags, patterns and deadline";
  throw new VirstreamError(
    "limit-exceeded",
    `${who} may watch at most ${most} different queries of all domains at a time: ${advice}`,
  );
}

/** How many domains a query names. */
function named({ domains }: Query): number {
  return domains?.length ?? 0;
}

/**
 * The text as the reason of a close frame: cut off if it is too long. Because of `stream`, the decoder leaves out a
 * character that is cut in two.
 */
function closeReason(text: string): string {
  return new TextDecoder().decode(Buffer.from(text).subarray(0, MAX_CLOSE_REASON), { stream: true });
}
