import { invalid, quote } from "../model/error.ts";
import { FLAG, FUNCTION, LIST, type Members, SECRET } from "../model/options.ts";
import type { ExporterOptions } from "../outlets/prometheus/exporter.ts";
import type { Authenticate } from "./access/principal.ts";
import type { Viewer } from "./access/viewer.ts";
import { LOG, type ServerLog } from "./bounds/event-log.ts";
import type { ServerLimits } from "./limits.ts";
import type { Explain } from "./web/explanations.ts";

/** The members of HandlerOptions, for checkOptions. */
export const HANDLER_MEMBERS = {
  prefix: undefined,
  authenticate: FUNCTION,
  token: SECRET,
  viewers: LIST,
  allowAnyone: FLAG,
  origins: LIST,
  trustedProxies: LIST,
  limits: undefined,
  metrics: undefined,
  webSockets: FLAG,
  ui: FLAG,
  explain: FUNCTION,
  log: LOG,
} satisfies Members;

/** The options of `createHandler`: how to serve as a part of an HTTP server. */
export interface HandlerOptions {
  /**
   * The beginning of all paths of the handler, such as `/vm`. The handler compares it with the whole path that the
   * client sends. Default: none; the handler then accepts WebSockets at any path.
   */
  readonly prefix?: string;
  /**
   * A function that decides who each client is, and what the client may see, instead of `token` and `viewers`. If the
   * function fails, or takes longer than `limits.helloTimeoutMs`, the server refuses the client. Default: the tokens
   * decide.
   */
  readonly authenticate?: Authenticate;
  /**
   * The token that shows every domain. Clients send it as `Authorization: Bearer …` with the upgrade, or as `token` in the
   * hello. Default: none.
   */
  readonly token?: string;
  /**
   * Tokens that show some domains only. With viewers, every client needs a token. If the option `token` is absent then,
   * no client sees every domain. Default: none.
   */
  readonly viewers?: readonly Viewer[];
  /**
   * Serve without `authenticate` and tokens: every client that reaches the HTTP server may read every domain's statistics.
   * Default false.
   */
  readonly allowAnyone?: boolean;
  /**
   * Origins of web pages that may connect (`https://dashboard.example`). Pages of loopback origins always may. The server refuses
   * other pages, because browsers let any page connect to any address. Default: none.
   */
  readonly origins?: readonly string[];
  /**
   * Proxies whose header `X-Forwarded-For` names the client, for the limits per address: addresses, networks such as
   * `10.0.0.0/8`, and `unix` for proxies that connect to the server's socket file. A proxy must add the address from
   * which it gets a request at the end of that header. Default: none.
   */
  readonly trustedProxies?: readonly string[];
  /** Limits that replace those of DEFAULT_SERVER_LIMITS. */
  readonly limits?: Partial<ServerLimits>;
  /** The options of `/metrics`, the page for Prometheus. Default: the default of each of these options. */
  readonly metrics?: ExporterOptions;
  /** False: the handler serves only pages, such as `/metrics`, and refuses WebSockets. Default true. */
  readonly webSockets?: boolean;
  /**
   * True: `/`, or the prefix, is a live page of the guests for browsers. The page's files need no token. Its data comes
   * over WebSocket, under the same rules as for any client. Default false.
   */
  readonly ui?: boolean;
  /**
   * Finds out what is wrong with a guest, for `/why`, for the live page, and for `virstream why`. It is called for at
   * most four guests at a time. Default: none. The command `virstream serve` sets a function that examines the guest's
   * host.
   */
  readonly explain?: Explain;
  /**
   * The log for clients that connect, clients that are refused, and limits that are hit: see ServerLog. Default: none.
   */
  readonly log?: ServerLog;
}

/** True if a client must show who it is. */
export function isGuarded({ authenticate, token, viewers }: HandlerOptions): boolean {
  return (authenticate ?? token ?? viewers) !== undefined;
}

/** Checks and returns the prefix. @throws VirstreamError `invalid-argument` */
export function checkPrefix(prefix = ""): string {
  if (typeof prefix === "string" && /^(\/[^/?#\s]+)*$/.test(prefix)) return prefix;
  throw invalid(`prefix must be a path such as /vm, without a slash at its end, not ${quote(prefix)}`);
}
