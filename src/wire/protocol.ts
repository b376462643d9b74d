/**
 * The vocabulary of `virstream.v1`: the one place that knows the numbers. PROTOCOL.md is the normative text; a test
 * holds these tables against it.
 */

/** The two subprotocols: the same arrays, as msgpack in binary messages or as JSON in text messages. */
export const SUBPROTOCOLS = ["virstream.v1", "virstream.v1.json"] as const;
/** One of them. */
export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/** The first item of each message from the server. From 64 on, a receiver ignores the types that it does not know. */
export const MessageType = {
  welcome: 1,
  schema: 2,
  host: 3,
  sweep: 4,
  records: 5,
  end: 6,
  piece: 7,
  beat: 8,
  position: 9,
  state: 10,
  current: 11,
  changes: 12,
  gone: 13,
  sync: 14,
  status: 15,
  gap: 16,
} as const;

/** Types from here on may be ignored by those who do not know them. */
export const FIRST_IGNORABLE_TYPE = 64;

/** Items of a record's row before its values. */
export const ROW_HEAD = 9;
/** Items of a full row of a watch before its values. */
export const WATCH_ROW_HEAD = 10;
/** Items of a row of changes before its mask. */
export const CHANGES_HEAD = 4;

/** The codes that close a connection. */
export const CLOSE_CODES = {
  normal: 1000,
  "going-away": 1001,
  "too-big": 1009,
  "bad-message": 4400,
  unauthenticated: 4401,
  forbidden: 4403,
  "wrong-subprotocol": 4406,
  "hello-timeout": 4408,
  "duplicate-id": 4409,
  "server-error": 4500,
  overloaded: 4503,
  "slow-consumer": 4508,
} as const;
/** A close code by name. */
export type CloseReason = keyof typeof CLOSE_CODES;

/** Every limit of the protocol. A message beyond one is refused, never cut silently. */
export const LIMITS = {
  /** Bytes of a WebSocket message from the server; a larger one travels in pieces. */
  message: 262_144,
  /** Bytes of a message joined from pieces. */
  joinedMessage: 134_217_728,
  /** Bytes of a message from the client. */
  request: 1_048_576,
  /** Bytes of a client's first message. */
  hello: 16_384,
  /** How deep a message's arrays and maps may nest. */
  depth: 8,
  /** Schemas that stay valid on a connection: the newest so many. */
  schemas: 1_024,
  /** Keys of all those schemas together; the newest schema is valid whatever its size. */
  schemaKeys: 1_048_576,
  /** Hosts that can be numbered on a connection. */
  hosts: 65_536,
  /** Numbers of domains in a channel. */
  domains: 4_194_304,
  /** Sweeps and watches under way on one connection. */
  sweeps: 32,
  /** Initial credit that a client may give, and the most that may be outstanding, in bytes. */
  credit: 1_073_741_824,
  /** The largest id of a sweep. */
  id: 2_147_483_647,
} as const;

/** The credit that a client gives unless it has a reason, in bytes. */
export const DEFAULT_CREDIT = 1_048_576;

/** How long a client may take for its hello, in ms. */
export const HELLO_TIMEOUT_MS = 5_000;

/** The server sends something at least this often, in ms; a client gives up after two and a half times as long. */
export const BEAT_MS = 5_000;

/** How long a sweep waits for credit, or for the socket to take more, in ms. */
export const PROGRESS_TIMEOUT_MS = 30_000;
