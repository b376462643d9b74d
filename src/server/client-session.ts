import type { RawData, WebSocket } from "ws";
import { VirstreamError } from "../model/error.ts";
import type { Welcome } from "../wire/messages.ts";
import { CLOSE_CODES, type CloseReason, LIMITS, type Subprotocol } from "../wire/protocol.ts";
import { type ClientMessage, parseClientMessage, type RefusedQuery } from "../wire/request.ts";
import type { Channel } from "./channel.ts";
import type { ServerLimits } from "./limits.ts";
import { Outbound, type TrafficMetrics } from "./outbound.ts";
import { SweepSender } from "./sweep-sender.ts";
import type { View, Views } from "./viewer.ts";
import { WatchSender } from "./watch-sender.ts";

/** A close frame's reason may have at most so many bytes (RFC 6455, 5.5). */
const MAX_CLOSE_REASON = 123;
/** How many pings may go unanswered. */
const MISSED_PONGS = 6;
/** The client closed without giving a code, which is a goodbye, too (RFC 6455, 7.1.5). */
const NO_CODE = 1005;
/** The client said goodbye (1000), or its page was left (1001): it does not come back for what it watched. */
const GOODBYES: readonly number[] = [CLOSE_CODES.normal, CLOSE_CODES["going-away"], NO_CODE];

/** What all sessions of a server share. */
export interface SessionContext {
  /** Who may see what. */
  readonly views: Views;
  readonly traffic: TrafficMetrics;
  readonly welcome: Omit<Welcome, "epoch" | "steadyMs">;
  readonly limits: ServerLimits;
}

/** What an id of a client's stands for: a sweep, or a watch. */
interface Sender {
  grant(bytes: number): void;
  stop(error?: VirstreamError): void;
  cut(): void;
}

/** One client's WebSocket: its hello, its sweeps and watches, its end. */
export class ClientSession {
  readonly #socket: WebSocket;
  readonly #context: SessionContext;
  readonly #outbound: Outbound;
  readonly #subprotocol: Subprotocol;
  readonly #senders = new Map<number, Sender>();
  readonly #watched = new Set<Channel>();
  readonly #helloTimer: NodeJS.Timeout;
  readonly #beatTimer: NodeJS.Timeout;
  readonly #running = new Set<Promise<void>>();
  #greeted = false;
  /** What the client may see; undefined until it has shown that. */
  #view: View | undefined;
  #unanswered = 0;

  /** @param view what the token that was shown with the upgrade request opens; undefined when none was shown */
  constructor(socket: WebSocket, subprotocol: Subprotocol, view: View | undefined, context: SessionContext) {
    this.#socket = socket;
    this.#context = context;
    this.#view = view;
    this.#subprotocol = subprotocol;
    this.#outbound = new Outbound(socket, context.limits.bufferedBytes, context.traffic);
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("pong", () => {
      this.#unanswered = 0;
    });
    // What ws finds wrong with a frame it answers with a close of its own; there is nothing to add.
    socket.on("error", () => {});
    socket.on("close", (code) => this.#ended(code));
    this.#helloTimer = setTimeout(() => this.close("hello-timeout", "no hello in time"), context.limits.helloTimeoutMs);
    this.#beatTimer = setInterval(() => this.#beat(), context.limits.beatMs);
  }

  /** How many sweeps are under way. */
  get sweeps(): number {
    return this.#senders.size - this.#watched.size;
  }

  /** How many watches. */
  get watches(): number {
    return this.#watched.size;
  }

  /** Resolves when no sweep of this client's is left at work. */
  async idle(): Promise<void> {
    await Promise.all(this.#running);
  }

  close(reason: CloseReason, detail: string): void {
    this.#socket.close(CLOSE_CODES[reason], closeReason(detail));
  }

  /** Ends the connection without a word, for those that do not listen. */
  terminate(): void {
    this.#socket.terminate();
  }

  #receive(data: RawData, isBinary: boolean): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    if (this.#outbound.flooded) {
      // A close would wait behind all that is not read.
      this.terminate();
      return;
    }
    try {
      if (isBinary) throw new VirstreamError("protocol-error", "malformed message: clients speak JSON text");
      const bytes = data as Buffer;
      if (!this.#greeted && bytes.length > LIMITS.hello) {
        throw new VirstreamError("protocol-error", "malformed message: the first message is too long for a hello");
      }
      this.#handle(parseClientMessage(bytes.toString(), this.#context.limits.minIntervalMs));
    } catch (thrown) {
      const error = VirstreamError.from(thrown);
      this.close(error.code === "protocol-error" ? "bad-message" : "server-error", error.message);
    }
  }

  #handle(message: ClientMessage | RefusedQuery): void {
    if (!this.#greeted && message.type !== "hello") {
      throw new VirstreamError("protocol-error", "malformed message: the first message must be a hello");
    }
    switch (message.type) {
      case "hello":
        this.#greet(message.token);
        break;
      case "get":
        this.#get(message);
        break;
      case "watch":
        this.#watch(message);
        break;
      case "refused":
        if (this.#isFree(message.id)) this.#refuse(message.id, message.error);
        break;
      // What comes for a sweep that has ended was sent before its sender could know.
      case "credit":
        this.#senders.get(message.id)?.grant(message.bytes);
        break;
      case "cancel":
        this.#senders.get(message.id)?.stop();
        break;
    }
  }

  #greet(token: string | undefined): void {
    if (this.#greeted) throw new VirstreamError("protocol-error", "malformed message: a second hello");
    const view = this.#view ?? this.#context.views.admit(token);
    if (view === undefined) {
      this.close("unauthenticated", token === undefined ? "a token is needed" : "the token is not the right one");
      return;
    }
    clearTimeout(this.#helloTimer);
    this.#greeted = true;
    this.#view = view;
    this.#outbound.profile = view.channels.profile(this.#subprotocol);
    const steadyMs = performance.now();
    this.#outbound.say({ type: "welcome", ...this.#context.welcome, epoch: view.epoch, steadyMs });
  }

  #get(message: Extract<ClientMessage, { type: "get" }>): void {
    const { id, query, credit } = message;
    if (!this.#hasRoom(id)) return;
    const { limits } = this.#context;
    const { driver, sampling } = this.#view!;
    const { metrics } = sampling;
    const { progressTimeoutMs } = limits;
    const sweep = new SweepSender({ id, query, credit, driver, metrics, outbound: this.#outbound, progressTimeoutMs });
    this.#senders.set(id, sweep);
    const run = sweep.run().then(() => {
      this.#senders.delete(id);
      this.#running.delete(run);
    });
    this.#running.add(run);
  }

  #watch(message: Extract<ClientMessage, { type: "watch" }>): void {
    const { id, query, cadence, credit, since } = message;
    if (!this.#hasRoom(id)) return;
    const { limits } = this.#context;
    const { sampling, channels, epoch } = this.#view!;
    const known = since?.epoch === epoch ? since : undefined;
    const taken = (channel: Channel): boolean => this.#watched.has(channel);
    let channel: Channel;
    try {
      channel = channels.open(sampling, query, cadence, this.#outbound.profile, taken, known?.channel);
    } catch (thrown) {
      this.#refuse(id, VirstreamError.from(thrown));
      return;
    }
    const watch = new WatchSender({
      id,
      credit,
      channel,
      sampling,
      outbound: this.#outbound,
      progressTimeoutMs: limits.progressTimeoutMs,
      since: known?.channel === channel.number ? known.sequence : undefined,
      done: () => {
        this.#senders.delete(id);
        this.#watched.delete(channel);
      },
    });
    this.#watched.add(channel);
    this.#senders.set(id, watch);
    watch.start();
  }

  /** Whether a sweep or watch of this id may begin; if not, says so to the client. */
  #hasRoom(id: number): boolean {
    if (!this.#isFree(id)) return false;
    const most = this.#context.limits.sweepsPerClient;
    if (this.#senders.size < most) return true;
    this.#refuse(
      id,
      new VirstreamError("limit-exceeded", `at most ${most} sweeps and watches at once on one connection`),
    );
    return false;
  }

  /** Whether neither a sweep nor a watch has this id; one that has ends the connection, since what is said of an id must be of one sweep. */
  #isFree(id: number): boolean {
    if (!this.#senders.has(id)) return true;
    this.close("duplicate-id", `sweep or watch ${id} is still under way`);
    return false;
  }

  /** Ends a sweep or a watch before it began. */
  #refuse(id: number, error: VirstreamError): void {
    this.#outbound.end(id, undefined, error);
  }

  /** Says something, so that the client knows the way is open, and asks, so that the server knows. */
  #beat(): void {
    if (this.#unanswered >= MISSED_PONGS) {
      this.terminate();
      return;
    }
    this.#unanswered++;
    this.#socket.ping();
    if (this.#greeted) this.#outbound.say({ type: "beat" });
  }

  #ended(code: number): void {
    clearTimeout(this.#helloTimer);
    clearInterval(this.#beatTimer);
    for (const sender of [...this.#senders.values()]) {
      if (GOODBYES.includes(code)) sender.stop();
      else sender.cut();
    }
  }
}

/** A reason cut to what a close frame holds, at the end of a character. */
function closeReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_CLOSE_REASON) return text;
  let end = MAX_CLOSE_REASON;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}
