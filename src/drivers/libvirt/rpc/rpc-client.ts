import type { Duplex } from "node:stream";
import { withTimeout } from "../../../driver/clock.ts";
import { VirstreamError } from "../../../model/error.ts";
import {
  decodeMessage,
  encodeMessage,
  type Header,
  Keepalive,
  MessageSplitter,
  MessageStatus,
  PING,
  PONG,
  Program,
  RpcMessageType,
} from "./message.ts";
import { isAllowed, PROCEDURES, type Procedure } from "./procedures.ts";
import { readRemoteError } from "./remote-error.ts";
import { StatsReader } from "./stats-reply.ts";
import { invalidMessage, type XdrReader } from "./xdr.ts";

/**
 * After this many ms without a byte from the daemon, a ping is sent. The daemon sends pings to its clients in the same
 * way.
 */
const KEEPALIVE_INTERVAL_MS = 5_000;
/** The client ends the connection one interval after this many unanswered pings, that is after 30 s of silence. */
const KEEPALIVE_COUNT = 5;

/**
 * While at least this many bytes wait for the daemon to read them, the client answers no pings. The waiting bytes
 * already show that the client is alive, and more answers would only take memory.
 */
const UNSENT_MAX = 64 * 1024;

/** How long an orderly close waits for the daemon, in ms. */
const CLOSE_TIMEOUT_MS = 1_000;

interface Pending {
  readonly procedure: Procedure<never, unknown>;
  readonly resolve: (result: never) => void;
  readonly reject: (error: VirstreamError) => void;
}

/**
 * One connection to a daemon. Calls go out as they are made. Answers come back in any order and are matched by serial.
 *
 * The daemon is not trusted. A message that breaks the protocol ends the connection with `protocol-error`, and so does
 * an answer to a call that was never made. The client keeps each call until it is answered, so an answer without a call
 * means that the two sides disagree on which calls are in flight. Admission needs them to agree on this. Events are
 * recognised by their type and never by their serial, because libvirtd sends them with serial 1. libvirt's RPC is
 * divided into programs (numbered sets of procedures). Events of any program but `remote` and `keepalive` are dropped.
 */
export class RpcClient {
  /** Called once, when the connection has ended in any way, before the calls in flight are rejected. */
  onEnded: ((error: VirstreamError) => void) | undefined;
  /** Called with every event of the remote program. */
  onEvent: ((procedure: number, payload: XdrReader) => void) | undefined;

  readonly #transport: Duplex;
  readonly #stats: StatsReader;
  readonly #pending = new Map<number, Pending>();
  readonly #splitter = new MessageSplitter((message) => this.#receive(message));
  #serial = 0;
  #corked = false;
  #ended: VirstreamError | undefined;
  #closing: Promise<void> | undefined;
  #keepalive: ReturnType<typeof setInterval> | undefined;
  /**
   * True if any byte has arrived in the present keepalive interval. `#pings` is the number of unanswered pings.
   */
  #heard = false;
  #pings = 0;

  /**
   * @param transport a byte stream to the daemon; it belongs to the client from now on
   * @param stats share it among all connections to a daemon, so that records with the same keys have the same schema,
   *   whichever connection they came over
   */
  constructor(transport: Duplex, stats = new StatsReader()) {
    this.#stats = stats;
    this.#transport = transport;
    transport.on("data", (chunk: Buffer) => this.#read(chunk));
    transport.on("error", (cause) => {
      this.destroy(
        new VirstreamError("connection-lost", `the connection to libvirt broke: ${cause.message}`, { cause }),
      );
    });
    transport.on("close", () => {
      const how = this.#splitter.pending ? "broke off in the middle of a message" : "was closed by the daemon";
      this.destroy(new VirstreamError("connection-lost", `the connection to libvirt ${how}`));
    });
  }

  /** The error with which the connection has ended; undefined while it lives. */
  get ended(): VirstreamError | undefined {
    return this.#ended;
  }

  /**
   * From now on, sends a ping after each 5 s of silence, and ends the connection with `connection-lost` after 30 s of
   * silence. Only for daemons that report that they answer pings.
   */
  keepAlive(): void {
    if (this.#ended === undefined) this.#keepalive ??= setInterval(() => this.#beat(), KEEPALIVE_INTERVAL_MS);
  }

  /**
   * Calls a procedure of the allow-list.
   *
   * Resolves with the decoded result. Rejects with the daemon's own error, or with `connection-lost`,
   * `connection-closed` or `protocol-error` when the connection ends first. There is no timeout and no way to cancel a
   * call, because libvirt has none: the daemon works until it answers.
   */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args): Promise<Result> {
    if (!isAllowed(procedure)) {
      const message = `${procedure.name} (${procedure.number}) is not among the procedures that may be sent`;
      return Promise.reject(new VirstreamError("internal", message));
    }
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const serial = this.#nextSerial();
      const header = { program: Program.remote, procedure: procedure.number, type: RpcMessageType.call, serial };
      const message = encodeMessage(header, (writer) => procedure.encode(writer, args));
      this.#pending.set(serial, { procedure: procedure as Procedure<never, unknown>, resolve, reject });
      this.#send(message);
    });
  }

  /**
   * Sends CONNECT_CLOSE, and ends the connection at the answer. After 1 s it ends the connection without an answer, so
   * that a daemon that hangs does not keep its clients from ending. Calls in flight are rejected with
   * `connection-closed`. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the connection at once, with this error for the calls in flight. Safe to call twice. */
  destroy(error: VirstreamError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    clearInterval(this.#keepalive);
    this.#transport.destroy();
    this.onEnded?.(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  async #close(): Promise<void> {
    if (this.#ended === undefined) {
      const goodbye = this.call(PROCEDURES.close, undefined).catch(() => {});
      await withTimeout(goodbye, CLOSE_TIMEOUT_MS, () => {});
      this.destroy(new VirstreamError("connection-closed", "the connection was closed"));
    }
    if (!this.#transport.closed) {
      await new Promise<void>((resolve) => this.#transport.once("close", () => resolve()));
    }
  }

  #nextSerial(): number {
    do {
      this.#serial = (this.#serial + 1) >>> 0;
    } while (this.#serial === 0 || this.#pending.has(this.#serial));
    return this.#serial;
  }

  /**
   * Calls that are made together go out in one write. The write happens in a microtask, not in the next turn of the
   * event loop. So when an answer makes room for the next call, this call goes out before the consumer gets the answer.
   */
  #send(message: Buffer): void {
    if (!this.#corked) {
      this.#corked = true;
      this.#transport.cork();
      queueMicrotask(() => {
        this.#corked = false;
        this.#transport.uncork();
      });
    }
    this.#transport.write(message);
  }

  #beat(): void {
    if (this.#heard) {
      this.#heard = false;
      this.#pings = 0;
    } else if (this.#pings < KEEPALIVE_COUNT) {
      this.#pings++;
      this.#send(PING);
    } else {
      const silence = (KEEPALIVE_INTERVAL_MS * (KEEPALIVE_COUNT + 1)) / 1_000;
      this.destroy(
        new VirstreamError("connection-lost", `libvirt has not answered for ${silence} s: it hangs, or is cut off`),
      );
    }
  }

  #read(chunk: Buffer): void {
    this.#heard = true;
    try {
      this.#splitter.push(chunk);
    } catch (error) {
      this.destroy(VirstreamError.from(error));
    }
  }

  #receive(message: Buffer): void {
    if (this.#ended !== undefined) return;
    const { header, payload } = decodeMessage(message);
    if (header.program === Program.keepalive) {
      const behind = this.#transport.writableLength >= UNSENT_MAX;
      if (header.procedure === Keepalive.ping && !behind) this.#send(PONG);
    } else if (header.program === Program.remote && header.type === RpcMessageType.reply) {
      this.#answer(header, payload);
    } else if (header.type === RpcMessageType.event) {
      if (header.program === Program.remote) this.onEvent?.(header.procedure, payload);
    } else {
      throw invalidMessage(`type ${header.type} of program 0x${header.program.toString(16)}, which was not asked for`);
    }
  }

  #answer(header: Header, payload: XdrReader): void {
    const pending = this.#pending.get(header.serial);
    if (pending === undefined) throw invalidMessage(`an answer to call ${header.serial}, which was never made`);
    if (pending.procedure.number !== header.procedure) {
      throw invalidMessage(`an answer of procedure ${header.procedure} to a call of ${pending.procedure.number}`);
    }
    if (header.status !== MessageStatus.ok && header.status !== MessageStatus.error) {
      throw invalidMessage(`an answer with the status ${header.status}`);
    }
    const failed = header.status === MessageStatus.error;
    // The answer is decoded before the call is removed: if decoding throws, this call is rejected with all the others.
    const answer = failed ? readRemoteError(payload) : pending.procedure.decode(payload, this.#stats);
    this.#pending.delete(header.serial);
    if (failed) pending.reject(answer as VirstreamError);
    else pending.resolve(answer as never);
  }
}
