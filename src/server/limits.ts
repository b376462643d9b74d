import { checkMembers, VirstreamError } from "../model/error.ts";
import { BEAT_MS, HELLO_TIMEOUT_MS, LIMITS, PROGRESS_TIMEOUT_MS } from "../wire/protocol.ts";

/** What a server allows. Every default is here. */
export interface ServerLimits {
  /** Connections at once; further ones are closed with 4503. */
  readonly clients: number;
  /** Sweeps and watches under way on one connection; a further one ends with `limit-exceeded`. */
  readonly sweepsPerClient: number;
  /** Bytes that may wait in a socket before its sweeps and watches pause. */
  readonly bufferedBytes: number;
  /** How long a client may take for its hello, in ms. */
  readonly helloTimeoutMs: number;
  /** How long a sweep waits for its reader, in ms, before it ends with `slow-consumer`; a watch: three intervals more. */
  readonly progressTimeoutMs: number;
  /** The shortest interval that a watch may ask for, in ms; a shorter one is refused. */
  readonly minIntervalMs: number;
  /** How often the server says something, and asks whether the client is alive, in ms. */
  readonly beatMs: number;
}

/** A watch's shortest interval unless a server says otherwise, in ms: a sweep of a busy host takes a good part of it. */
const MIN_SERVED_INTERVAL_MS = 1_000;

/** What a server allows unless it is told otherwise. */
export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  clients: 1_000,
  sweepsPerClient: LIMITS.sweeps,
  bufferedBytes: 1_048_576,
  helloTimeoutMs: HELLO_TIMEOUT_MS,
  progressTimeoutMs: PROGRESS_TIMEOUT_MS,
  minIntervalMs: MIN_SERVED_INTERVAL_MS,
  beatMs: BEAT_MS,
};

/** Beyond 2^31 - 1 ms timers fire at once; a watch's is three intervals longer than its limit. */
const MOST = 2_000_000_000;
/** What the protocol allows. */
const MOST_BEAT_MS = 3_600_000;

/**
 * The limits with the defaults for those that are left out.
 *
 * @throws VirstreamError `invalid-argument` for what is no whole number from 1 on, or too large for a timer
 */
export function checkLimits(limits: Partial<ServerLimits> = {}): ServerLimits {
  checkMembers(limits, Object.keys(DEFAULT_SERVER_LIMITS), "limits");
  const all = { ...DEFAULT_SERVER_LIMITS, ...limits };
  for (const [name, value] of Object.entries(all)) {
    const most = name === "beatMs" ? MOST_BEAT_MS : MOST;
    if (Number.isInteger(value) && value >= 1 && value <= most) continue;
    throw new VirstreamError(
      "invalid-argument",
      `the limit ${name} must be a whole number from 1 to ${most}, not ${String(value)}`,
    );
  }
  return all;
}
