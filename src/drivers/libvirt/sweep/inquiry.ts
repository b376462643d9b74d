import type { CallKind, Ticket } from "./line.ts";
import type { Turn } from "./patience.ts";

/** One question to the daemon, from its place in line to its answer: about a domain, about several, or which there are. */
export abstract class Inquiry implements Ticket {
  /** What must not be asked twice at a time. */
  abstract readonly key: string;
  abstract readonly kind: CallKind;
  /** What it waits for. */
  abstract readonly turn: Turn;
  waiting = false;
  /** Counts what was asked and given up, so that an answer to an earlier question is known as late. */
  attempt = 0;
  /** When the call in flight is overdue. */
  dueAt = Number.POSITIVE_INFINITY;
  /** When it was last asked, in ms since 1970 and on the monotonic clock; 0 before. */
  sampledAt = 0;
  askedAt = 0;
}
