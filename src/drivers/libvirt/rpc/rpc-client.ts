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
  MessageType,
  PING,
  PONG,
  PROGRAM_VERSION,
  Program,
} from "./message.ts";
import { type DecodeContext, isAllowed, PROCEDURES, type Procedure } from "./procedures.ts";
import { readRemoteError } from "./remote-error.ts";
import { StatsReader } from "./stats-reply.ts";
import { malformed, type XdrReader } from "./xdr.ts";

/** When nothing was heard of the daemon for so long, it is asked whether it is there; as the daemon does with us. */
const KEEPALIVE_INTERVAL_MS = 5_000;
/** So many pings without a sign of life, and the connection is given up: after 30 s in all. */
const KEEPALIVE_COUNT = 5;

/** How long an orderly close waits for the daemon. */
const CLOSE_TIMEOUT_MS = 1_000;

interface Pending {
  readonly procedure: Procedure<never, unknown>;
  readonly resolve: (result: never) => void;
  readonly reject: (error: VirstreamError) => void;
}

/**
 * One connection to a daemon: calls go out as they are made, answers come back in any order and are matched by serial.
 *
 * The daemon is not trusted. A message that breaks the protocol ends the connection with `protocol-error`; so does an
 * answer to a call that was never made, because every call is kept until it is answered: such an answer means that the
 * two sides no longer agree on what is in flight, and admission rests on that. Events are told by their type, never by
 * their serial (libvirtd sends them with serial 1); those nobody asked for are dropped.
 */
export class RpcClient {
  /** Called once, when the connection has ended in any way, before the calls in flight are rejected. */
  onEnded: ((error: VirstreamError) => void) | undefined;
  /** Called with every event of the remote program. */
  onEvent: ((procedure: number, payload: XdrReader) => void) | undefined;

  readonly #transport: Duplex;
  readonly #context: DecodeContext;
  readonly #pending = new Map<number, Pending>();
  readonly #splitter = new MessageSplitter((message) => this.#receive(message));
  #serial = 0;
  #corked = false;
  #ended: VirstreamError | undefined;
  #closing: Promise<void> | undefined;
  #keepalive: ReturnType<typeof setInterval> | undefined;
  /** Whether anything was heard since the last look, and how many pings were sent since. */
  #heard = false;
  #pings = 0;

  /**
   * @param transport a byte stream to the daemon; it belongs to the client from now on
   * @param stats give all connections to a daemon the same: records of one shape then have one schema, whichever
   *   connection they came over
   */
  constructor(transport: Duplex, stats = new StatsReader()) {
    this.#context = { stats };
    this.#transport = transport;
    transport.on("data", (chunk: Buffer) => this.#read(chunk));
    transport.on("error", (error) => {
      this.#end(
        new VirstreamError("connection-lost", `the connection to libvirt broke: ${error.message}`, { cause: error }),
      );
    });
    transport.on("close", () => {
      const how = this.#splitter.pending ? "broke off in the middle of a message" : "was closed by the daemon";
      this.#end(new VirstreamError("connection-lost", `the connection to libvirt ${how}`));
    });
  }

  /** Why no call can be made any more; undefined while the connection lives. */
  get ended(): VirstreamError | undefined {
    return this.#ended;
  }

  /**
   * From now on asks the daemon every 5 s whether it is there, when nothing else is heard of it, and gives the connection
   * up with `connection-lost` when it has not said anything for 30 s. Only for daemons that say they can answer.
   */
  keepAlive(): void {
    if (this.#ended === undefined) this.#keepalive ??= setInterval(() => this.#beat(), KEEPALIVE_INTERVAL_MS);
  }

  /** How many calls are unanswered. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /**
   * Calls a procedure of the allow-list.
   *
   * Resolves with its decoded result. Rejects with the daemon's own error, or with `connection-lost`, `connection-closed`
   * or `protocol-error` when the connection ends first. There is no timeout and no cancelling: libvirt has none, and the
   * daemon works on until it answers.
   */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args): Promise<Result> {
    if (!isAllowed(procedure)) {
      return Promise.reject(
        new VirstreamError(
          "internal",
          `${procedure.name} (${procedure.number}) is not among the procedures that may be sent`,
        ),
      );
    }
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      const serial = this.#nextSerial();
      const message = encodeMessage(
        {
          program: Program.remote,
          version: PROGRAM_VERSION,
          procedure: procedure.number,
          type: MessageType.call,
          serial,
          status: MessageStatus.ok,
        },
        (writer) => procedure.encode(writer, args),
      );
      this.#pending.set(serial, { procedure: procedure as Procedure<never, unknown>, resolve, reject });
      this.#send(message);
    });
  }

  /**
   * Says goodbye (CONNECT_CLOSE) and ends the connection, at the latest after a second: a daemon that is stuck must not
   * hold up its clients' end. Calls in flight are rejected with `connection-closed`. Safe to call twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the connection at once. */
  destroy(error: VirstreamError): void {
    this.#end(error);
  }

  async #close(): Promise<void> {
    if (this.#ended === undefined) {
      const goodbye = this.call(PROCEDURES.close, undefined).catch(() => {});
      await withTimeout(goodbye, CLOSE_TIMEOUT_MS, () => {});
      this.#end(new VirstreamError("connection-closed", "the connection was closed"));
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
   * Calls made in one go leave in one write. It happens in a microtask and not in the next tick, so that calls which an
   * answer sets off are on their way before whoever gets the answer works on it.
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
      this.#end(
        new VirstreamError("connection-lost", `libvirt has not answered for ${silence} s: it hangs, or is cut off`),
      );
    }
  }

  #read(chunk: Buffer): void {
    this.#heard = true;
    try {
      this.#splitter.push(chunk);
    } catch (error) {
      this.#end(VirstreamError.from(error));
    }
  }

  #receive(message: Buffer): void {
    if (this.#ended !== undefined) return;
    const { header, payload } = decodeMessage(message);
    if (header.program === Program.keepalive) {
      if (header.procedure === Keepalive.ping) this.#send(PONG);
    } else if (header.program === Program.remote && header.type === MessageType.reply) {
      this.#answer(header, payload);
    } else if (header.type === MessageType.event) {
      if (header.program === Program.remote) this.onEvent?.(header.procedure, payload);
    } else {
      throw malformed(`type ${header.type} of program 0x${header.program.toString(16)}, which was not asked for`);
    }
  }

  #answer(header: Header, payload: XdrReader): void {
    const pending = this.#pending.get(header.serial);
    if (pending === undefined) throw malformed(`an answer to call ${header.serial}, which was never made`);
    if (pending.procedure.number !== header.procedure) {
      throw malformed(`an answer of procedure ${header.procedure} to a call of ${pending.procedure.number}`);
    }
    if (header.status !== MessageStatus.ok && header.status !== MessageStatus.error) {
      throw malformed(`an answer with the status ${header.status}`);
    }
    // Decoded before it is taken off the list: if that throws, the call is rejected with all the others.
    if (header.status === MessageStatus.error) {
      const error = readRemoteError(payload);
      this.#pending.delete(header.serial);
      pending.reject(error);
    } else {
      const result = pending.procedure.decode(payload, this.#context);
      this.#pending.delete(header.serial);
      pending.resolve(result as never);
    }
  }

  #end(error: VirstreamError): void {
    if (this.#ended !== undefined) return;
    this.#ended = error;
    clearInterval(this.#keepalive);
    this.#transport.destroy();
    this.onEnded?.(error);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }
}
