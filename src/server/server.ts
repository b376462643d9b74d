/// <reference lib="esnext.disposable" preserve="true" />

import { once } from "node:events";
import type { AddressInfo } from "node:net";
import type { CloseOptions, Connection } from "../client/connection.ts";
import { withTimeout } from "../driver/clock.ts";
import { invalid, VirstreamError } from "../model/error.ts";
import { checkOptions, FLAG, type Members, OBJECT, TEXT, whole } from "../model/options.ts";
import { isLoopback, Origins } from "./access/origins.ts";
import { ClientAddresses } from "./bounds/client-address.ts";
import { CLOSE_TIMEOUT_MS, VirstreamHandler } from "./handler.ts";
import { HANDLER_MEMBERS, type HandlerOptions, isGuarded } from "./handler-options.ts";
import { DEFAULT_SERVER_LIMITS } from "./limits.ts";
import { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "./listening/address.ts";
import {
  checkTls,
  createListeningServer,
  followSockets,
  type ListeningServer,
  renewCertificates,
  type TlsOptions,
} from "./listening/http-server.ts";
import { checkSocketPath, DEFAULT_SOCKET_MODE, SocketFile } from "./listening/socket-file.ts";

const SERVE_MEMBERS: Members = {
  host: TEXT,
  port: whole(0, 65_535),
  socketPath: TEXT,
  socketMode: whole(0, 0o777),
  socketGroup: ["the name or the number of a group", (value) => typeof value === "string" || Number.isInteger(value)],
  tls: OBJECT,
  allowPlain: FLAG,
  ...HANDLER_MEMBERS,
};

/** The options of `serve`: where and how to listen. */
export interface ServeOptions extends HandlerOptions {
  /**
   * Address to listen on. Default 127.0.0.1. Any address except loopback needs a token, viewers or `authenticate`, and
   * also `tls` or `allowPlain`. With `allowAnyone`, it needs none of these.
   */
  readonly host?: string;
  /** Port; 0 selects a free port. Default 16580. */
  readonly port?: number;
  /**
   * Listen on this file, a unix socket, in place of `host` and `port`. Such a server needs neither token nor TLS,
   * because the file's permissions say who may connect. The server replaces a file that an earlier server left behind.
   * Default: none.
   */
  readonly socketPath?: string;
  /** The permissions of the file of `socketPath`; a client needs write permission to connect. Default 0o600. */
  readonly socketMode?: number;
  /**
   * The group of the file of `socketPath`, by its name or number. Default: the group of the process or of the folder,
   * as the system decides.
   */
  readonly socketGroup?: string | number;
  /** Serve over TLS, at wss: and https:, with this certificate; `renew()` replaces it. Default: none, without TLS. */
  readonly tls?: TlsOptions;
  /**
   * Listen beyond loopback without TLS, so that everybody on the network path can read the tokens. Only for a server
   * behind a proxy with TLS, or in a network that encrypts. Default false.
   */
  readonly allowPlain?: boolean;
}

/** A handler with an HTTP server of its own. Closing the server does not close the Connection that it serves. */
export class VirstreamServer extends VirstreamHandler {
  readonly #http: ListeningServer;
  /** True if the server has asked clients for certificates since its start. This cannot change. */
  readonly #asksForCertificates: boolean;
  #file: SocketFile | undefined;
  /** Where the server listens; not set if it listens on a file. It stays after `close()`. */
  #address!: AddressInfo;
  #closed: Promise<void> | undefined;

  private constructor(connection: Connection, options: ServeOptions) {
    super(connection, options);
    const ms = options.limits?.helloTimeoutMs ?? DEFAULT_SERVER_LIMITS.helloTimeoutMs;
    this.#asksForCertificates = options.tls?.clientCa !== undefined;
    this.#http = createListeningServer(options.tls, ms, this.request);
    followSockets(this.#http, this.waiting, (peer, why) => this.sayRefused("client-refused", peer, why));
    this.#http.on("upgrade", (request, socket, head) => this.upgrade(request, socket, head));
  }

  /**
   * Starts to listen.
   *
   * @throws VirstreamError `invalid-argument` for an address beyond loopback without a token or without TLS (see
   *   `host`), for an invalid prefix, for invalid tokens, viewers or limits, and for an address or a file on which the
   *   server cannot listen; `address-in-use` if another program listens there
   */
  static async listen(connection: Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
    checkListening(options);
    const server = new VirstreamServer(connection, options);
    try {
      await server.#listen(options);
    } catch (thrown) {
      await server.close();
      throw thrown;
    }
    // If the system fails to accept a connection, the listening socket reports an error and continues to listen. So the
    // error is ignored.
    server.#http.on("error", () => {});
    return server;
  }

  async #listen(options: ServeOptions): Promise<void> {
    const { host = DEFAULT_LISTEN_HOST, port = DEFAULT_PORT, socketPath, socketMode, socketGroup } = options;
    if (socketPath !== undefined) {
      const place = { path: socketPath, mode: socketMode ?? DEFAULT_SOCKET_MODE, group: socketGroup };
      this.#file = await SocketFile.listen(this.#http, place);
      return;
    }
    try {
      await once(this.#http.listen(port, host), "listening");
      this.#address = this.#http.address() as AddressInfo;
    } catch (thrown) {
      const cause = thrown as NodeJS.ErrnoException;
      const inUse = cause.code === "EADDRINUSE";
      const fix = inUse
        ? "another program uses that port; choose another, or 0 for a free one"
        : listenAdvice(cause.code);
      const message = `cannot listen on ${host} port ${port} (${cause.code}): ${fix}`;
      throw new VirstreamError(inUse ? "address-in-use" : "invalid-argument", message, { cause });
    }
  }

  /**
   * The address on which the server listens, as a URL; for a file, `ws+unix://PATH`. `0.0.0.0` and `[::]` mean all
   * addresses of this machine; clients on other machines use one of the machine's own addresses. The URL stays readable
   * after `close()`.
   */
  get url(): string {
    return this.#urlOf("ws", this.prefix);
  }

  /** The address of the pages: `/metrics` and others, and with the option `ui` the live page. It ends with a slash. */
  get pageUrl(): string {
    return this.#urlOf("http", `${this.prefix}/`);
  }

  /**
   * Replaces the server's certificate, and the authorities for its clients' certificates, for connections from now on.
   * `tls` must have `clientCa` if the server was started with it, and must not have it otherwise.
   *
   * @throws VirstreamError `invalid-argument`; the server then keeps its present certificates
   */
  renew(tls: TlsOptions): void {
    if ((tls.clientCa !== undefined) !== this.#asksForCertificates) {
      const verb = this.#asksForCertificates ? "asks" : "does not ask";
      throw invalid(`the server ${verb} clients for certificates since its start: restart it to change that`);
    }
    renewCertificates(this.#http, tls);
  }

  #urlOf(scheme: "ws" | "http", path: string): string {
    if (this.#file !== undefined) return `${scheme}+unix://${this.#file.path}${path && `:${path}`}`;
    const { address, port } = this.#address;
    const secure = "setSecureContext" in this.#http ? "s" : "";
    return `${scheme}${secure}://${address.includes(":") ? `[${address}]` : address}:${port}${path}`;
  }

  /**
   * Frees the port or removes the file, and ends sweeps and connections as VirstreamHandler.close does. Safe to call
   * twice.
   */
  override async close(options: CloseOptions = {}): Promise<void> {
    const ended = super.close(options);
    this.#closed ??= this.#close(ended);
    await Promise.all([this.#closed, ended]);
  }

  async #close(ended: Promise<void>): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#file?.remove();
    await ended;
    await withTimeout(closed, CLOSE_TIMEOUT_MS, () => this.waiting.destroy());
    await closed;
  }
}

/**
 * Checks the address, the tokens and the certificate of a server, without starting it.
 *
 * @throws VirstreamError `invalid-argument`
 */
export function checkListening(options: ServeOptions): void {
  checkOptions("serve's options object", options, SERVE_MEMBERS);
  const { host = DEFAULT_LISTEN_HOST } = options;
  new Origins(options.origins);
  new ClientAddresses(options.trustedProxies);
  if (options.socketPath !== undefined) {
    checkSocketPath(options.socketPath);
    const other = (["host", "port", "tls"] as const).find((name) => options[name] !== undefined);
    if (other === undefined) return;
    throw invalid(`socketPath does not go with ${other}: it is the path of a file on this machine`);
  }
  if (options.tls !== undefined) checkTls(options.tls);
  if ((options.socketMode ?? options.socketGroup) !== undefined) {
    throw invalid("socketMode and socketGroup go with socketPath");
  }
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
 * Serves the statistics of a Connection over WebSocket.
 *
 * @throws VirstreamError as VirstreamServer.listen
 */
export function serve(connection: Connection, options: ServeOptions = {}): Promise<VirstreamServer> {
  return VirstreamServer.listen(connection, options);
}

function listenAdvice(code: string | undefined): string {
  return code === "EACCES" ? "choose a port above 1023" : "choose an address of this machine";
}
