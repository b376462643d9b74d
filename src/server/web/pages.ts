import type { IncomingMessage, ServerResponse } from "node:http";
import { answerScrape } from "../../outlets/prometheus/answer.ts";
import type { Exporter } from "../../outlets/prometheus/exporter.ts";
import { SUBPROTOCOLS } from "../../wire/protocol.ts";
import type { ServerFigures, ServerHealth } from "../server-metrics.ts";
import type { WhyAnswer } from "./explanations.ts";
import type { PageFiles } from "./page-files.ts";

/** The answer to a client that may not read a page. */
export interface PageRefusal {
  readonly status: 401 | 403;
  readonly text: string;
}

/** What the pages of a server need from its handler. */
export interface PageSource {
  /** The beginning of the paths of all pages; empty if the handler has no prefix. */
  readonly prefix: string;
  readonly exporter: Exporter;
  /** The files of the live page; undefined if the server does not serve it. */
  readonly files: PageFiles | undefined;
  /** True if the server also accepts WebSockets. */
  readonly webSockets: boolean;
  isClosing(): boolean;
  health(): ServerHealth;
  /** True if at least one host can be reached. */
  isReady(health: ServerHealth): boolean;
  stats(): ServerFigures;
  /**
   * True if the request's Host header has a foreign name, so that the server would refuse the WebSocket of a page that
   * this request loads.
   */
  isForeign(request: IncomingMessage): boolean;
  /** True if a page on another site may have made the browser send this request. */
  isForged(request: IncomingMessage): boolean;
  /** Logs that a request is refused, and why. */
  logRefused(request: IncomingMessage, why: string): void;
  /** The answer to a client that may not read a page; undefined if the client may read it. */
  refusalOf(request: IncomingMessage, path: string): Promise<PageRefusal | undefined>;
  /** Finds out what is wrong with a guest; undefined if the handler has no option `explain`. */
  readonly why: ((request: IncomingMessage, guest: string) => Promise<WhyAnswer>) | undefined;
}

const WRONG_HOST =
  "the Host header has a name that is not this server's: use its address, or allow the name in the server's option origins, for virstream serve by --origin http://NAME:PORT";

/** The most characters of a Host header that a line of the log shows. */
const MAX_HOST = 200;

/** The headers that decide what a client may read. */
const DECIDING = ["host", "authorization", "origin"];

/**
 * The fault of a request that has one of the DECIDING headers more than once; undefined if the request has no such
 * fault. Node uses only the first `host` and the first `authorization`, but a proxy in front of the server may have
 * checked another one. Node joins several `origin` headers to one text.
 */
export function ambiguity(request: IncomingMessage): string | undefined {
  const twice = DECIDING.find((name) => (request.headersDistinct[name]?.length ?? 0) > 1);
  return twice && `more than one header ${twice}`;
}

/**
 * Answers a request. `path` is the part of the request's path below the handler's prefix: undefined outside of the
 * prefix, and empty for the prefix itself.
 */
export function answerRequest(
  source: PageSource,
  request: IncomingMessage,
  response: ServerResponse,
  path: string | undefined,
): void {
  const respond = (status: number, type: string, body: string): void => {
    response.writeHead(status, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
    response.end(request.method === "HEAD" ? undefined : `${body}\n`);
  };
  const say = (status: number, text: string): void => respond(status, "text/plain", text);
  const refuse = (status: number, text: string, why = text): void => {
    source.logRefused(request, `${path}: ${why}`);
    say(status, text);
  };
  const refuseHost = (): void => {
    const name = String(request.headers.host).slice(0, MAX_HOST);
    refuse(403, WRONG_HOST, `${name} in the header Host is not this server: allow that name in the option origins`);
  };
  const ambiguous = ambiguity(request);
  if (source.isClosing()) say(503, "the server is shutting down");
  else if (request.method !== "GET" && request.method !== "HEAD") say(405, "only GET and HEAD");
  else if (ambiguous !== undefined) refuse(400, ambiguous);
  else if (source.files !== undefined && path === "") {
    // Redirects to the same path with a slash at its end, because the page names its files relative to a folder.
    response.writeHead(308, { location: `${source.prefix.slice(source.prefix.lastIndexOf("/") + 1)}/` }).end();
  } else if (path !== undefined && source.files?.has(path)) {
    if (path === "/" && source.isForeign(request)) refuseHost();
    else source.files.answer(path, request, response);
  } else if (path === "/healthz" || path === "/readyz") {
    const health = source.health();
    const isUp = path === "/healthz" || source.isReady(health);
    respond(isUp ? 200 : 503, "application/json", JSON.stringify(health));
  } else if ((path === "/" || path === "") && source.webSockets) {
    say(426, `This is a virstream server: connect with WebSocket, subprotocol ${SUBPROTOCOLS[0]}.`);
  } else if (path === "/" || path === "") say(200, "This is virstream's exporter for Prometheus: /metrics");
  else if (path !== "/stats.json" && path !== "/metrics" && (path !== "/why" || source.why === undefined))
    say(404, "nothing here");
  else if (source.isForged(request)) {
    refuseHost();
  } else if (path === "/why") {
    // `/why` makes calls to hosts. A page of another site must not cause them, even if it cannot read the answer.
    const isForeign = request.headers["sec-fetch-site"] === "cross-site";
    const guest = new URLSearchParams(request.url?.split("?")[1]).get("domain");
    if (isForeign) refuse(403, "pages of other sites may not ask this");
    else if (guest === null) say(400, "name the guest by its name or uuid: /why?domain=NAME");
    else {
      void source.why!(request, guest).then(({ status, body }) =>
        status === 200 ? respond(200, "application/json", body) : say(status, body),
      );
    }
  } else {
    void source.refusalOf(request, path).then((refusal) => {
      if (refusal !== undefined) say(refusal.status, refusal.text);
      else if (path === "/metrics") void answerScrape(source.exporter, request, response);
      else respond(200, "application/json", JSON.stringify(source.stats()));
    });
  }
}
