/**
 * Who may ask the daemon for what, and when. Pure: no sockets, no timers, the clock is handed in.
 *
 * A call that needs a guest's monitor can hang for as long as the guest is frozen, and libvirt cannot take a call back:
 * it occupies a worker of the daemon until the guest answers. Of one connection the daemon handles five calls at a time
 * and then stops reading it altogether, including the answers to its own keepalives. So on each connection monitor calls
 * get four slots, and calls that need no monitor a lane of their own, which no frozen guest can block. A booking ends
 * when the daemon has really answered, not when its caller has lost patience; and while a domain's call is unanswered,
 * that domain is not asked the same again, however many sweeps come by.
 *
 * It outlives sweeps: one per driver. The sweeps that run share it by turns, one call each. What all its connections
 * together can occupy of the daemon's workers is their number times the slots; a budget over several drivers of one host
 * would be asked before a slot is granted.
 */

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
  /** The daemon has answered. To be called once; more often is harmless. */
  release(): void;
}

/** The sweep's side of its line. */
export interface Grantee {
  /** Its turn has come: the call goes out now. */
  granted(ticket: Ticket, booking: Booking): void;
  /** When a call that goes out now becomes overdue. */
  dueAt(ticket: Ticket): number;
}

/** How much it admits. */
export interface AdmissionOptions {
  /** Monitor calls in flight, per connection. Default 4. */
  readonly slots?: number;
  /** Calls in flight that need no monitor, beside the slots, per connection. Default 1. */
  readonly lanes?: number;
  /** Milliseconds on any clock that does not jump. */
  readonly now: () => number;
}

/** Where on a connection a call goes. */
type Place = "slot" | "lane";

/** Admits calls; see the top of this file for the rules. */
export class Admission {
  readonly #limits: Readonly<Record<Place, number>>;
  /** What is taken, per connection. */
  readonly #taken: Record<Place, number>[] = [{ slot: 0, lane: 0 }];
  readonly #now: () => number;
  readonly #lines: Line[] = [];
  readonly #bookings = { monitor: new Map<string, HeldBooking>(), free: new Map<string, HeldBooking>() };
  /** Tickets at whose turn their domain had a call in flight; they go first when it is answered. */
  readonly #parked = { monitor: new Map<string, ParkedTicket[]>(), free: new Map<string, ParkedTicket[]>() };
  #turn = 0;
  #granting = false;
  #changed = false;

  constructor({ slots = 4, lanes = 1, now }: AdmissionOptions) {
    this.#limits = { slot: slots, lane: lanes };
    this.#now = now;
  }

  /** There is another connection. Gives its number; the first is 0 and is there from the beginning. */
  addConnection(): number {
    this.#taken.push({ slot: 0, lane: 0 });
    this.pump();
    return this.#taken.length - 1;
  }

  /** How many monitor calls can be in flight, over all connections. */
  get slots(): number {
    return this.#limits.slot * this.#taken.length;
  }

  /** Opens a line for a sweep. */
  join(grantee: Grantee): Line {
    const line = new Line(this, grantee);
    this.#lines.push(line);
    return line;
  }

  /** How many calls of a kind are unanswered. */
  inFlight(kind: CallKind): number {
    return this.#bookings[kind].size;
  }

  /** Whether the domain has a call of this kind unanswered. */
  isBooked(key: string, kind: CallKind): boolean {
    return this.#bookings[kind].has(key);
  }

  /** Whether the domain's call of this kind is overdue: asking it again would only take another worker. */
  isQuarantined(key: string, kind: CallKind): boolean {
    const booking = this.#bookings[kind].get(key);
    return booking !== undefined && booking.dueAt <= this.#now();
  }

  /**
   * From when on nothing but overdue calls holds the slots, if none is answered before; Infinity while a slot is free.
   * Once that time has come, waiting for a slot is waiting for a frozen guest.
   */
  get exhaustedAt(): number {
    if (this.#roomiest("slot") !== undefined) return Number.POSITIVE_INFINITY;
    let latest = Number.NEGATIVE_INFINITY;
    for (const bookings of [this.#bookings.monitor, this.#bookings.free]) {
      for (const booking of bookings.values()) if (booking.place === "slot") latest = Math.max(latest, booking.dueAt);
    }
    return latest;
  }

  /** Hands out what is free. Called by lines when something may have changed. */
  pump(): void {
    // A grant may bring about the next change before it returns: the loop that runs already sees to it.
    this.#changed = true;
    if (this.#granting) return;
    this.#granting = true;
    try {
      while (this.#changed) {
        this.#changed = false;
        while (this.#grant("free", "lane"));
        while (this.#grant("monitor", "slot"));
        // Slots that no monitor call waits for may as well serve the others.
        while (this.#grant("free", "slot"));
      }
    } finally {
      this.#granting = false;
    }
  }

  /** @internal */
  leave(line: Line): void {
    const at = this.#lines.indexOf(line);
    if (at < 0) return;
    this.#lines.splice(at, 1);
    if (at < this.#turn) this.#turn--;
  }

  /** Grants one call to the next line in turn that has one waiting. */
  #grant(kind: CallKind, place: Place): boolean {
    const connection = this.#roomiest(place);
    if (connection === undefined) return false;
    for (let tried = 0; tried < this.#lines.length; tried++) {
      const at = (this.#turn + tried) % this.#lines.length;
      const line = this.#lines[at]!;
      const ticket = this.#nextOf(line, kind);
      if (ticket === undefined) continue;
      this.#turn = at + 1;
      const dueAt = line.grantee.dueAt(ticket);
      const booking = new HeldBooking(ticket.key, kind, connection, place, dueAt, (held) => this.#release(held));
      this.#taken[connection]![place]++;
      this.#bookings[kind].set(ticket.key, booking);
      line.grantee.granted(ticket, booking);
      return true;
    }
    return false;
  }

  /** The connection with the most room, so that the load is spread; undefined when all are full. */
  #roomiest(place: Place): number | undefined {
    let best: number | undefined;
    let least = this.#limits[place];
    for (let i = 0; i < this.#taken.length; i++) {
      const taken = this.#taken[i]![place];
      if (taken >= least) continue;
      least = taken;
      best = i;
    }
    return best;
  }

  #nextOf(line: Line, kind: CallKind): Ticket | undefined {
    for (let ticket = line.take(kind); ticket !== undefined; ticket = line.take(kind)) {
      if (!this.#bookings[kind].has(ticket.key)) return ticket;
      // Another sweep's call to this domain is in flight and may be answered any moment. Others go first.
      ticket.waiting = true;
      const parked = this.#parked[kind].get(ticket.key);
      if (parked === undefined) this.#parked[kind].set(ticket.key, [{ line, ticket }]);
      else parked.push({ line, ticket });
    }
    return undefined;
  }

  #release(booking: HeldBooking): void {
    const { key, kind } = booking;
    if (this.#bookings[kind].get(key) !== booking) return;
    this.#bookings[kind].delete(key);
    this.#taken[booking.connection]![booking.place]--;
    const parked = this.#parked[kind].get(key);
    if (parked !== undefined) {
      this.#parked[kind].delete(key);
      for (const { line, ticket } of parked) if (ticket.waiting) line.putBack(ticket);
    }
    this.pump();
  }
}

/** One sweep's line: first in, first out, with cancelling. */
export class Line {
  readonly grantee: Grantee;
  readonly #admission: Admission;
  readonly #queues = { monitor: new TicketQueue(), free: new TicketQueue() };
  #held = false;
  #closed = false;

  /** Use `Admission.join`. */
  constructor(admission: Admission, grantee: Grantee) {
    this.#admission = admission;
    this.grantee = grantee;
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

interface ParkedTicket {
  readonly line: Line;
  readonly ticket: Ticket;
}

class HeldBooking implements Booking {
  readonly key: string;
  readonly kind: CallKind;
  readonly connection: number;
  readonly place: Place;
  readonly dueAt: number;
  readonly #release: (booking: HeldBooking) => void;

  constructor(
    key: string,
    kind: CallKind,
    connection: number,
    place: Place,
    dueAt: number,
    release: (booking: HeldBooking) => void,
  ) {
    this.key = key;
    this.kind = kind;
    this.connection = connection;
    this.place = place;
    this.dueAt = dueAt;
    this.#release = release;
  }

  release(): void {
    this.#release(this);
  }
}

/** A queue with an index in place of shift(), so that thousands of tickets cost what one costs. */
class TicketQueue {
  readonly #tickets: Ticket[] = [];
  #head = 0;
  readonly #front: Ticket[] = [];

  push(ticket: Ticket): void {
    ticket.waiting = true;
    this.#tickets.push(ticket);
  }

  unshift(ticket: Ticket): void {
    this.#front.push(ticket);
  }

  shift(): Ticket | undefined {
    for (let ticket = this.#next(); ticket !== undefined; ticket = this.#next()) {
      if (!ticket.waiting) continue;
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
