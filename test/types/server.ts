/** The promises about the types of servers, handlers and principals. It never runs; see records.ts. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { pino } from "pino";
import type { Connection } from "../../src/index.ts";
import {
  type Authenticate,
  createHandler,
  DEFAULT_SERVER_LIMITS,
  type Principal,
  type ServerFigures,
  serve,
  type VirstreamHandler,
  type VirstreamServer,
} from "../../src/server/index.ts";
import { same } from "./same.ts";

export async function serveChecksItsOptions(connection: Connection): Promise<VirstreamServer> {
  const server = await serve(connection, {
    host: "127.0.0.1",
    port: 0,
    token: "secret",
    viewers: [{ name: "web", token: "other", names: ["web-*"], groups: ["state"] }],
    origins: ["https://dashboard.example"],
    limits: { clients: 10, minIntervalMs: 100 },
  });
  same<typeof server, VirstreamServer>(true);
  same<typeof server.url, string>(true);
  // @ts-expect-error The member is misspelt.
  await serve(connection, { tokn: "secret" });
  // Loggers of pino and the console are logs.
  await serve(connection, { log: pino() });
  await serve(connection, { log: console });
  // @ts-expect-error A log has more functions.
  await serve(connection, { log: { warn: console.warn } });
  // @ts-expect-error A port is a number.
  await serve(connection, { port: "16580" });
  // @ts-expect-error The limit is misspelt.
  await serve(connection, { limits: { client: 10 } });
  // @ts-expect-error A viewer needs a token.
  await serve(connection, { viewers: [{ name: "web", domains: ["guest-00001"] }] });
  // @ts-expect-error The member is misspelt, and would restrict what is visible.
  await serve(connection, { viewers: [{ name: "web", token: "other", domain: ["guest-00001"] }] });
  // @ts-expect-error The defaults are those of every server.
  DEFAULT_SERVER_LIMITS.clients = 10;
  return server;
}

export function handlersFitServersOfHttp(connection: Connection): VirstreamHandler {
  const handler = createHandler(connection, { prefix: "/vm", allowAnyone: true });
  same<typeof handler, VirstreamHandler>(true);
  createServer(handler.request).on("upgrade", handler.upgrade);
  type Middleware = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void;
  const middleware: Middleware = handler.request;
  createServer((request, response) => middleware(request, response, () => {}));
  const figures = handler.stats();
  same<typeof figures, ServerFigures>(true);
  const { status } = handler.health();
  same<typeof status, "ok" | "degraded">(true);
  const disconnected = handler.disconnect("ada");
  same<typeof disconnected, number>(true);
  // @ts-expect-error A handler has no port: its HTTP server has.
  createHandler(connection, { port: 16_580, allowAnyone: true });
  // @ts-expect-error Without options, every client would see everything.
  createHandler(connection);
  return handler;
}

export function authenticateDecides(connection: Connection, sessions: Map<string, Principal>): void {
  createHandler(connection, {
    authenticate: (request, token) => {
      same<typeof request, IncomingMessage>(true);
      same<typeof token, string | undefined>(true);
      return { name: "ada", names: ["web-*"], groups: ["state"], expiresAt: Date.now() + 60_000 };
    },
  });
  createHandler(connection, { authenticate: async (request) => sessions.get(request.headers.cookie ?? "") ?? null });
  // @ts-expect-error A principal needs a name.
  createHandler(connection, { authenticate: () => ({ names: ["web-*"] }) });
  // @ts-expect-error The group is misspelt.
  createHandler(connection, { authenticate: async () => ({ name: "ada", groups: ["cpu"] }) });
  // @ts-expect-error The time is a number of milliseconds since 1970.
  createHandler(connection, { authenticate: () => ({ name: "ada", expiresAt: new Date() }) });
  // @ts-expect-error True says neither who a client is nor what it may see.
  createHandler(connection, { authenticate: () => true });
  const answered: Authenticate = () => undefined;
  createHandler(connection, { authenticate: answered });
}

export function principalsAreChecked(): Principal {
  // @ts-expect-error The member is misspelt, and would restrict what is visible.
  const principal: Principal = { name: "ada", domain: ["guest-00001"] };
  // @ts-expect-error Domains are a list.
  const single: Principal = { name: "ada", domains: "guest-00001" };
  return principal ?? single;
}
