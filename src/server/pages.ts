import type { IncomingMessage, ServerResponse } from "node:http";
import { answerScrape } from "../outlets/prometheus/answer.ts";
import type { Exporter } from "../outlets/prometheus/exporter.ts";
import { SUBPROTOCOLS } from "../wire/protocol.ts";
import type { ServerFigures, ServerHealth } from "./server-metrics.ts";

/** What the pages of a server are made of. */
export interface PageSource {
  readonly exporter: Exporter;
  /** True if WebSockets are accepted, too. */
  readonly webSockets: boolean;
  isClosing(): boolean;
  health(): ServerHealth;
  /** True if any host can be reached. */
  isReady(health: ServerHealth): boolean;
  stats(): ServerFigures;
  /** True if a page on another site may have made the browser send this request. */
  isForged(request: IncomingMessage): boolean;
  /** True if the client of a request may read a page: its role says so. */
  mayRead(request: IncomingMessage, path: string): Promise<boolean>;
}

/** Answers a request below the handler's prefix. `path` is undefined outside of it. */
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
  if (source.isClosing()) say(503, "the server is shutting down");
  else if (request.method !== "GET" && request.method !== "HEAD") say(405, "only GET and HEAD");
  else if (path === "/healthz" || path === "/readyz") {
    const health = source.health();
    const isUp = path === "/healthz" || source.isReady(health);
    respond(isUp ? 200 : 503, "application/json", JSON.stringify(health));
  } else if (path === "/" && source.webSockets) {
    say(426, `This is a virstream server: connect with WebSocket, subprotocol ${SUBPROTOCOLS[0]}.`);
  } else if (path === "/") say(200, "This is virstream's exporter for Prometheus: /metrics");
  else if (path !== "/stats.json" && path !== "/metrics") say(404, "nothing here");
  else if (source.isForged(request)) {
    say(
      403,
      "the Host header has a name that is not this server's: use its address, or allow that origin on the server",
    );
  } else {
    void source.mayRead(request, path).then((may) => {
      if (!may) say(401, "this needs the token that shows every domain: Authorization: Bearer TOKEN");
      else if (path === "/metrics") void answerScrape(source.exporter, request, response);
      else respond(200, "application/json", JSON.stringify(source.stats()));
    });
  }
}
