import type { Prover } from "./width.ts";

/** `monitor`: may hang in a frozen guest. `free`: needs no monitor. */
export type CallKind = "monitor" | "free";

/** A domain's place in a sweep's line. Made by the sweep; the rest is admission's. */
export interface Ticket {
  /** What must not be asked twice at a time: the domain's uuid. */
  readonly key: string;
  readonly kind: CallKind;
  /** Cleared when it is granted or cancelled. */
  waiting: boolean;
}

/** Leave for one call. */
export interface Booking {
  readonly key: string;
  readonly kind: CallKind;
  /** Which connection it goes out on, by number. */
  readonly connection: number;
  /** From when on the call counts as overdue, on admission's clock. */
  readonly dueAt: number;
  /** The daemon has answered. To be called once; more often is harmless, and so is calling it for an orphan. */
  release(): void;
}

/** The sweep's side of its line. */
export interface Grantee {
  /** Its turn has come: the call goes out now. */
  granted(ticket: Ticket, booking: Booking): void;
  /** When a call that goes out now becomes overdue. */
  callDueAt(ticket: Ticket): number;
}

/** Admission, as a line sees it. */
export interface LineKeeper {
  /** Something may have changed: hands out what is free. */
  pump(): void;
  /** The line is closed. */
  leave(line: Line): void;
}

/** One sweep's line: first in, first out, with cancelling. */
export class Line {
  readonly grantee: Grantee;
  readonly owner: Prover;
  readonly #admission: LineKeeper;
  readonly #queues = { monitor: new TicketQueue("monitor"), free: new TicketQueue("free") };
  #held = false;
  #closed = false;

  /** Use `Admission.join`. */
  constructor(admission: LineKeeper, grantee: Grantee, owner: Prover) {
    this.#admission = admission;
    this.grantee = grantee;
    this.owner = owner;
  }

  /** Puts tickets at the end of the line. */
  wait(tickets: readonly Ticket[]): void {
    if (this.#closed) return;
    for (const ticket of tickets) this.#queues[ticket.kind].push(ticket);
    this.#admission.pump();
  }

  /** Takes a ticket out of the line, wherever it is. */
  cancel(ticket: Ticket): void {
    ticket.waiting = false;
  }

  /** Grants nothing until `go`: the consumer is behind. */
  hold(): void {
    this.#held = true;
  }

  go(): void {
    this.#held = false;
    this.#admission.pump();
  }

  /** Whether it was closed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Forgets all who wait. Bookings stay until they are released. */
  close(): void {
    this.#closed = true;
    this.#admission.leave(this);
  }

  /** @internal The next ticket, taken out; undefined when none may go. */
  take(kind: CallKind): Ticket | undefined {
    return this.#held || this.#closed ? undefined : this.#queues[kind].shift();
  }

  /** @internal Puts a ticket to the front. */
  putBack(ticket: Ticket): void {
    if (!this.#closed) this.#queues[ticket.kind].unshift(ticket);
  }
}

/** A queue with an index in place of shift(), so that thousands of tickets cost what one costs. */
class TicketQueue {
  readonly #kind: CallKind;
  readonly #tickets: Ticket[] = [];
  #head = 0;
  readonly #front: Ticket[] = [];

  constructor(kind: CallKind) {
    this.#kind = kind;
  }

  push(ticket: Ticket): void {
    ticket.waiting = true;
    this.#tickets.push(ticket);
  }

  unshift(ticket: Ticket): void {
    this.#front.push(ticket);
  }

  shift(): Ticket | undefined {
    for (let ticket = this.#next(); ticket !== undefined; ticket = this.#next()) {
      // A ticket that was cancelled may wait again as another kind, in the other queue.
      if (!ticket.waiting || ticket.kind !== this.#kind) continue;
      ticket.waiting = false;
      return ticket;
    }
    return undefined;
  }

  #next(): Ticket | undefined {
    if (this.#front.length > 0) return this.#front.pop();
    const ticket = this.#tickets[this.#head];
    if (ticket === undefined) return undefined;
    this.#head++;
    if (this.#head >= 1_024 || this.#head === this.#tickets.length) {
      this.#tickets.splice(0, this.#head);
      this.#head = 0;
    }
    return ticket;
  }
}
