import type { ConnectionOwner } from "./concurrency-limit.ts";

/**
 * `monitor`: the call needs a guest's monitor, so it may hang for as long as the guest is frozen. `free`: the call
 * needs no monitor.
 */
export type CallKind = "monitor" | "free";

/** A call that waits for a permit. */
export interface Ticket {
  /**
   * Identifies what the call asks for: the uuid of its domain, or another text such as `list`. Of all calls with the
   * same key and kind, at most one is in flight at a time.
   */
  readonly key: string;
  readonly kind: CallKind;
  /** True while the ticket waits in a queue. To take the ticket out of the queue, its owner sets this to false. */
  waiting: boolean;
}

/** Permission to send one call. */
export interface Permit {
  readonly key: string;
  readonly kind: CallKind;
  /** The number of the connection that the call goes out on. */
  readonly connection: number;
  /** The time at which the call becomes overdue, in ms on admission's clock. */
  readonly dueAt: number;
  /**
   * To be called when the daemon has answered. The function does nothing the second time, or if the permit belongs to
   * an orphan (see Admission).
   *
   * @param answers false if the answer does not show that the domain's monitor answers
   */
  release(answers?: boolean): void;
}

/** Sends the calls of a queue. */
export interface CallOwner {
  /** The ticket's turn has come: send its call now. */
  granted(ticket: Ticket, permit: Permit): void;
  /** Returns the time at which the ticket's call becomes overdue if it is sent now. */
  callDueAt(ticket: Ticket): number;
}

/** The methods of Admission that a queue calls. */
interface QueueKeeper {
  pump(): void;
  leave(queue: CallQueue): void;
}

/**
 * A queue of tickets, first in, first out. Each sweep has one queue, and a session has queues for the calls that belong
 * to no sweep. A waiting ticket can be cancelled. `Admission.join` makes a queue.
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

  /** Grants no ticket until `resume` is called, because the consumer takes the sweep's records too slowly. */
  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    this.#admission.pump();
  }

  /** Drops all waiting tickets. Permits that this queue already has stay valid until they are released. */
  close(): void {
    this.#closed = true;
    this.#admission.leave(this);
  }

  /**
   * @internal Removes and returns the next ticket of this kind; undefined when no ticket waits, or when the queue is
   * held or closed.
   */
  take(kind: CallKind): Ticket | undefined {
    return this.#held || this.#closed ? undefined : this.#tickets[kind].shift();
  }

  /**
   * @internal Sets a ticket aside while another queue's call with the same key is in flight. When that call is
   * answered, this ticket moves to the front of its queue.
   */
  park(ticket: Ticket): void {
    ticket.waiting = true;
    this.#parked.push(ticket);
  }

  /** @internal A call of this kind with this key was answered: queues the tickets that `park` has set aside for it. */
  unpark(kind: CallKind, key: string): void {
    if (this.#parked.length === 0) return;
    for (const ticket of this.#parked.splice(0)) {
      if (ticket.kind !== kind || ticket.key !== key) this.#parked.push(ticket);
      else this.#tickets[kind].unshift(ticket);
    }
  }
}

/** The tickets of one kind. The list moves an index instead of calling Array.shift, whose cost grows with the list. */
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
      // A cancelled ticket may wait again as the other kind, and is then in both lists. Only the list of its present
      // kind returns it.
      if (!ticket.waiting || ticket.kind !== this.#kind) continue;
      ticket.waiting = false;
      return ticket;
    }
  }
}
