import type { IncomingMessage, ServerResponse } from "node:http";
import { answerScrape } from "../../outlets/prometheus/answer.ts";
import type { Exporter } from "../../outlets/prometheus/exporter.ts";
import { SUBPROTOCOLS } from "../../wire/protocol.ts";
import type { ServerFigures, ServerHealth } from "../server-metrics.ts";
import type { WhyAnswer } from "./explanations.ts";
import type { PageFiles } from "./page-files.ts";

/** What the pages of a server are made of. */
export interface PageSource {
  /** The path under which its paths are; empty: none. */
  readonly prefix: string;
  readonly exporter: Exporter;
  /** The files of the live page; undefined: it is not served. */
  readonly files: PageFiles | undefined;
  /** True if WebSockets are accepted, too. */
  readonly webSockets: boolean;
  isClosing(): boolean;
  health(): ServerHealth;
  /** True if any host can be reached. */
  isReady(health: ServerHealth): boolean;
  stats(): ServerFigures;
  /** True if the WebSocket of a page that this request loads would be refused. */
  isForeign(request: IncomingMessage): boolean;
  /** True if a page on another site may have made the browser send this request. */
  isForged(request: IncomingMessage): boolean;
  /** Whether the client of a request may read a page; a text says why its role does not permit it, although its token is right. */
  mayRead(request: IncomingMessage, path: string): Promise<boolean | string>;
  /** What is wrong with a guest; undefined: this server does not find it out. */
  readonly why: ((request: IncomingMessage, guest: string | null) => Promise<WhyAnswer>) | undefined;
}

const WRONG_HOST =
  "the Host header has a name that is not this server's: use its address, or allow that origin in the server's option origins";

/** The headers that decide who may read what. */
const DECIDING = ["host", "authorization", "origin"];

/**
 * Why a request is malformed: a header that decides who may read is there twice. Node takes the first one; a proxy in front of the
 * server may have looked at the other one.
 */
export function ambiguity(request: IncomingMessage): string | undefined {
  const twice = DECIDING.find((name) => (request.headersDistinct[name]?.length ?? 0) > 1);
  return twice && `more than one header ${twice}`;
}

/** Answers a request below the handler's prefix. `path` is undefined outside of it, and empty for the prefix itself. */
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
  const ambiguous = ambiguity(request);
  if (source.isClosing()) say(503, "the server is shutting down");
  else if (request.method !== "GET" && request.method !== "HEAD") say(405, "only GET and HEAD");
  else if (ambiguous !== undefined) say(400, ambiguous);
  else if (source.files !== undefined && path === "") {
    // The files of the page are relative to a folder.
    response.writeHead(308, { location: `${source.prefix.slice(source.prefix.lastIndexOf("/") + 1)}/` }).end();
  } else if (path !== undefined && source.files?.has(path)) {
    if (path === "/" && source.isForeign(request)) say(403, WRONG_HOST);
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
    say(403, WRONG_HOST);
  } else if (path === "/why") {
    // It makes calls to hosts: a page elsewhere must not cause them, even if it cannot read the answer.
    const isForeign = request.headers["sec-fetch-site"] === "cross-site";
    const guest = new URLSearchParams(request.url?.split("?")[1]).get("domain");
    if (isForeign) say(403, "pages of other sites may not ask this");
    else {
      void source.why!(request, guest).then(({ status, body }) =>
        status === 200 ? respond(200, "application/json", body) : say(status, body),
      );
    }
  } else {
    void source.mayRead(request, path).then((may) => {
      if (typeof may === "string") say(403, may);
      else if (!may)
        say(
          401,
          path === "/metrics"
            ? "this needs a token that shows every domain, or one of the role metrics: Authorization: Bearer TOKEN"
            : "this needs a token that shows every domain: Authorization: Bearer TOKEN",
        );
      else if (path === "/metrics") void answerScrape(source.exporter, request, response);
      else respond(200, "application/json", JSON.stringify(source.stats()));
    });
  }
}
