import { type ErrorCode, invalid, VirstreamError } from "../model/error.ts";
import { groupMask } from "../model/group.ts";
import { checkQuery, type DomainSelector, distinctSelectors, type Query } from "../model/query.ts";
import { parseUuid } from "../model/uuid.ts";
import { type Cadence, checkCadence, MIN_INTERVAL_MS, type WatchMode } from "../model/watch.ts";
import { malformed } from "./errors.ts";
import { LIMITS } from "./protocol.ts";

/**
 * Where a watch stopped: the server's epoch, the channel, and the sequence of the last message that the client applied.
 */
export interface Since {
  readonly epoch: string;
  readonly channel: number;
  readonly sequence: number;
}

/**
 * The messages of clients: small JSON objects. They are untrusted, so the parser checks each member. It ignores unknown
 * members, so that later versions can add members.
 */
export type ClientMessage =
  | { readonly type: "hello"; readonly client: string | undefined; readonly token: string | undefined }
  | { readonly type: "get"; readonly id: number; readonly query: Query; readonly credit: number | undefined }
  | {
      readonly type: "watch";
      readonly id: number;
      readonly query: Query;
      readonly cadence: Cadence;
      /** Bytes of rows that the server may send; undefined: no limit. */
      readonly credit: number | undefined;
      readonly since: Since | undefined;
    }
  | { readonly type: "credit"; readonly id: number; readonly bytes: number }
  | { readonly type: "cancel"; readonly id: number };

/** A `get` or `watch` with a valid id and an invalid query: the sweep or watch fails, and the connection stays open. */
export class RefusedQuery {
  readonly type = "refused";
  readonly id: number;
  readonly error: VirstreamError;

  constructor(id: number, error: VirstreamError) {
    this.id = id;
    this.error = error;
  }
}

/** The error codes of an invalid query. Any other fault of a message ends the connection. */
const QUERY_ERRORS: ReadonlySet<ErrorCode> = new Set([
  "invalid-argument",
  "unknown-group",
  "unknown-flag",
  "empty-domain-list",
  "limit-exceeded",
]);

/**
 * Parses a message of a client.
 *
 * @param minIntervalMs the shortest interval that a watch may ask for; a watch with a shorter interval becomes a
 * RefusedQuery
 * @throws VirstreamError `protocol-error` for a malformed message
 */
export function parseClientMessage(text: string, minIntervalMs = MIN_INTERVAL_MS): ClientMessage | RefusedQuery {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw malformed("it is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw malformed("it is not an object");
  const message = json as Record<string, unknown>;
  switch (message["type"]) {
    case "hello":
      return { type: "hello", client: optionalText(message, "client"), token: optionalText(message, "token") };
    case "get": {
      const id = idOf(message);
      const credit = message["credit"] === undefined ? undefined : creditOf(message, "credit");
      return orRefused(id, () => ({ type: "get", id, query: queryFromWire(message), credit }));
    }
    case "watch": {
      const id = idOf(message);
      const credit = message["credit"] === undefined ? undefined : creditOf(message, "credit");
      const since = sinceFromWire(message["since"]);
      return orRefused(id, () => {
        const query = queryFromWire(message);
        return { type: "watch", id, query, cadence: cadenceFromWire(message, minIntervalMs), credit, since };
      });
    }
    case "credit":
      return { type: "credit", id: idOf(message), bytes: creditOf(message, "bytes") };
    case "cancel":
      return { type: "cancel", id: idOf(message) };
    default:
      throw malformed("its type is none of hello, get, watch, credit, cancel");
  }
}

/** The JSON text of a client's message. */
export function requestText(message: ClientMessage): string {
  if (message.type !== "get" && message.type !== "watch") return JSON.stringify(message);
  const { query, ...members } = message;
  if (message.type === "get") return JSON.stringify({ ...members, ...query });
  const { cadence, query: _, ...rest } = message;
  const heartbeatMs = cadence.mode === "sample" ? undefined : cadence.heartbeatMs;
  return JSON.stringify({ ...rest, ...query, ...cadence, heartbeatMs });
}

/** The result of `read`, or a refusal if `read` throws because the query is not valid. */
function orRefused(id: number, read: () => ClientMessage): ClientMessage | RefusedQuery {
  try {
    return read();
  } catch (error) {
    if (error instanceof VirstreamError && QUERY_ERRORS.has(error.code)) return new RefusedQuery(id, error);
    throw error;
  }
}

function queryFromWire(message: Record<string, unknown>): Query {
  const { groups, flags, deadlineMs, domains, at } = message;
  const names = patternsFromWire(message, "names");
  const hosts = patternsFromWire(message, "hosts");
  if (domains !== undefined && (names ?? hosts) !== undefined) throw invalid("names and hosts do not go with domains");
  if (groups !== undefined && typeof groups !== "number" && !isTexts(groups)) {
    throw new VirstreamError("unknown-group", "groups must be a bit mask or a list of names");
  }
  if (flags !== undefined && typeof flags !== "number") {
    throw new VirstreamError("unknown-flag", "flags must be a number");
  }
  if (deadlineMs !== undefined && typeof deadlineMs !== "number") {
    throw invalid("deadlineMs must be a number");
  }
  const query = checkQuery({
    ...(groups === undefined ? {} : { groups: groupMask(groups) }),
    ...(flags === undefined ? {} : { flags }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(names === undefined ? {} : { names }),
    ...(hosts === undefined ? {} : { hosts }),
    // `at` may be of any type here, because checkQuery checks it.
    ...(at === undefined ? {} : { at: at as number }),
  });
  return domains === undefined ? query : { ...query, domains: selectorsFromWire(domains) };
}

/**
 * Checks the number and the lengths of the patterns. The patterns may be of any type here, because checkQuery checks
 * them.
 */
function patternsFromWire(message: Record<string, unknown>, member: "names" | "hosts"): string[] | undefined {
  const patterns = message[member];
  if (Array.isArray(patterns)) {
    if (patterns.length > LIMITS.patterns) {
      const text = `${member} may have at most ${LIMITS.patterns} patterns: divide the query, or use wider ones`;
      throw new VirstreamError("limit-exceeded", text, { retryable: false });
    }
    if (patterns.some((pattern) => typeof pattern === "string" && pattern.length > LIMITS.pattern)) {
      throw invalid(`a pattern in ${member} may have at most ${LIMITS.pattern} characters`);
    }
  }
  return patterns as string[] | undefined;
}

function selectorsFromWire(domains: unknown): DomainSelector[] {
  if (!Array.isArray(domains)) throw invalid("domains must be a list");
  if (domains.length > LIMITS.selectors) {
    const message = `a query may name at most ${LIMITS.selectors} domains: divide it, or query all domains`;
    throw new VirstreamError("limit-exceeded", message, { retryable: false });
  }
  return distinctSelectors(
    domains.map((selector: Partial<Record<"uuid" | "name", unknown>> | null) => {
      const { uuid, name } = selector ?? {};
      const parsed = typeof uuid === "string" ? parseUuid(uuid) : undefined;
      if (parsed !== undefined) {
        const spelled = typeof name === "string" && parseUuid(name) === parsed;
        return spelled ? { uuid: parsed, name } : { uuid: parsed };
      }
      if (uuid !== undefined || typeof name !== "string" || name === "") {
        throw invalid('a domain is selected by {"uuid": …} or {"name": …}');
      }
      if (name.length > LIMITS.name) {
        throw invalid(`a name may have at most ${LIMITS.name} characters: select this domain by its uuid`);
      }
      return { name };
    }),
  );
}

function cadenceFromWire(message: Record<string, unknown>, minIntervalMs: number): Cadence {
  const { intervalMs, mode, heartbeatMs } = message;
  if (intervalMs === undefined) throw invalid("intervalMs is missing");
  // These members may be of any type here, because checkCadence checks them.
  const options = { intervalMs: intervalMs as number, mode: mode as WatchMode, heartbeatMs: heartbeatMs as number };
  const cadence = checkCadence(options);
  if (cadence.intervalMs >= minIntervalMs) return cadence;
  throw new VirstreamError(
    "invalid-argument",
    `the interval of ${cadence.intervalMs} ms is too short for this server: set the option intervalMs to ${minIntervalMs} ms or more`,
  );
}

function sinceFromWire(since: unknown): Since | undefined {
  if (since === undefined) return undefined;
  const { epoch, channel, sequence } = (since ?? {}) as Partial<Record<keyof Since, unknown>>;
  if (typeof epoch !== "string") throw malformed("since must have an epoch, which is text");
  if (!isWhole(channel, 1, LIMITS.id)) throw malformed(`since must have a channel from 1 to ${LIMITS.id}`);
  if (!isWhole(sequence, 0, Number.MAX_SAFE_INTEGER)) throw malformed("since must have a sequence from 0");
  return { epoch, channel, sequence };
}

function creditOf(message: Record<string, unknown>, member: string): number {
  const bytes = message[member];
  if (!isWhole(bytes, 1, LIMITS.credit)) throw malformed(`${member} must be from 1 to ${LIMITS.credit}`);
  return bytes;
}

function idOf(message: Record<string, unknown>): number {
  const id = message["id"];
  if (!isWhole(id, 1, LIMITS.id)) throw malformed(`id must be a whole number from 1 to ${LIMITS.id}`);
  return id;
}

function optionalText(message: Record<string, unknown>, member: string): string | undefined {
  const value = message[member];
  if (value === undefined || typeof value === "string") return value;
  throw malformed(`${member} must be text`);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}
