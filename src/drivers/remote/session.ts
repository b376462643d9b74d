import { isLate, withTimeout } from "../../driver/clock.ts";
import type { OpenOptions, SweepContext } from "../../driver/driver.ts";
import { invalid, VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import type { DomainStatsRecord } from "../../model/record.ts";
import type { Cadence } from "../../model/watch.ts";
import { malformed } from "../../wire/errors.ts";
import { CreditMeter, utf8Length } from "../../wire/flow-control.ts";
import { MessageDecoder } from "../../wire/message-decoder.ts";
import type { Welcome } from "../../wire/messages.ts";
import { CLOSE_CODES, LIMITS } from "../../wire/protocol.ts";
import { type ClientMessage, requestText, type Since } from "../../wire/request.ts";
import type { ServerClock } from "../../wire/server-clock.ts";
import { closeError, SUBPROTOCOL, silenceError, unexplainedError, wrongSubprotocol } from "./failure.ts";
import type { GivenOptions, OpenSocket, Socket } from "./socket.ts";
import { RemoteSweep, type StreamControl } from "./sweep.ts";

/** How long the server may take to answer our close frame, in ms. */
const CLOSE_TIMEOUT_MS = 1_000;

/** The address of a server, and the options of its connections. */
export interface ServerAddress {
  readonly url: string;
  /** The driver that the domains belong to. */
  readonly owner: object;
  readonly openSocket: OpenSocket;
  /** Converts the server's steady times to this process's steady clock. All connections use this one object. */
  readonly clock: ServerClock;
  readonly token: OpenOptions["token"];
  readonly socketOptions: GivenOptions;
  /** How long an attempt to connect may take, in ms. */
  readonly timeoutMs: number;
  /** Bytes of credit for each sweep and each watch. */
  readonly credit: number;
}

/** The owner of a watch, which the session calls until the watch is cancelled or the session is lost. */
export interface WatchReceiver {
  /**
   * Called before the watch is sent to the server: the watch will have this id, and its messages come through the
   * decoder.
   */
  begin(id: number, decoder: MessageDecoder): void;
  /** Called when the watch's ChannelState has applied a message, which used this many bytes of credit. */
  applied(bytes: number): void;
  /** Called when the server has ended the watch. */
  ended(error: VirstreamError | undefined): void;
}

/** One WebSocket to a server, with its sweeps and watches. */
export class RemoteSession {
  /** The server's description of itself. */
  welcome!: Welcome;
  /** Called once with the reason when the session is lost, but not after our own close. */
  onLost: ((error: VirstreamError) => void) | undefined;
  readonly #address: ServerAddress;
  readonly #socket: Socket;
  readonly #decoder: MessageDecoder;
  readonly #sweeps = new Map<number, RemoteSweep>();
  readonly #watches = new Map<number, WatchReceiver>();
  /**
   * The credit of each sweep and watch whose id is in use, by id. A cancelled sweep or watch also keeps its id, until
   * the server's `end`.
   */
  readonly #meters = new Map<number, CreditMeter>();
  #lastId = 0;
  #opened = false;
  #lastHeard = 0;
  #liveness: ReturnType<typeof setInterval> | undefined;
  #error: VirstreamError | undefined;
  #resolveWelcome!: (welcome: Welcome) => void;
  #rejectWelcome!: (error: unknown) => void;
  #resolveClosed!: () => void;
  readonly #closed: Promise<void>;
  readonly #welcomed: Promise<Welcome>;

  /** @throws VirstreamError `denied` if the platform refuses to open the socket */
  private constructor(address: ServerAddress, token: string | undefined) {
    this.#address = address;
    // The socket is opened first because a browser may throw here (for ws: from a page of https:), when there is
    // nothing to clean up yet.
    try {
      this.#socket = address.openSocket(address.url, SUBPROTOCOL, address.socketOptions);
    } catch (cause) {
      if (cause instanceof VirstreamError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new VirstreamError("denied", `${address.url} may not be opened from here: ${why}`, { cause });
    }
    this.#decoder = new MessageDecoder(address.owner, address.clock);
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#welcomed = new Promise((resolve, reject) => {
      this.#resolveWelcome = resolve;
      this.#rejectWelcome = reject;
    });
    this.#listen(this.#socket, token);
  }

  /** Opens a socket, and resolves when the server has answered. Rejects with an error, or with the signal's reason. */
  static async open(address: ServerAddress, signal: AbortSignal): Promise<RemoteSession> {
    const { url, timeoutMs } = address;
    const began = performance.now();
    const token = typeof address.token === "function" ? await askToken(address, address.token, signal) : address.token;
    const session = new RemoteSession(address, token);
    const late = (): never => {
      throw new VirstreamError("connect-timeout", `${url} did not answer within ${timeoutMs} ms`);
    };
    try {
      session.welcome = await withTimeout(session.#welcomed, timeoutMs - (performance.now() - began), late, { signal });
    } catch (error) {
      session.#fail(VirstreamError.from(error));
      throw error;
    }
    // The connection may have been lost between the server's answer and this turn of the event loop.
    if (session.#error !== undefined) throw session.#error;
    return session;
  }

  /** Begins a sweep. */
  sweep(query: Query, context: SweepContext): AsyncIterableIterator<readonly DomainStatsRecord[]> {
    const { credit } = this.#address;
    const id = ++this.#lastId;
    const sweep = new RemoteSweep(this.#address, query, context, this.#control(id, this.#sweeps));
    const refusal = this.#request({ type: "get", id, query, credit }, () => this.#sweeps.set(id, sweep));
    if (refusal !== undefined) sweep.end(refusal);
    return sweep.queue;
  }

  /**
   * Begins a watch, or resumes one.
   *
   * @param since the position where the watch resumes; undefined: the watch starts with a snapshot
   * @throws VirstreamError if the watch cannot be sent
   */
  watch(query: Query, cadence: Cadence, since: Since | undefined, receiver: WatchReceiver): StreamControl {
    const { credit } = this.#address;
    const id = ++this.#lastId;
    const refusal = this.#request({ type: "watch", id, query, cadence, credit, since }, () => {
      this.#watches.set(id, receiver);
      receiver.begin(id, this.#decoder);
    });
    if (refusal !== undefined) throw refusal;
    return this.#control(id, this.#watches);
  }

  /** Ends every sweep with an error, and closes the connection. Safe to call twice, and after a loss. */
  async close(error: VirstreamError): Promise<void> {
    this.onLost = undefined;
    this.#end(error);
    this.#socket.close(CLOSE_CODES.normal);
    await this.#abandonLater();
  }

  #listen(socket: Socket, token: string | undefined): void {
    const { url } = this.#address;
    socket.onopen = () => {
      if (socket.protocol !== SUBPROTOCOL) {
        this.#fail(wrongSubprotocol(url));
        return;
      }
      this.#opened = true;
      socket.send(requestText({ type: "hello", client: "virstream", token }));
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onerror = (event) => {
      const unexplained = this.#opened ? closeError(url, 1006, "") : unexplainedError(url);
      this.#fail(socket.explain?.(url, event, this.#opened) ?? unexplained);
    };
    socket.onclose = (event) => {
      this.#fail(closeError(url, event.code, event.reason));
      this.#resolveClosed();
    };
  }

  /** Sends the request of a sweep or a watch. Returns an error if it cannot be sent. */
  #request(
    message: Extract<ClientMessage, { readonly type: "get" | "watch" }>,
    begin: () => void,
  ): VirstreamError | undefined {
    if (this.#error !== undefined) return this.#error;
    const text = requestText(message);
    if (utf8Length(text) > LIMITS.request) {
      const domains = message.query.domains?.length;
      const advice = `${domains} domains are too many for a query: name fewer at once`;
      return new VirstreamError("message-too-big", advice);
    }
    this.#meters.set(message.id, new CreditMeter(this.#address.credit));
    begin();
    this.#socket.send(text);
    return undefined;
  }

  #receive(data: unknown): void {
    this.#lastHeard = performance.now();
    if (this.#error !== undefined) return;
    try {
      if (typeof data === "string") throw malformed("it is text");
      const message = this.#decoder.decode(data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer));
      const isWelcomed = this.#liveness !== undefined;
      if ((message.type === "welcome") === isWelcomed) throw malformed("a welcome is not the first message");
      switch (message.type) {
        case "welcome":
          this.#watchOver(message.welcome.beatMs);
          this.#resolveWelcome(message.welcome);
          break;
        case "beat":
          if (message.host !== undefined) this.welcome = { ...this.welcome, host: message.host };
          break;
        // The cases below drop messages of a cancelled sweep or watch, which the server sent before it received our
        // cancel.
        case "begin":
          this.#meterOf(message.id);
          this.#sweeps.get(message.id)?.begin(message.domains);
          break;
        case "records":
          this.#meterOf(message.id).receive(message.bytes);
          this.#sweeps.get(message.id)?.push(message);
          break;
        case "watch":
          if (message.bytes > 0) this.#meterOf(message.id).receive(message.bytes);
          this.#watches.get(message.id)?.applied(message.bytes);
          break;
        case "end": {
          const { id, error, summary } = message;
          this.#meterOf(id);
          this.#meters.delete(id);
          const watch = this.#watches.get(id);
          this.#sweeps.get(id)?.ended(error, summary);
          this.#sweeps.delete(id);
          this.#watches.delete(id);
          watch?.ended(error);
          break;
        }
      }
    } catch (error) {
      this.#fail(VirstreamError.from(error));
    }
  }

  #meterOf(id: number): CreditMeter {
    const meter = this.#meters.get(id);
    if (meter === undefined) throw malformed(`id ${id} is not in use`);
    return meter;
  }

  #control(id: number, streams: Map<number, unknown>): StreamControl {
    return {
      mayReceive: () => this.#meters.get(id)?.open ?? false,
      consumed: (bytes) => {
        const grant = this.#meters.get(id)?.consume(bytes) ?? 0;
        if (grant > 0) this.#send({ type: "credit", id, bytes: grant });
      },
      cancel: () => {
        if (!streams.delete(id)) return;
        this.#decoder.channels?.release(id);
        this.#send({ type: "cancel", id });
      },
    };
  }

  #send(message: ClientMessage): void {
    if (this.#error === undefined) this.#socket.send(requestText(message));
  }

  /**
   * The server sends a message at least every `beatMs`. When the server has sent nothing for 2.5 times `beatMs`, the
   * connection counts as lost.
   */
  #watchOver(beatMs: number): void {
    clearInterval(this.#liveness);
    let due = performance.now() + beatMs / 2;
    this.#liveness = setInterval(() => {
      const now = performance.now();
      const late = now - due;
      due = now + beatMs / 2;
      // After a pause of the process, messages may still wait in the socket, so the silence does not count.
      if (isLate(late)) {
        this.#lastHeard = now;
        return;
      }
      for (const sweep of [...this.#sweeps.values()]) sweep.checkSilence(now);
      const silentMs = now - this.#lastHeard;
      if (silentMs >= 2.5 * beatMs) this.#fail(silenceError(this.#address.url, silentMs));
    }, beatMs / 2);
  }

  /**
   * Ends the session, once: its sweeps end with the error, and its watches are not called any more. It does not wait
   * until the socket is closed.
   */
  #fail(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#end(error);
    if (error.code === "protocol-error") {
      // The close frame gives the server the reason. A timer ends the connection if the server does not answer.
      this.#socket.close(CLOSE_CODES["bad-message"], error.code);
      void this.#abandonLater();
    } else {
      this.#abandon();
    }
    this.onLost?.(error);
  }

  #end(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    clearInterval(this.#liveness);
    this.#rejectWelcome(error);
    const sweeps = [...this.#sweeps.values()];
    this.#sweeps.clear();
    for (const sweep of sweeps) sweep.end(error);
    this.#watches.clear();
  }

  /** Waits until the socket is closed, but after CLOSE_TIMEOUT_MS abandons it. */
  #abandonLater(): Promise<void> {
    return withTimeout(this.#closed, CLOSE_TIMEOUT_MS, () => this.#abandon());
  }

  #abandon(): void {
    if (this.#socket.terminate === undefined) this.#socket.close();
    else this.#socket.terminate();
    this.#resolveClosed();
  }
}

/**
 * Asks the program for the token of one attempt to connect. A failure of the program's function may be temporary, so
 * the error for such a failure is retryable.
 */
async function askToken(
  { url, timeoutMs }: ServerAddress,
  ask: () => string | Promise<string>,
  signal: AbortSignal,
): Promise<string> {
  const fail = (why: string, cause?: unknown): never => {
    throw new VirstreamError("unauthenticated", `no token for ${url}: the function token ${why}`, {
      cause,
      retryable: true,
    });
  };
  // The program's function may throw instead of returning a promise that rejects.
  const asked = new Promise<string>((resolve) => resolve(ask())).catch((cause) =>
    fail(`failed: ${cause instanceof Error ? cause.message : String(cause)}`, cause),
  );
  const token = await withTimeout(asked, timeoutMs, () => fail(`had no answer within ${timeoutMs} ms`), { signal });
  if (typeof token !== "string" || token === "")
    throw invalid("the function token must return a text, not an empty one");
  return token;
}
