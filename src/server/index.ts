/**
 * The server: exposes a connection over WebSocket.
 *
 * @module virstream/server
 */

export type { Diagnosis } from "../overview/diagnosis.ts";
export { type Authenticate, type Principal, ROLES, type Role } from "./access/principal.ts";
export { type TokenEntry, TokenList } from "./access/token-list.ts";
export type { Viewer } from "./access/viewer.ts";
export {
  SERVER_EVENTS,
  type ServerEvent,
  type ServerLog,
  type ServerLogFields,
} from "./bounds/event-log.ts";
export { createHandler, VirstreamHandler } from "./handler.ts";
export type { HandlerOptions } from "./handler-options.ts";
export { DEFAULT_SERVER_LIMITS, type ServerLimits } from "./limits.ts";
export { DEFAULT_LISTEN_HOST, DEFAULT_PORT } from "./listening/address.ts";
export type { TlsOptions } from "./listening/http-server.ts";
export { type ServeOptions, serve, VirstreamServer } from "./server.ts";
export type { ServerFigures, ServerHealth } from "./server-metrics.ts";
export type { Explain } from "./web/explanations.ts";
