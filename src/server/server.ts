/// <reference lib="esnext.disposable" preserve="true" />

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { CloseOptions, Connection } from "../client/connection.ts";
import { withTimeout } from "../driver/clock.ts";
import { invalid, VirstreamError } from "../model/error.ts";
import { checkOptions, FLAG, type Members, OBJECT, TEXT, whole } from "../model/options.ts";
import { isLoopback, Origins } from "./access/origins.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "./address.ts";
import { CLOSE_TIMEOUT_MS, HANDLER_MEMBERS, type HandlerOptions, isGuarded, VirstreamHandler } from "./handler.ts";
import { DEFAULT_SERVER_LIMITS } from "./limits.ts";
import {
  checkTls,
  createListeningServer,
  followSockets,
  type ListeningServer,
  renewCertificates,
  type TlsOptions,
} from "./listening.ts";

const SERVE_MEMBERS: Members = {
  host: TEXT,
  port: whole(0, 65_535),
  tls: OBJECT,
  allowPlain: FLAG,
  ...HANDLER_MEMBERS,
};

/** How to serve. */
export interface ServeOptions extends HandlerOptions {
  /**
   * Address to listen on. Default 127.0.0.1. Any address but loopback needs a token, viewers or `authenticate`, and `tls` or
   * `allowPlain`; or else `allowAnyone`.
   */
  readonly host?: string;
  /** Port; 0 selects a free port. Default 16580. */
  readonly port?: number;
  /** Serve over TLS, at wss: and https:, with this certificate; `renew()` replaces it. Default: none, without TLS. */
  readonly tls?: TlsOptions;
  /**
   * Listen beyond loopback without TLS: everybody on the way can read the tokens. For a server behind a proxy that has TLS, or in a
   * network that encrypts. Default false.
   */
  readonly allowPlain?: boolean;
}

/** A handler with an HTTP server of its own. Closing it does not close the connection that it serves. */
export class VirstreamServer extends VirstreamHandler {
  readonly #http: ListeningServer;
  /** True if it was started to ask clients for certificates; that stays so. */
  readonly #asksForCertificates: boolean;
  #closed: Promise<void> | undefined;

  private constructor(connection: Connection, options: ServeOptions) {
    super(connection, options);
    const ms = options.limits?.helloTimeoutMs ?? DEFAULT_SERVER_LIMITS.helloTimeoutMs;
    this.#asksForCertificates = options.tls?.clientCa !== undefined;
    this.#http = createListeningServer(options.tls, ms, this.request);
    followSockets(this.#http, this.waiting);
    this.#http.on("upgrade", (request, socket, head) => this.upgrade(request, socket, head));
  }

  /**
   * Starts to listen.
   *
   * @throws VirstreamError `invalid-argument` for an address beyond loopback without a token, and for an invalid prefix, invalid
   *   tokens, viewers or limits, or an address on which the server cannot listen; `address-in-use` if another program listens
   *   there
   */
  static async listen(connection: Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
    checkListening(options);
    const host = options.host ?? DEFAULT_LISTEN_HOST;
    const port = options.port ?? DEFAULT_PORT;
    const server = new VirstreamServer(connection, options);
    try {
      await once(server.#http.listen(port, host), "listening");
    } catch (thrown) {
      await server.close();
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
    return `${"setSecureContext" in this.#http ? "wss" : "ws"}://${address.includes(":") ? `[${address}]` : address}:${port}${this.prefix}`;
  }

  /** The address of the live page, with the option `ui`. */
  get pageUrl(): string {
    return `${this.url.replace(/^ws/, "http")}/`;
  }

  /**
   * Replaces the certificate of `tls`, and the authorities of its clients, for connections from now on. It has `clientCa` if the server
   * was started with it, and only then.
   *
   * @throws VirstreamError `invalid-argument`; the server then keeps those that it has
   */
  renew(tls: TlsOptions): void {
    if ((tls.clientCa !== undefined) !== this.#asksForCertificates) {
      const verb = this.#asksForCertificates ? "asks" : "does not ask";
      throw invalid(`the server ${verb} clients for certificates since its start: restart it to change that`);
    }
    renewCertificates(this.#http, tls);
  }

  /** Frees the port, and ends sweeps and connections as a handler does. Safe to call twice. */
  override async close(options: CloseOptions = {}): Promise<void> {
    const ended = super.close(options);
    this.#closed ??= this.#close(ended);
    await Promise.all([this.#closed, ended]);
  }

  async #close(ended: Promise<void>): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    await ended;
    await withTimeout(closed, CLOSE_TIMEOUT_MS, () => this.waiting.destroy());
    await closed;
  }
}

/**
 * Checks what may be served where, without serving it.
 *
 * @throws VirstreamError `invalid-argument`
 */
export function checkListening(options: ServeOptions): void {
  checkOptions("serve's options object", options, SERVE_MEMBERS);
  const { host = DEFAULT_LISTEN_HOST } = options;
  new Origins(options.origins);
  if (options.tls !== undefined) checkTls(options.tls);
  if (!isLoopback(host) && !isGuarded(options) && options.allowAnyone !== true) {
    throw invalid(
      `listening on ${host} would show every domain to every client that reaches it: set the option token or the option authenticate, or the option allowAnyone`,
    );
  }
  if (!isLoopback(host) && options.tls === undefined && !options.allowPlain && !options.allowAnyone) {
    throw invalid(
      `listening on ${host} without TLS would show the clients' tokens to everybody on the way: set the option tls, or the option allowPlain behind a proxy that has TLS`,
    );
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

function listenAdvice(code: string | undefined): string {
  return code === "EACCES" ? "choose a port above 1023" : "choose an address of this machine";
}
