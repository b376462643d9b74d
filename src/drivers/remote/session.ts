import { type ErrorCode, VirstreamError } from "../../model/error.ts";
import type { Query } from "../../model/query.ts";
import { MessageDecoder } from "../../wire/message-decoder.ts";
import type { Welcome } from "../../wire/message-encoder.ts";
import { CLOSE_CODES, LIMITS, type Subprotocol } from "../../wire/protocol.ts";
import { cancelMessage, creditMessage, getMessage, helloMessage } from "../../wire/request.ts";
import { utf8Length } from "../../wire/text.ts";
import type { OpenOptions, SweepContext } from "../driver.ts";
import type { OpenSocket, Socket } from "./socket.ts";
import { RemoteSweep } from "./sweep.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** How long the server may take to answer our close, in ms. */
const CLOSE_TIMEOUT_MS = 1_000;

/** What the client says of itself. */
const CLIENT = "virstream";

/** How each close code of the server's is told to the user. */
const CLOSED: Record<number, readonly [code: ErrorCode, meaning: string]> = {
  [CLOSE_CODES.normal]: ["connection-lost", "it ended the connection"],
  [CLOSE_CODES["going-away"]]: ["server-shutdown", "it is shutting down"],
  1006: ["connection-lost", "the connection broke"],
  [CLOSE_CODES["too-big"]]: ["message-too-big", "our message was too big for it; name fewer domains at once"],
  [CLOSE_CODES["bad-message"]]: ["protocol-error", "it did not understand us; are both of a version that fits?"],
  [CLOSE_CODES.unauthenticated]: [
    "unauthenticated",
    "it wants a token (--token-file FILE, $VIRSTREAM_TOKEN, or the option token), and not the one it got, if any",
  ],
  [CLOSE_CODES.forbidden]: ["denied", "it does not admit us"],
  [CLOSE_CODES["wrong-subprotocol"]]: ["wrong-subprotocol", "it does not speak our protocol"],
  [CLOSE_CODES["hello-timeout"]]: ["connection-lost", "our hello did not reach it in time"],
  [CLOSE_CODES["duplicate-id"]]: ["protocol-error", "two of our sweeps had one id"],
  [CLOSE_CODES["server-error"]]: ["internal", "it failed"],
  [CLOSE_CODES.overloaded]: ["limit-exceeded", "it has too many clients"],
  [CLOSE_CODES["slow-consumer"]]: ["slow-consumer", "we read too slowly for it"],
};

/** One WebSocket to a server, the sweeps that run over it, and the end of both. */
export class RemoteSession {
  readonly welcome: Promise<Welcome>;
  readonly #url: string;
  readonly #socket: Socket;
  readonly #decoder: MessageDecoder;
  readonly #sweeps = new Map<number, RemoteSweep>();
  readonly #credit: number;
  #lastId = 0;
  #opened = false;
  #lastHeard = 0;
  #liveness: ReturnType<typeof setInterval> | undefined;
  #error: VirstreamError | undefined;
  #resolveWelcome!: (welcome: Welcome) => void;
  #rejectWelcome!: (error: unknown) => void;
  #resolveClosed!: () => void;
  readonly #closed: Promise<void>;

  /** Opens the socket; `welcome` is settled when the server has answered, or why it has not. */
  constructor(
    url: string,
    owner: object,
    openSocket: OpenSocket,
    subprotocol: Subprotocol,
    credit: number,
    options: OpenOptions,
  ) {
    this.#url = url;
    this.#credit = credit;
    this.#decoder = new MessageDecoder(owner);
    this.#closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    const timeoutMs = options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
    const timer = setTimeout(() => {
      this.#fail(new VirstreamError("connect-timeout", `${url} did not answer within ${timeoutMs} ms`));
    }, timeoutMs);
    const onAbort = (): void => this.#fail(options.signal?.reason as VirstreamError);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    this.welcome = new Promise<Welcome>((resolve, reject) => {
      this.#resolveWelcome = resolve;
      this.#rejectWelcome = reject;
    }).finally(() => {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", onAbort);
    });
    this.#socket = this.#open(openSocket, subprotocol, options.token);
  }

  /** Begins a sweep. */
  sweep(query: Query, context: SweepContext): RemoteSweep {
    const id = ++this.#lastId;
    const sweep = new RemoteSweep(this.#credit, context, {
      grant: (bytes) => this.#send(creditMessage(id, bytes)),
      cancel: () => {
        if (this.#sweeps.delete(id)) this.#send(cancelMessage(id));
      },
    });
    const message = getMessage(id, query, this.#credit);
    if (this.#error !== undefined) {
      sweep.end(this.#error);
    } else if (utf8Length(message) > LIMITS.request) {
      sweep.end(
        new VirstreamError(
          "message-too-big",
          `${query.domains?.length} domains in one query are more than the protocol carries: name fewer at once`,
        ),
      );
    } else {
      this.#sweeps.set(id, sweep);
      this.#send(message);
    }
    return sweep;
  }

  /** Ends every sweep with `connection-closed`, and the connection. */
  async close(): Promise<void> {
    this.#end(new VirstreamError("connection-closed", `the connection to ${this.#url} was closed`));
    this.#socket.close(CLOSE_CODES.normal);
    const timer = setTimeout(() => this.#abandon(), CLOSE_TIMEOUT_MS);
    await this.#closed;
    clearTimeout(timer);
  }

  #open(openSocket: OpenSocket, subprotocol: Subprotocol, token: string | undefined): Socket {
    const socket = openSocket(this.#url, subprotocol);
    socket.onopen = () => {
      if (socket.protocol !== subprotocol) {
        this.#fail(
          new VirstreamError(
            "wrong-subprotocol",
            `${this.#url} does not speak ${subprotocol}: is it a virstream server?`,
          ),
        );
        return;
      }
      this.#opened = true;
      socket.send(helloMessage(CLIENT, token));
    };
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onerror = (event) => {
      this.#fail(this.#opened ? brokenError(this.#url, event) : openingError(this.#url, subprotocol, event));
    };
    socket.onclose = (event) => {
      this.#fail(closeError(this.#url, event.code, event.reason));
      this.#resolveClosed();
    };
    return socket;
  }

  #receive(data: unknown): void {
    this.#heard();
    if (this.#error !== undefined) return;
    try {
      const message = this.#decoder.decode(
        typeof data === "string" || data instanceof Uint8Array ? data : new Uint8Array(data as ArrayBuffer),
      );
      switch (message.type) {
        case "welcome":
          this.#watchOver(message.welcome.beatMs);
          this.#resolveWelcome(message.welcome);
          break;
        // What is said of a sweep that was cancelled was under way when it was: nobody waits for it.
        case "sweep":
          if (message.domains !== undefined) this.#sweeps.get(message.id)?.expect(message.domains);
          break;
        case "records":
          this.#sweeps.get(message.id)?.push(message.records, message.bytes);
          break;
        case "end": {
          const sweep = this.#sweeps.get(message.id);
          this.#sweeps.delete(message.id);
          sweep?.end(message.error);
          break;
        }
      }
    } catch (error) {
      this.#fail(VirstreamError.from(error));
    }
  }

  #send(message: string): void {
    if (this.#error === undefined) this.#socket.send(message);
  }

  #heard(): void {
    this.#lastHeard = performance.now();
  }

  /** The server says something every so often. After two and a half times that, it or the way to it is gone. */
  #watchOver(beatMs: number): void {
    clearInterval(this.#liveness);
    this.#liveness = setInterval(() => {
      const silentMs = performance.now() - this.#lastHeard;
      if (silentMs < 2.5 * beatMs) return;
      this.#fail(
        new VirstreamError("connection-lost", `${this.#url} has been silent for ${Math.round(silentMs / 1000)} s`),
      );
    }, beatMs / 2);
    (this.#liveness as { unref?: () => void }).unref?.();
  }

  /** Ends everything because of an error, once; the socket is not waited for. */
  #fail(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#end(error);
    if (error.code === "protocol-error") {
      // The server should learn why; but one that does not even answer a close is not waited for.
      this.#socket.close(CLOSE_CODES["bad-message"], error.code);
      const timer = setTimeout(() => this.#abandon(), CLOSE_TIMEOUT_MS);
      void this.#closed.then(() => clearTimeout(timer));
    } else {
      this.#abandon();
    }
  }

  #end(error: VirstreamError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    clearInterval(this.#liveness);
    this.#rejectWelcome(error);
    const sweeps = [...this.#sweeps.values()];
    this.#sweeps.clear();
    for (const sweep of sweeps) sweep.end(error);
  }

  #abandon(): void {
    if (this.#socket.terminate === undefined) this.#socket.close();
    else this.#socket.terminate();
    this.#resolveClosed();
  }
}

/** Why a socket could not be opened, as far as the platform says: Node does, browsers keep it to themselves. */
function openingError(url: string, subprotocol: string, event: { message?: string; error?: unknown }): VirstreamError {
  const cause = event.error;
  const system = (cause as { code?: string } | undefined)?.code;
  const message = event.message ?? "";
  if (system === "ECONNREFUSED") {
    return new VirstreamError(
      "connection-refused",
      `nothing listens at ${url}: start a server there with "virstream serve --listen HOST:PORT"`,
      { cause },
    );
  }
  if (system === "ENOTFOUND" || system === "EAI_AGAIN") {
    return new VirstreamError("connection-refused", `the name in ${url} leads to no host`, { cause });
  }
  if (/subprotocol|server response: 400/i.test(message)) {
    return new VirstreamError("wrong-subprotocol", `${url} does not speak ${subprotocol}: is it a virstream server?`, {
      cause,
    });
  }
  const status = /server response: (\d+)/i.exec(message)?.[1];
  if (status === "401") return new VirstreamError("unauthenticated", `${url} wants a token`, { cause });
  if (status === "403") return new VirstreamError("denied", `${url} does not admit this origin`, { cause });
  if (status !== undefined) {
    return new VirstreamError("connection-refused", `${url} answers with HTTP status ${status}, not as a WebSocket`, {
      cause,
    });
  }
  return new VirstreamError("connection-lost", `no connection to ${url}${message && `: ${message}`}`, { cause });
}

/** Why an open connection broke: what ws finds against the WebSocket protocol or our limits, or the network. */
function brokenError(url: string, event: { message?: string; error?: unknown }): VirstreamError {
  const cause = event.error;
  const violation = (cause as { code?: string } | undefined)?.code?.startsWith("WS_ERR_");
  return new VirstreamError(
    violation ? "protocol-error" : "connection-lost",
    `${url}: ${event.message ?? "it broke"}`,
    {
      cause,
    },
  );
}

function closeError(url: string, code: number, reason: string): VirstreamError {
  const [error, meaning] = CLOSED[code] ?? ["connection-lost", `it closed with code ${code}`];
  return new VirstreamError(error, `${url}: ${meaning}${reason && ` (${reason})`}`);
}
