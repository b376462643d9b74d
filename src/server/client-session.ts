import { createHash, timingSafeEqual } from "node:crypto";
import type { RawData, WebSocket } from "ws";
import type { Driver } from "../drivers/driver.ts";
import { VirstreamError } from "../model/error.ts";
import { MessageEncoder, type Welcome } from "../wire/message-encoder.ts";
import { CLOSE_CODES, type CloseReason, LIMITS, type Subprotocol } from "../wire/protocol.ts";
import { type ClientMessage, parseClientMessage, type RefusedQuery } from "../wire/request.ts";
import type { ServerLimits } from "./limits.ts";
import { Outbound } from "./outbound.ts";
import { SweepSender } from "./sweep-sender.ts";

/** A close frame's reason may have at most so many bytes (RFC 6455, 5.5). */
const MAX_CLOSE_REASON = 123;
/** How many pings may go unanswered. */
const MISSED_PONGS = 2;

/** What all sessions of a server share. */
export interface SessionContext {
  readonly driver: Driver;
  readonly welcome: Welcome;
  readonly limits: ServerLimits;
  /** The token that a client must show; undefined: none. */
  readonly token: string | undefined;
}

/** One client's WebSocket: its hello, its sweeps, its end. */
export class ClientSession {
  readonly #socket: WebSocket;
  readonly #context: SessionContext;
  readonly #encoder: MessageEncoder;
  readonly #outbound: Outbound;
  readonly #sweeps = new Map<number, SweepSender>();
  readonly #helloTimer: NodeJS.Timeout;
  readonly #beatTimer: NodeJS.Timeout;
  readonly #running = new Set<Promise<void>>();
  #greeted = false;
  /** Whether the token was shown with the upgrade request. */
  readonly #authorized: boolean;
  #unanswered = 0;

  constructor(socket: WebSocket, subprotocol: Subprotocol, authorized: boolean, context: SessionContext) {
    this.#socket = socket;
    this.#context = context;
    this.#authorized = authorized;
    this.#encoder = new MessageEncoder(subprotocol);
    this.#outbound = new Outbound(socket, context.limits.bufferedBytes);
    socket.on("message", (data, isBinary) => this.#receive(data, isBinary));
    socket.on("pong", () => {
      this.#unanswered = 0;
    });
    // What ws finds wrong with a frame it answers with a close of its own; there is nothing to add.
    socket.on("error", () => {});
    socket.on("close", () => this.#ended());
    this.#helloTimer = setTimeout(() => this.close("hello-timeout", "no hello in time"), context.limits.helloTimeoutMs);
    this.#beatTimer = setInterval(() => this.#beat(), context.limits.beatMs);
  }

  /** How many sweeps are under way. */
  get sweeps(): number {
    return this.#sweeps.size;
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
    try {
      if (isBinary) throw new VirstreamError("protocol-error", "malformed message: clients speak JSON text");
      const bytes = data as Buffer;
      if (!this.#greeted && bytes.length > LIMITS.hello) {
        throw new VirstreamError("protocol-error", "malformed message: the first message is too long for a hello");
      }
      this.#handle(parseClientMessage(bytes.toString()));
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
      case "refused":
        if (this.#isFree(message.id)) this.#refuse(message.id, message.error);
        break;
      // What comes for a sweep that has ended was sent before its sender could know.
      case "credit":
        this.#sweeps.get(message.id)?.grant(message.bytes);
        break;
      case "cancel":
        this.#sweeps.get(message.id)?.stop();
        break;
    }
  }

  #greet(token: string | undefined): void {
    if (this.#greeted) throw new VirstreamError("protocol-error", "malformed message: a second hello");
    if (this.#context.token !== undefined && !this.#authorized && !sameToken(token ?? "", this.#context.token)) {
      this.close("unauthenticated", token === undefined ? "a token is needed" : "the token is not the right one");
      return;
    }
    clearTimeout(this.#helloTimer);
    this.#greeted = true;
    this.#outbound.send(this.#encoder.welcome(this.#context.welcome));
  }

  #get(message: Extract<ClientMessage, { type: "get" }>): void {
    const { id, query, credit } = message;
    if (!this.#isFree(id)) return;
    const { driver, limits } = this.#context;
    if (this.#sweeps.size >= limits.sweepsPerClient) {
      const most = limits.sweepsPerClient;
      this.#refuse(id, new VirstreamError("limit-exceeded", `at most ${most} sweeps at once on one connection`));
      return;
    }
    const sweep = new SweepSender(id, query, credit, driver, this.#encoder, this.#outbound, limits);
    this.#sweeps.set(id, sweep);
    const run = sweep.run().then(() => {
      this.#sweeps.delete(id);
      this.#running.delete(run);
    });
    this.#running.add(run);
  }

  /** Whether no sweep has this id; one that has ends the connection, since what is said of an id must be of one sweep. */
  #isFree(id: number): boolean {
    if (!this.#sweeps.has(id)) return true;
    this.close("duplicate-id", `sweep ${id} is still under way`);
    return false;
  }

  /** Ends a sweep before it began. */
  #refuse(id: number, error: VirstreamError): void {
    const nothing = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: Date.now(), tookMs: 0 };
    this.#outbound.send(this.#encoder.end(id, nothing, error));
  }

  /** Says something, so that the client knows the way is open, and asks, so that the server knows. */
  #beat(): void {
    if (this.#unanswered >= MISSED_PONGS) {
      this.terminate();
      return;
    }
    this.#unanswered++;
    this.#socket.ping();
    if (this.#greeted) this.#outbound.send(this.#encoder.beat(Date.now()));
  }

  #ended(): void {
    clearTimeout(this.#helloTimer);
    clearInterval(this.#beatTimer);
    for (const sweep of this.#sweeps.values()) sweep.stop();
  }
}

/** Compares in a time that tells nothing about the token. */
export function sameToken(shown: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(shown), digest(expected));
}

/** A reason cut to what a close frame holds, at the end of a character. */
function closeReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_CLOSE_REASON) return text;
  let end = MAX_CLOSE_REASON;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}
