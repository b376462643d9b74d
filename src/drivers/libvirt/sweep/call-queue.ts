import type { ConnectionOwner } from "./concurrency-limit.ts";

/** `monitor`: the call may hang for as long as its guest is frozen. `free`: the call needs no monitor. */
export type CallKind = "monitor" | "free";

/** A call that waits for a permit. */
export interface Ticket {
  /**
   * The domain's uuid, or a text that identifies another call. At most one call of each kind with this key is in flight
   * at a time.
   */
  readonly key: string;
  readonly kind: CallKind;
  /** Set by `CallQueue.wait`, cleared when the ticket is granted. Clear it to take the ticket out of the queue. */
  waiting: boolean;
}

/** Permission to send one call. */
export interface Permit {
  readonly key: string;
  readonly kind: CallKind;
  /** The number of the connection that the call goes out on. */
  readonly connection: number;
  /** When the call becomes overdue, on admission's clock. */
  readonly dueAt: number;
  /**
   * To be called when the daemon has answered. It does nothing the second time, or if the permit's call is an orphan
   * (see Admission).
   *
   * @param answers false if the answer does not show that the domain's monitor answers
   */
  release(answers?: boolean): void;
}

/** Sends the calls of a queue. */
export interface CallOwner {
  /** The ticket's turn has come: send its call now. */
  granted(ticket: Ticket, permit: Permit): void;
  /** When a call that is sent now becomes overdue. */
  callDueAt(ticket: Ticket): number;
}

/** The methods of Admission that a queue calls. */
interface QueueKeeper {
  pump(): void;
  leave(queue: CallQueue): void;
}

/**
 * The tickets of one sweep, or of a session's other calls: first in, first out. A waiting ticket can be cancelled.
 * `Admission.join` makes a queue.
 */
export class CallQueue {
  readonly owner: CallOwner;
  readonly connectionOwner: ConnectionOwner;
  readonly #admission: QueueKeeper;
  readonly #tickets = { monitor: new TicketList("monitor"), free: new TicketList("free") };
  readonly #parked: Ticket[] = [];
  #held = false;
  #closed = false;

  /** @internal */
  constructor(admission: QueueKeeper, owner: CallOwner, connectionOwner: ConnectionOwner) {
    this.#admission = admission;
    this.owner = owner;
    this.connectionOwner = connectionOwner;
  }

  /** Appends tickets. */
  wait(tickets: readonly Ticket[]): void {
    if (this.#closed) return;
    for (const ticket of tickets) this.#tickets[ticket.kind].push(ticket);
    this.#admission.pump();
  }

  /** Stops granting until `resume`, because the consumer takes records too slowly. */
  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    this.#admission.pump();
  }

  /** Drops all tickets. Permits last until they are released. */
  close(): void {
    this.#closed = true;
    this.#admission.leave(this);
  }

  /** @internal Takes out the next ticket; undefined when none may be granted. */
  take(kind: CallKind): Ticket | undefined {
    return this.#held || this.#closed ? undefined : this.#tickets[kind].shift();
  }

  /**
   * @internal Sets a ticket aside while another queue's call with the same key is in flight. When that call is
   * answered, this ticket goes first.
   */
  park(ticket: Ticket): void {
    ticket.waiting = true;
    this.#parked.push(ticket);
  }

  /** @internal The call for which `park` set a ticket aside was answered. */
  unpark(kind: CallKind, key: string): void {
    if (this.#parked.length === 0) return;
    for (const ticket of this.#parked.splice(0)) {
      if (ticket.kind !== kind || ticket.key !== key) this.#parked.push(ticket);
      else this.#tickets[kind].unshift(ticket);
    }
  }
}

/** Tickets of one kind. It moves an index instead of calling Array.shift, whose cost grows with the length. */
class TicketList {
  readonly #kind: CallKind;
  readonly #tickets: Ticket[] = [];
  #head = 0;

  constructor(kind: CallKind) {
    this.#kind = kind;
  }

  push(ticket: Ticket): void {
    ticket.waiting = true;
    this.#tickets.push(ticket);
  }

  unshift(ticket: Ticket): void {
    if (this.#head > 0) this.#tickets[--this.#head] = ticket;
    else this.#tickets.unshift(ticket);
  }

  shift(): Ticket | undefined {
    for (;;) {
      const ticket = this.#tickets[this.#head++];
      if (ticket === undefined || this.#head >= 1_024) {
        this.#tickets.splice(0, this.#head);
        this.#head = 0;
      }
      if (ticket === undefined) return undefined;
      // A cancelled ticket may wait again as the other kind, and is then in both lists.
      if (!ticket.waiting || ticket.kind !== this.#kind) continue;
      ticket.waiting = false;
      return ticket;
    }
  }
}
