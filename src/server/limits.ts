import { checkOptions, type Members, whole } from "../model/options.ts";
import { MAX_INTERVAL_MS, MIN_INTERVAL_MS } from "../model/watch.ts";
import { BEAT_MS, HELLO_TIMEOUT_MS, LIMITS, MAX_BEAT_MS, PROGRESS_TIMEOUT_MS } from "../wire/protocol.ts";

/** The limits of a server. */
export interface ServerLimits {
  /**
   * Connections with an accepted hello at a time; the server closes further connections with the close code 4503.
   * Default 1,000.
   */
  readonly clients: number;
  /**
   * As `clients`, but for one address, or for one IPv6 network of 64 bits. Connections from this machine do not count,
   * because a proxy on this machine may serve many clients. Default 250.
   */
  readonly clientsPerAddress: number;
  /**
   * Connections without an accepted hello, and HTTP connections, at a time; a further connection replaces the oldest.
   * The server also authenticates at most this many clients at a time. Default 1,000.
   */
  readonly waiting: number;
  /**
   * As `waiting`, but for one address or network, as in `clientsPerAddress`; a further connection replaces the oldest
   * of that address. Default 250.
   */
  readonly waitingPerAddress: number;
  /**
   * Messages and pings of one connection that the server handles per second. A client may send those of one second all
   * at once. Further messages and pings wait, and the server pauses reading from the connection. Default 5,000.
   */
  readonly requestsPerSecond: number;
  /**
   * Sweeps that all connections together may have under way at a time; watches do not count. A further sweep ends with
   * `limit-exceeded`. Default 2,048.
   */
  readonly sweeps: number;
  /**
   * Sweeps and watches at a time on one connection; a further sweep or watch ends with `limit-exceeded`. Default 32.
   */
  readonly sweepsPerClient: number;
  /**
   * Different queries that the watches of one connection add to the server; a query that another connection watches
   * already does not count. A query of named domains counts as 1/100 for each domain. A query with patterns counts as
   * 1/4 until its first sweep has ended, and then as 1/100, plus 1/100 for each domain that matches. A query of all
   * domains counts as 1, and no query counts more. Default 8.
   */
  readonly queriesPerClient: number;
  /**
   * Different queries that all clients together watch; the queries of clients with different visible domains are
   * counted separately. Each query counts as much as for `queriesPerClient`. Default 64.
   */
  readonly queries: number;
  /**
   * Channels at a time. A channel encodes one query for all watches that have the same interval, mode and profile,
   * except that two watches of one connection never share a channel. A watch that needs a further channel ends with
   * `limit-exceeded`. Default 1,024.
   */
  readonly channels: number;
  /**
   * Sweeps per second that all clients together may begin: single sweeps, and the first sweep of a watch that shares no
   * other watch's sweeps. A sweep of named domains counts as 1/100 for each domain, but at most as 1; any other sweep
   * counts as 1. Further sweeps wait. Default 20.
   */
  readonly sweepsPerSecond: number;
  /**
   * Different restrictions that the principals of all clients have at a time; the server refuses a client with a
   * further restriction, with the HTTP status 503 or the close code 4503. Viewers do not count. Default 256.
   */
  readonly views: number;
  /**
   * Domains that all sweeps and watches of one connection name at a time; a sweep or watch beyond the limit ends with
   * `limit-exceeded`. Default 16,384.
   */
  readonly selectorsPerClient: number;
  /**
   * As `selectorsPerClient`, but for all connections together; watches that share a channel count once. Default 32,768.
   */
  readonly selectors: number;
  /** High-water mark of a client's socket, in bytes: above it, the client's sweeps and watches pause. Default 1,048,576. */
  readonly bufferedBytes: number;
  /**
   * The limit for the high-water marks of all clients together, in bytes. The mark of each client is `bufferedBytes`,
   * or an equal share of this limit if the share is less. Default 268,435,456.
   */
  readonly bufferedBytesInAll: number;
  /**
   * Bytes of the messages that all channels together keep for clients that are late or come back. Beyond this limit,
   * the channel that keeps most drops its oldest messages, and clients that need these messages get a snapshot. Default
   * 268,435,456.
   */
  readonly ringBytes: number;
  /**
   * Records of all snapshots that are being sent. Beyond this limit, the channel with the most records in snapshots
   * other than its newest drops its oldest snapshot. The clients that read this snapshot get a newer one. Default
   * 1,048,576.
   */
  readonly snapshotRecords: number;
  /**
   * Timeout for each of these, in ms: a client's HTTP request, its hello, and the answer of `authenticate`. Default
   * 5,000.
   */
  readonly helloTimeoutMs: number;
  /**
   * How long a sweep waits for a client that takes nothing, in ms, before the sweep ends with `slow-consumer`. A watch
   * waits three of its intervals longer. Default 30,000.
   */
  readonly progressTimeoutMs: number;
  /** The shortest interval of a watch, in ms; the server refuses a shorter one. Default 1,000. */
  readonly minIntervalMs: number;
  /** The interval at which the server sends a message `beat` and a ping to each client, in ms. Default 5,000. */
  readonly beatMs: number;
}

/** The default limits of a server. */
export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  clients: 1_000,
  // Enough for 50 users behind one address, with five pages each.
  clientsPerAddress: 250,
  waiting: 1_000,
  waitingPerAddress: 250,
  requestsPerSecond: 5_000,
  // Each sweep keeps some hundred kB at most while its client reads nothing.
  sweeps: 2_048,
  sweepsPerClient: LIMITS.sweeps,
  queriesPerClient: 8,
  queries: 64,
  channels: 1_024,
  sweepsPerSecond: 20,
  views: 256,
  // A watched name that no domain has takes 2.3 kB of memory, together with the messages that its channel keeps; see
  // docs/decisions.md.
  selectorsPerClient: 16_384,
  selectors: 32_768,
  bufferedBytes: 1_048_576,
  bufferedBytesInAll: 268_435_456,
  ringBytes: 268_435_456,
  snapshotRecords: 1_048_576,
  helloTimeoutMs: HELLO_TIMEOUT_MS,
  progressTimeoutMs: PROGRESS_TIMEOUT_MS,
  // A sweep of a busy host takes a large part of a second, so shorter intervals are not allowed by default.
  minIntervalMs: 1_000,
  beatMs: BEAT_MS,
};

/**
 * The greatest value of most limits. A timer beyond 2^31 - 1 ms fires at once. The timeout of a watch is
 * `progressTimeoutMs` plus three intervals of the watch, and this sum must not exceed 2^31 - 1 ms, either.
 */
const MOST = 2_000_000_000;
const LIMIT_MEMBERS: Members = {
  ...Object.fromEntries(Object.keys(DEFAULT_SERVER_LIMITS).map((name) => [name, whole(1, MOST)])),
  beatMs: whole(1, MAX_BEAT_MS),
  minIntervalMs: whole(MIN_INTERVAL_MS, MAX_INTERVAL_MS),
};

/**
 * The limits, with the default for each absent limit.
 *
 * @throws VirstreamError `invalid-argument` for a limit that is not a whole number within its bounds
 */
export function checkLimits(limits: Partial<ServerLimits> = {}): ServerLimits {
  checkOptions("limits", limits, LIMIT_MEMBERS);
  const given = Object.entries(limits).filter(([, value]) => value !== undefined);
  return { ...DEFAULT_SERVER_LIMITS, ...Object.fromEntries(given) };
}
