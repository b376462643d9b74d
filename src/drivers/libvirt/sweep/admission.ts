import { entryOf } from "../../../driver/memo.ts";
import type { ControlInfo } from "../rpc/procedures.ts";
import { type CallKind, type CallOwner, CallQueue, type Permit, type Ticket } from "./call-queue.ts";
import { BUDGET, ConcurrencyLimit, type ConnectionOwner, type UnansweredCall } from "./concurrency-limit.ts";
import { ForeignCalls, type MonitorVerdict } from "./foreign-calls.ts";

/**
 * The two kinds of places for calls on a connection: a `slot` for a monitor call, or a `lane` for a call that needs no
 * monitor.
 */
type Place = "slot" | "lane";

interface Connection {
  readonly owner: ConnectionOwner;
  readonly taken: Record<Place, number>;
}

interface HeldPermit extends Permit, UnansweredCall {
  readonly place: Place;
  answered: boolean;
  /** True if the connection ended before the daemon answered the call. */
  orphan: boolean;
}

/**
 * Maximum number of domains that are remembered as trusted. When another domain would exceed this number, admission
 * forgets all of them, and every domain is checked again.
 */
const TRUSTED_MAX = 100_000;

/**
 * Decides which call goes to a daemon, and when. Pure: no sockets, no timers; the caller passes the clock.
 *
 * A call that needs a guest's monitor can hang for as long as the guest is frozen, and libvirt cannot cancel a call.
 * The call occupies a worker of the daemon until the guest answers, and the daemon has 20 workers for all of its
 * clients. The daemon handles five calls of one connection at a time. When a sixth call arrives, the daemon stops
 * reading the connection. Then it does not read this process's answers to its keepalive pings either, and may close the
 * connection.
 *
 * Hence the rules:
 *
 * - Each connection has four slots for monitor calls. It also has one lane, which frozen guests cannot block, for calls
 *   that need no monitor. Such calls may also use free slots that no monitor call waits for.
 * - Over all connections of this process to one host, at most eight monitor calls are unanswered. ConcurrencyLimit
 *   decides when there may be more than four.
 * - A monitor that another client's call occupies counts as one of these eight calls. If several virstream processes
 *   start at the same time, their checks of the monitors do not show each other's calls. So for a domain that is not
 *   trusted, a process sends a call that does not wait for the domain's job (NOWAIT). libvirt gives the job to one
 *   process, and the other processes count that process's call. All processes ask the domains in the same order. So
 *   before a process asks a domain, it has counted all calls that hang in earlier domains. Together, the processes
 *   therefore occupy no more monitors than one process alone.
 * - A permit ends when the daemon has answered, not when the caller stops waiting.
 * - While a domain's call is unanswered, no sweep sends the same call again.
 * - When a connection ends, its calls continue: the daemon's workers still hang in them. Such a call is an orphan. It
 *   counts against the budget and keeps its domain in quarantine until a session sees that the domain's monitor is
 *   free.
 *
 * There is one admission per host and process, so the rules hold for every session in the process. Sweeps take turns:
 * in each turn, one sweep sends one call. A sweep's calls go out on the connections of its own session.
 */
export class Admission {
  readonly #limits: Readonly<Record<Place, number>>;
  readonly #limit = new ConcurrencyLimit(() => this.pump());
  readonly #connections = new Map<number, Connection>();
  #numbers = 0;
  readonly #now: () => number;
  readonly #queues: CallQueue[] = [];
  readonly #permits = { monitor: new Map<string, HeldPermit>(), free: new Map<string, HeldPermit>() };
  readonly #trusted = new Set<string>();
  readonly #foreign = new ForeignCalls();
  #turn = 0;
  #granting = false;
  #changed = false;

  /**
   * @param now returns the time of a steady clock, in ms
   * @param slot maximum number of monitor calls in flight on one connection
   * @param lane maximum number of other calls in flight on one connection, not counting those that use a slot
   */
  constructor(now: () => number, slot = 4, lane = 1) {
    this.#limits = { slot, lane };
    this.#now = now;
  }

  /**
   * Adds a connection and returns its number.
   *
   * @param owner the connection serves the queues whose `connectionOwner` is this object
   * @param ready called with the number before any call is granted on the connection
   */
  addConnection(owner: ConnectionOwner, ready?: (number: number) => void): number {
    const number = this.#numbers++;
    this.#connections.set(number, { owner, taken: { slot: 0, lane: 0 } });
    ready?.(number);
    this.pump();
    return number;
  }

  /** These connections have ended: their unanswered monitor calls become orphans, and no domain is trusted any more. */
  removeConnections(numbers: readonly number[]): void {
    const ended = new Set(numbers.filter((number) => this.#connections.delete(number)));
    if (ended.size === 0) return;
    this.#trusted.clear();
    // While another connection lives, the daemon is still the same.
    if (this.#connections.size === 0) {
      this.#limit.reset();
      this.#foreign.clear();
    }
    for (const permit of this.#permits.monitor.values()) if (ended.has(permit.connection)) permit.orphan = true;
    for (const permit of [...this.#permits.free.values()]) if (ended.has(permit.connection)) this.#release(permit);
  }

  /** The uuids of the domains with orphaned calls. */
  get orphans(): string[] {
    return [...this.#permits.monitor.values()].filter(({ orphan }) => orphan).map(({ key }) => key);
  }

  /** The domain's monitor was seen to be free, so its orphaned call, if there is one, has been answered. */
  releaseOrphan(key: string): void {
    const permit = this.#permits.monitor.get(key);
    if (!permit?.orphan) return;
    // Free workers that were proven before may not exist now: this may be another daemon, with few workers.
    this.#limit.reset();
    this.#release(permit);
  }

  /** True if this object can be dropped: nothing uses it, and it has no orphan to remember. */
  get idle(): boolean {
    return this.#connections.size === 0 && this.#permits.monitor.size === 0;
  }

  /** How many monitor calls the connections of an owner can have in flight. */
  slotsOf(owner: ConnectionOwner): number {
    let slots = 0;
    for (const connection of this.#connections.values()) if (connection.owner === owner) slots += this.#limits.slot;
    return Math.min(slots, BUDGET);
  }

  /**
   * True if the domain's monitor has answered since the last time that a connection ended. For any other domain, a call
   * of another client may already hang in the monitor.
   */
  isTrusted(key: string): boolean {
    return this.#trusted.has(key);
  }

  /** Called when the domain may have another monitor now, or when an answer about the domain lacked monitor data. */
  distrust(key: string): void {
    this.#trusted.delete(key);
    this.#foreign.delete(key);
  }

  /**
   * Stores the result of a check of the domain's monitor, and returns what the result means.
   *
   * @param info undefined if the daemon does not report the monitor's state
   * @param ours true if a call of this process may occupy the monitor
   */
  saw(key: string, info: ControlInfo | undefined, ours = this.isInFlight(key, "monitor")): MonitorVerdict {
    const verdict = this.#foreign.saw(key, info, this.#now());
    if (ours) this.#foreign.delete(key);
    return ours && verdict === "unclear" ? "answers" : verdict;
  }

  /** A call with NOWAIT was answered without the domain's job, so a call of another client has the job. */
  collided(key: string): void {
    this.#foreign.add(key, this.#now());
  }

  /**
   * Opens a queue for the calls of a sweep, or for calls that belong to no sweep.
   *
   * @param connectionOwner the owner of the connections on which the calls go out
   */
  join(owner: CallOwner, connectionOwner: ConnectionOwner): CallQueue {
    const queue = new CallQueue(this, owner, connectionOwner);
    this.#queues.push(queue);
    return queue;
  }

  /** How many calls of a kind are unanswered. */
  inFlight(kind: CallKind): number {
    return this.#permits[kind].size;
  }

  /** True if a call of this kind to the domain is unanswered. */
  isInFlight(key: string, kind: CallKind): boolean {
    return this.#permits[kind].has(key);
  }

  /** How long a call of this kind has been unanswered, in ms; 0 if there is none. */
  unansweredFor(key: string, kind: CallKind): number {
    const permit = this.#permits[kind].get(key);
    return permit === undefined ? 0 : this.#now() - permit.grantedAt;
  }

  /**
   * True if the domain's unanswered call of this kind is overdue or an orphan. Another call would only occupy another
   * worker.
   */
  isQuarantined(key: string, kind: CallKind): boolean {
    const permit = this.#permits[kind].get(key);
    return permit !== undefined && (permit.orphan || permit.dueAt <= this.#now());
  }

  /**
   * The time at which all calls that block this owner's monitor calls will be overdue; Infinity while a call could go
   * out. From that time on, only frozen guests block the owner's calls.
   */
  exhaustedAt(owner: ConnectionOwner): number {
    const full = this.isFull;
    if (this.#limit.probing) return Number.POSITIVE_INFINITY;
    if (!full && this.#roomiest(owner, "slot") !== undefined) return Number.POSITIVE_INFINITY;
    let latest = full ? this.#foreign.settledAt : Number.NEGATIVE_INFINITY;
    for (const permits of [this.#permits.monitor, this.#permits.free]) {
      for (const { kind, place, connection, dueAt, orphan } of permits.values()) {
        if (orphan) continue;
        const inTheWay = full
          ? kind === "monitor"
          : place === "slot" && this.#connections.get(connection)?.owner === owner;
        if (inTheWay) latest = Math.max(latest, dueAt);
      }
    }
    return latest;
  }

  /** Grants all calls that may go out. Called whenever something may have changed. */
  pump(): void {
    // A grant may call `pump` again before it returns. The loop that is already running then starts over.
    this.#changed = true;
    if (this.#granting) return;
    this.#granting = true;
    try {
      while (this.#changed) {
        this.#changed = false;
        while (this.#grant("free", "lane"));
        while (this.#grant("monitor", "slot"));
        // If slots are still free, no monitor call waits for one, so calls without a monitor may take them.
        while (this.#grant("free", "slot"));
        if (!this.isFull) continue;
        const newest = [...this.#connections.values()].at(-1);
        this.#limit.seek([...this.#permits.monitor.values()], this.#now(), newest?.owner);
      }
    } finally {
      this.#granting = false;
    }
  }

  /** @internal A queue was closed. */
  leave(queue: CallQueue): void {
    const at = this.#queues.indexOf(queue);
    if (at < 0) return;
    this.#queues.splice(at, 1);
    if (at < this.#turn) this.#turn--;
  }

  /** True if the limit of unanswered monitor calls is reached. */
  get isFull(): boolean {
    const others = this.#foreign.count(this.#now());
    return this.#permits.monitor.size >= Math.min(this.#limit.calls, BUDGET - others);
  }

  /**
   * Grants one call of this kind. The call comes from the next queue that has such a call, and whose connection owner
   * has a connection with a free place. Returns false if there is no such queue.
   */
  #grant(kind: CallKind, place: Place): boolean {
    if (kind === "monitor" && this.isFull) return false;
    for (let tried = 0; tried < this.#queues.length; tried++) {
      const at = (this.#turn + tried) % this.#queues.length;
      const queue = this.#queues[at]!;
      const connection = this.#roomiest(queue.connectionOwner, place);
      if (connection === undefined) continue;
      const ticket = this.#nextOf(queue, kind);
      if (ticket === undefined) continue;
      this.#turn = at + 1;
      const permit: HeldPermit = {
        key: ticket.key,
        kind,
        connection,
        place,
        grantedAt: this.#now(),
        dueAt: queue.owner.callDueAt(ticket),
        answered: false,
        orphan: false,
        release: (answers) => {
          if (!permit.orphan) this.#release(permit, answers);
        },
      };
      this.#connections.get(connection)!.taken[place]++;
      this.#permits[kind].set(ticket.key, permit);
      queue.owner.granted(ticket, permit);
      return true;
    }
    return false;
  }

  /**
   * The number of the owner's connection with the most room, so that the load is spread; undefined when all of the
   * owner's connections are full.
   */
  #roomiest(owner: ConnectionOwner, place: Place): number | undefined {
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

  #nextOf(queue: CallQueue, kind: CallKind): Ticket | undefined {
    for (let ticket = queue.take(kind); ticket !== undefined; ticket = queue.take(kind)) {
      if (!this.#permits[kind].has(ticket.key)) return ticket;
      // Another sweep's call to this domain is in flight and may be answered at any moment. Other tickets go first.
      queue.park(ticket);
    }
    return undefined;
  }

  #release(permit: HeldPermit, answers = true): void {
    if (permit.answered) return;
    permit.answered = true;
    const { key, kind } = permit;
    this.#permits[kind].delete(key);
    const connection = this.#connections.get(permit.connection);
    if (connection !== undefined) connection.taken[permit.place]--;
    if (kind === "monitor" && answers && !permit.orphan) {
      this.#foreign.delete(key);
      if (this.#trusted.size >= TRUSTED_MAX) this.#trusted.clear();
      this.#trusted.add(key);
    }
    for (const queue of this.#queues) queue.unpark(kind, key);
    this.pump();
  }
}

/**
 * The admissions of this process, by host. The budget is for all connections of this process to the host, whichever
 * session opened them. After the last connection to its host has ended, an admission is dropped, unless it has orphans,
 * which a later connection must count.
 */
const admissions = new Map<string, Admission>();

/**
 * The admission of a host.
 *
 * @param host identifies the host, or more exactly its daemon
 */
export function admissionOf(host: string): Admission {
  for (const [key, admission] of admissions) if (key !== host && admission.idle) admissions.delete(key);
  return entryOf(admissions, host, () => new Admission(() => performance.now()));
}
