import { entryOf } from "../../driver/memo.ts";
import type { Kind } from "../../model/options.ts";

/** The events that a server logs, each with its level. docs/operating.md explains them. */
export const SERVER_EVENTS = {
  "client-connected": "debug",
  "client-disconnected": "debug",
  request: "trace",
  "token-refused": "warn",
  "client-refused": "warn",
  "limit-exceeded": "warn",
  "slow-consumer": "warn",
  "authenticate-failed": "error",
  suppressed: "warn",
} as const satisfies Record<string, keyof ServerLog>;

/** The name of an event that a server logs. */
export type ServerEvent = keyof typeof SERVER_EVENTS;

/** The fields of an event besides its message. Later versions may add events and fields. */
export interface ServerLogFields {
  readonly event: ServerEvent;
  readonly [field: string]: string | number | undefined;
}

/**
 * The log of a server: a logger of pino, such as Fastify's, or the console, or any object with these methods. Messages
 * are single sentences in English. Messages and fields may contain names from outside, with any characters, but never
 * tokens.
 */
export interface ServerLog {
  /** The requests of each client. */
  trace(fields: ServerLogFields, message: string): void;
  /** Clients that connect and leave. */
  debug(fields: ServerLogFields, message: string): void;
  /** No event has this level yet. */
  info(fields: ServerLogFields, message: string): void;
  /** Clients that are refused, limits that are exceeded, and clients that read too slowly. */
  warn(fields: ServerLogFields, message: string): void;
  /** Failures of functions that the application has given to the server. */
  error(fields: ServerLogFields, message: string): void;
}

/** The words for a client in a line of the log: the name of its principal, if it has one, and its address. */
export function nameOf(address: string, principal: string | undefined): string {
  return principal ? `${principal} at ${address}` : address;
}

const METHODS = ["trace", "debug", "info", "warn", "error"] as const satisfies readonly (keyof ServerLog)[];
/** How checkOptions checks the option `log`. */
export const LOG: Kind = [
  `an object with the functions ${METHODS.join(", ")}`,
  (value) => METHODS.every((name) => typeof (value as Partial<ServerLog> | null)?.[name] === "function"),
];

/** The most events of one kind that are logged in WINDOW_MS. Events of the levels debug and trace are always logged. */
const MOST = 10;
const WINDOW_MS = 60_000;

/**
 * Logs the events of a server. It logs at most MOST events of each kind with the level warn or error in a time window,
 * because clients can cause such events at will. Further events of the kind are only counted, and at the end of the
 * window one line gives their number.
 */
export class EventLog {
  readonly #log: ServerLog | undefined;
  /** How many events of each limited kind there were in the present time window of this kind. */
  readonly #counts = new Map<ServerEvent, { count: number; readonly since: number; readonly timer: NodeJS.Timeout }>();

  constructor(log: ServerLog | undefined) {
    this.#log = log;
  }

  say(event: ServerEvent, fields: Omit<ServerLogFields, "event">, message: string): void {
    if (this.#log === undefined) return;
    const level = SERVER_EVENTS[event];
    if ((level === "warn" || level === "error") && this.#count(event) > MOST) return;
    this.#log[level]({ event, ...fields }, message);
  }

  /** Ends all time windows now: logs how many events were only counted. */
  close(): void {
    for (const event of [...this.#counts.keys()]) this.#end(event);
  }

  #count(event: ServerEvent): number {
    const counted = entryOf(this.#counts, event, () => {
      const timer = setTimeout(() => this.#end(event), WINDOW_MS).unref();
      return { count: 0, since: performance.now(), timer };
    });
    return ++counted.count;
  }

  #end(of: ServerEvent): void {
    const { count, since, timer } = this.#counts.get(of)!;
    clearTimeout(timer);
    this.#counts.delete(of);
    if (count <= MOST) return;
    const more = count - MOST;
    const overMs = Math.round(performance.now() - since);
    this.#log?.[SERVER_EVENTS.suppressed](
      { event: "suppressed", of, count: more, overMs },
      `${more} more of the event ${of} within ${Math.ceil(overMs / 1_000)} s have no line of their own`,
    );
  }
}
