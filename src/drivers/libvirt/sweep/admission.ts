import { type Booking, type CallKind, type Grantee, Line, type LineKeeper, type Ticket } from "./line.ts";
import { type Prover, Width } from "./width.ts";

/**
 * Who may ask a daemon for what, and when. Pure: no sockets, no timers, the clock is handed in.
 *
 * A call that needs a guest's monitor can hang for as long as the guest is frozen, and libvirt cannot take a call back:
 * it occupies a worker of the daemon until the guest answers, and the daemon has 20 for everyone. Of one connection the
 * daemon handles five calls at a time and then stops reading it altogether, including the answers to its own keepalives.
 * So on each connection monitor calls get four slots, and calls that need no monitor a lane of their own, which no frozen
 * guest can block; and over all connections to one host no more than eight monitor calls are unanswered at any time. A
 * booking ends when the daemon has really answered, not when its caller has lost patience; and while a domain's call is
 * unanswered, that domain is not asked the same again, however many sweeps come by.
 *
 * Those eight are not sent at once either, see Width.
 *
 * When a connection ends, its calls do not: their workers stay where they are. Such a call is an orphan. It counts, and
 * keeps its domain in quarantine, until somebody has seen that the domain's monitor is free again.
 *
 * There is one admission per host and process, so that this holds for all who ask in it. The sweeps that run share it by
 * turns, one call each; each goes out on connections of its own owner.
 */

/** How much it admits. */
export interface AdmissionOptions {
  /** Monitor calls in flight, per connection. Default 4. */
  readonly slots?: number;
  /** Calls in flight that need no monitor, beside the slots, per connection. Default 1. */
  readonly lanes?: number;
  /** Monitor calls in flight, over all connections. Default 8. */
  readonly budget?: number;
  /** How many of them need no proof that the daemon has the workers. Default 4: it begins with five. */
  readonly width?: number;
  /** Milliseconds on any clock that does not jump. */
  readonly now: () => number;
}

/** Where on a connection a call goes. */
type Place = "slot" | "lane";

interface Connection {
  readonly owner: Prover;
  readonly taken: Record<Place, number>;
}

/** So many domains are remembered as trusted; beyond that, all are forgotten and seen to anew. */
const TRUSTED_MAX = 100_000;

/** Admits calls; see the top of this file for the rules. */
export class Admission implements LineKeeper {
  readonly #limits: Readonly<Record<Place, number>>;
  readonly #budget: number;
  readonly #width: Width;
  readonly #connections = new Map<number, Connection>();
  #numbers = 0;
  readonly #now: () => number;
  readonly #lines: Line[] = [];
  readonly #bookings = { monitor: new Map<string, HeldBooking>(), free: new Map<string, HeldBooking>() };
  /** Tickets at whose turn their domain had a call in flight; they go first when it is answered. */
  readonly #parked = { monitor: new Map<string, ParkedTicket[]>(), free: new Map<string, ParkedTicket[]>() };
  readonly #trusted = new Set<string>();
  #turn = 0;
  #granting = false;
  #changed = false;

  constructor({ slots = 4, lanes = 1, budget = 8, width = 4, now }: AdmissionOptions) {
    this.#limits = { slot: slots, lane: lanes };
    this.#budget = budget;
    this.#width = new Width(width, budget, () => this.pump());
    this.#now = now;
  }

  /**
   * There is another connection. Gives its number.
   *
   * @param owner whose lines it serves
   * @param ready called with the number before anything is granted on it
   */
  addConnection(owner: Prover, ready?: (number: number) => void): number {
    const number = this.#numbers++;
    this.#connections.set(number, { owner, taken: { slot: 0, lane: 0 } });
    ready?.(number);
    this.pump();
    return number;
  }

  /** Connections have ended. Their unanswered monitor calls are orphans from now on; no domain is trusted any more. */
  removeConnections(numbers: readonly number[]): void {
    const ended = new Set(numbers.filter((number) => this.#connections.delete(number)));
    if (ended.size === 0) return;
    this.#trusted.clear();
    // While another connection lives, so does the daemon.
    if (this.#connections.size === 0) this.#width.reset();
    for (const booking of this.#bookings.monitor.values()) if (ended.has(booking.connection)) booking.orphan = true;
    for (const booking of [...this.#bookings.free.values()]) if (ended.has(booking.connection)) this.#release(booking);
  }

  /** The domains with orphaned calls. */
  get orphans(): string[] {
    return [...this.#bookings.monitor.values()].filter(({ orphan }) => orphan).map(({ key }) => key);
  }

  /** The domain's monitor was seen to be free: its orphaned call, if it has one, has been answered. */
  adopt(key: string): void {
    const booking = this.#bookings.monitor.get(key);
    if (!booking?.orphan) return;
    // What was proven behind an orphan may not hold without it: the daemon may be another one, with a small pool.
    this.#width.reset();
    this.#release(booking);
  }

  /** Whether nobody uses it, and it remembers nothing that matters. */
  get idle(): boolean {
    return this.#connections.size === 0 && this.#bookings.monitor.size === 0;
  }

  /** How many monitor calls an owner can have in flight. */
  slotsOf(owner: Prover): number {
    let slots = 0;
    for (const connection of this.#connections.values()) if (connection.owner === owner) slots += this.#limits.slot;
    return Math.min(slots, this.#budget);
  }

  /**
   * Whether the domain's monitor has answered before, on a connection that still lives, so that it may well be asked. Of
   * any other domain it is not known whether its monitor hangs already, in a call of somebody else.
   */
  isTrusted(key: string): boolean {
    return this.#trusted.has(key);
  }

  /** The domain's monitor may be another one now, or has been seen to be busy. */
  distrust(key: string): void {
    this.#trusted.delete(key);
  }

  /**
   * Opens a line for a sweep.
   *
   * @param owner whose connections its calls go out on
   */
  join(grantee: Grantee, owner: Prover): Line {
    const line = new Line(this, grantee, owner);
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

  /** For how long a call of this kind has been unanswered, in ms; 0 where there is none. */
  unansweredFor(key: string, kind: CallKind): number {
    const booking = this.#bookings[kind].get(key);
    return booking === undefined ? 0 : this.#now() - booking.grantedAt;
  }

  /** Whether the domain's call of this kind is overdue: asking it again would only take another worker. */
  isQuarantined(key: string, kind: CallKind): boolean {
    const booking = this.#bookings[kind].get(key);
    return booking !== undefined && (booking.orphan || booking.dueAt <= this.#now());
  }

  /**
   * From when on nothing but overdue calls keeps this owner's monitor calls waiting, if none is answered before; Infinity
   * while one could go out. Once that time has come, waiting is waiting for a frozen guest.
   */
  exhaustedAt(owner: Prover): number {
    const spent = this.#spent;
    if (this.#width.proving) return Number.POSITIVE_INFINITY;
    if (!spent && this.#roomiest(owner, "slot") !== undefined) return Number.POSITIVE_INFINITY;
    let latest = Number.NEGATIVE_INFINITY;
    for (const bookings of [this.#bookings.monitor, this.#bookings.free]) {
      for (const { kind, place, connection, dueAt, orphan } of bookings.values()) {
        if (orphan) continue;
        const inTheWay = spent
          ? kind === "monitor"
          : place === "slot" && this.#connections.get(connection)?.owner === owner;
        if (inTheWay) latest = Math.max(latest, dueAt);
      }
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
        this.#seekProof();
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

  get #spent(): boolean {
    return this.#bookings.monitor.size >= this.#width.calls;
  }

  /** Whoever has the latest connection proves that there is a free worker. */
  #seekProof(): void {
    const { monitor } = this.#bookings;
    if (monitor.size < this.#width.calls) return;
    const prover = [...this.#connections.values()].at(-1)?.owner;
    this.#width.seek([...monitor.values()], (booking) => monitor.get(booking.key) === booking, this.#now(), prover);
  }

  /** Grants one call to the next line in turn that has one waiting and a connection for it. */
  #grant(kind: CallKind, place: Place): boolean {
    if (kind === "monitor" && this.#spent) return false;
    for (let tried = 0; tried < this.#lines.length; tried++) {
      const at = (this.#turn + tried) % this.#lines.length;
      const line = this.#lines[at]!;
      const connection = this.#roomiest(line.owner, place);
      if (connection === undefined) continue;
      const ticket = this.#nextOf(line, kind);
      if (ticket === undefined) continue;
      this.#turn = at + 1;
      const dueAt = line.grantee.callDueAt(ticket);
      const booking = new HeldBooking(ticket.key, kind, connection, place, this.#now(), dueAt, (held) => {
        if (!held.orphan) this.#release(held);
      });
      this.#connections.get(connection)!.taken[place]++;
      this.#bookings[kind].set(ticket.key, booking);
      line.grantee.granted(ticket, booking);
      return true;
    }
    return false;
  }

  /** The owner's connection with the most room, so that the load is spread; undefined when all are full. */
  #roomiest(owner: Prover, place: Place): number | undefined {
    let best: number | undefined;
    let least = this.#limits[place];
    for (const [number, connection] of this.#connections) {
      const taken = connection.taken[place];
      if (connection.owner !== owner || taken >= least) continue;
      least = taken;
      best = number;
    }
    return best;
  }

  #nextOf(line: Line, kind: CallKind): Ticket | undefined {
    for (let ticket = line.take(kind); ticket !== undefined; ticket = line.take(kind)) {
      if (!this.#bookings[kind].has(ticket.key)) return ticket;
      // Another sweep's call to this domain is in flight and may be answered any moment. Others go first.
      ticket.waiting = true;
      // Those who have given up meanwhile are forgotten here: a call that hangs for hours must not keep their sweeps.
      const parked = (this.#parked[kind].get(ticket.key) ?? []).filter(
        (other) => other.ticket.waiting && !other.line.closed,
      );
      parked.push({ line, ticket });
      this.#parked[kind].set(ticket.key, parked);
    }
    return undefined;
  }

  #release(booking: HeldBooking): void {
    const { key, kind } = booking;
    if (this.#bookings[kind].get(key) !== booking) return;
    this.#bookings[kind].delete(key);
    const connection = this.#connections.get(booking.connection);
    if (connection !== undefined) connection.taken[booking.place]--;
    if (kind === "monitor" && !booking.orphan) {
      if (this.#trusted.size >= TRUSTED_MAX) this.#trusted.clear();
      this.#trusted.add(key);
    }
    const parked = this.#parked[kind].get(key);
    if (parked !== undefined) {
      this.#parked[kind].delete(key);
      for (const { line, ticket } of parked) if (ticket.waiting) line.putBack(ticket);
    }
    this.pump();
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
  readonly grantedAt: number;
  readonly dueAt: number;
  /** Its connection has ended, and it has not been answered. */
  orphan = false;
  readonly #release: (booking: HeldBooking) => void;

  constructor(
    key: string,
    kind: CallKind,
    connection: number,
    place: Place,
    grantedAt: number,
    dueAt: number,
    release: (booking: HeldBooking) => void,
  ) {
    this.key = key;
    this.kind = kind;
    this.connection = connection;
    this.place = place;
    this.grantedAt = grantedAt;
    this.dueAt = dueAt;
    this.#release = release;
  }

  release(): void {
    this.#release(this);
  }
}
