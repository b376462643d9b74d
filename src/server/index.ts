/**
 * The server: serves the statistics of a Connection over WebSocket.
 *
 * @module virstream/server
 */

// What is wrong with a domain: the result of Explain.
export type { Diagnosis } from "../overview/diagnosis.ts";
// Who may connect, and with which role.
export { type Authenticate, type Principal, ROLES, type Role } from "./access/principal.ts";
export { type TokenEntry, TokenList } from "./access/token-list.ts";
// A token that shows only some domains and groups.
export type { Viewer } from "./access/viewer.ts";
// The log of a server.
export {
  SERVER_EVENTS,
  type ServerEvent,
  type ServerLog,
  type ServerLogFields,
} from "./bounds/event-log.ts";
// The server as a part of a program's own HTTP server.
export { createHandler, VirstreamHandler } from "./handler.ts";
// The options that `createHandler` and `serve` share.
export type { HandlerOptions } from "./handler-options.ts";
export { DEFAULT_SERVER_LIMITS, type ServerLimits } from "./limits.ts";
export { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "./listening/address.ts";
// The server's certificate and key.
export type { TlsOptions } from "./listening/http-server.ts";
// The server with an HTTP server of its own.
export { type ServeOptions, serve, VirstreamServer } from "./server.ts";
// The figures of a server and its health.
export type { ServerFigures, ServerHealth } from "./server-metrics.ts";
// The function with which a server answers what is wrong with a domain.
export type { Explain } from "./web/explanations.ts";
