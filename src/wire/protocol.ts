/**
 * All numbers and names of `virstream.v1`. PROTOCOL.md is the normative text; a test compares these tables with it.
 */

/**
 * The two subprotocols: rows in columns, as msgpack in binary messages; or records as JSON objects in text messages.
 */
export const SUBPROTOCOLS = ["virstream.v1", "virstream.v1.json"] as const;
/** The name of a subprotocol. */
export type Subprotocol = (typeof SUBPROTOCOLS)[number];

/**
 * The columns of a block before the columns of its parameters: the number, index, id, times and duration of each row.
 */
export const HeadColumn = {
  /** The domain's number in its channel, minus the row's position in the block. */
  number: 0,
  /**
   * The record's index, minus the row's position in the block; in a block of changes, minus the index of the domain's
   * previous record.
   */
  index: 1,
  /** The domain's id; absent in a block of changes. */
  id: 2,
  /** When the domain was sampled, in ms of wall time after the message's `at`. */
  time: 3,
  /**
   * The sampling time on the steady clock, in ms after the message's `at`, minus `time`. It is 0 unless the wall clock
   * was set between the message's `at` and the sampling.
   */
  step: 4,
  /** How long the hypervisor's answer took, in µs. */
  took: 5,
} as const;

/** How many columns come before the column of the first parameter. */
export const HEAD_COLUMNS = 6;

/** The width, in bytes, of a column that has float64 values instead of offsets. */
export const FLOAT = 8;

/**
 * If this bit of a width is set, a bit mask before the offsets marks the rows that have a value; the other rows have
 * the value 0.
 */
export const SPARSE = 16;

/** The WebSocket close codes of the protocol, by the reason for closing. */
export const CLOSE_CODES = {
  normal: 1000,
  "going-away": 1001,
  "too-big": 1009,
  "bad-message": 4400,
  unauthenticated: 4401,
  "wrong-subprotocol": 4406,
  "hello-timeout": 4408,
  "duplicate-id": 4409,
  "logged-out": 4419,
  "server-error": 4500,
  overloaded: 4503,
} as const;
/** The name of a close code. */
export type CloseReason = keyof typeof CLOSE_CODES;

/** Every limit of the protocol. A receiver refuses a message that exceeds a limit; it never truncates the message. */
export const LIMITS = {
  /** Bytes of a message from the server. */
  message: 33_554_432,
  /** Bytes of a message from the client. */
  request: 1_048_576,
  /** Bytes of a client's first message. */
  hello: 16_384,
  /** How deep a message's arrays and maps may nest. */
  depth: 8,
  /** Msgpack values in a message from the server. The keys of maps count, too. */
  values: 2_097_152,
  /** Rows of a block. */
  rows: 65_536,
  /** Rows times columns, summed over all blocks of a message. */
  cells: 1_048_576,
  /**
   * Characters of all texts of a message. A text counts once for each row that has it. But a text that all rows of a
   * block share counts once.
   */
  characters: 33_554_432,
  /** Schemas that a connection has at a time. */
  slots: 1_024,
  /** Characters of the keys of all schemas of a connection, and 32 more for each key. */
  schemaSize: 67_108_864,
  /** Sources of one watch that are not connected. */
  hosts: 65_536,
  /** Characters of the names of the sources that `hosts` counts, and of the messages of their errors. */
  hostCharacters: 16_777_216,
  /** Domains of a channel, whose numbers are all below this limit; also, records of a sweep. */
  domains: 4_194_304,
  /** Sweeps and watches under way on one connection. */
  sweeps: 32,
  /** Domains that a `get` or `watch` names. */
  selectors: 16_384,
  /** UTF-16 units of a domain's name in a `get` or `watch`. */
  name: 256,
  /** Patterns in each of the lists `names` and `hosts` of a `get` or `watch`. */
  patterns: 64,
  /** UTF-16 units of such a pattern. */
  pattern: 256,
  /** The largest initial credit and the largest balance, in bytes. */
  credit: 1_073_741_824,
  /** The largest id of a sweep or a watch, and the largest number of a channel. */
  id: 2_147_483_647,
} as const;

/** The credit that a client of this package grants for each sweep and watch by default, in bytes. */
export const DEFAULT_CREDIT = 1_048_576;

/** The timeout for a client's hello, in ms. */
export const HELLO_TIMEOUT_MS = 5_000;

/**
 * By default, the longest time in which the server sends nothing, in ms. A client closes the connection after a silence
 * that is two and a half times as long.
 */
export const BEAT_MS = 5_000;

/** The longest time between two beats that a server may be configured for, in ms. */
export const MAX_BEAT_MS = 3_600_000;

/**
 * How long a sweep waits for credit, or for the socket to take more, in ms. After this time, the server ends the sweep.
 */
export const PROGRESS_TIMEOUT_MS = 30_000;
