import { BEAT_MS, HELLO_TIMEOUT_MS, LIMITS, PROGRESS_TIMEOUT_MS } from "../wire/protocol.ts";

/** What a server allows. Every default is here. */
export interface ServerLimits {
  /** Connections at once; further ones are closed with 4503. */
  readonly clients: number;
  /** Sweeps under way on one connection; a further one ends with `limit-exceeded`. */
  readonly sweepsPerClient: number;
  /** Bytes that may wait in a socket before its sweeps pause. */
  readonly bufferedBytes: number;
  /** How long a client may take for its hello, in ms. */
  readonly helloTimeoutMs: number;
  /** How long a sweep waits for its reader, in ms, before it ends with `slow-consumer`. */
  readonly progressTimeoutMs: number;
  /** How often the server says something, and asks whether the client is alive, in ms. */
  readonly beatMs: number;
}

/** What a server allows unless it is told otherwise. */
export const DEFAULT_SERVER_LIMITS: ServerLimits = {
  clients: 1_000,
  sweepsPerClient: LIMITS.sweeps,
  bufferedBytes: 1_048_576,
  helloTimeoutMs: HELLO_TIMEOUT_MS,
  progressTimeoutMs: PROGRESS_TIMEOUT_MS,
  beatMs: BEAT_MS,
};
