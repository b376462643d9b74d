import { VirstreamError } from "../../../model/error.ts";
import { type RecordReason, steadyTimeOf } from "../../../model/record.ts";
import type { HypervisorFacts } from "../daemon.ts";
import type { Procedure } from "../rpc/procedures.ts";
import type { Admission } from "./admission.ts";
import type { BatchSize } from "./batch-size.ts";
import type { CallKind, CallOwner, CallQueue, Permit, Ticket } from "./call-queue.ts";
import type { Completeness } from "./completeness.ts";
import type { ConnectionOwner } from "./concurrency-limit.ts";
import { type Deadlines, WAIT_CLASSES, type WaitClass } from "./deadlines.ts";
import type { DomainCache } from "./domain-cache.ts";

/** The members of the session that a sweep uses. The sweep's calls go out on the session's connections. */
export interface SweepHost extends ConnectionOwner {
  readonly admission: Admission;
  readonly domainCache: DomainCache;
  readonly batchSize: BatchSize;
  /** Finds out which groups an answer lacks; undefined if the hypervisor is not QEMU. */
  readonly completeness: Completeness | undefined;
  /**
   * True if the domains have monitors that can hang, as QEMU's domains do. If false, statistics are read in batches.
   */
  readonly monitors: boolean;
  readonly facts: Pick<HypervisorFacts, "hypervisor" | "statistics">;
  /** @param connection the connection's number in admission */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result>;
  /** Called when there are more domains than slots: another connection would add slots. */
  crowded(): void;
}

/** One call to the daemon, and what to do with its answer. Made by `callOf`. */
export interface Call {
  readonly procedure: Procedure<unknown, unknown>;
  readonly args: unknown;
  readonly onAnswer: (result: unknown) => void;
  /**
   * Returns whether the answer shows that the domain's monitor answers. It is called before the permit is released,
   * even if the call was given up. If there is no such function, every answer counts as a sign that the monitor
   * answers.
   */
  readonly usedMonitor: ((result: unknown) => boolean) | undefined;
}

/** Describes a call. `Calls` sends it later, when there is a permit. */
export function callOf<Args, Result>(
  procedure: Procedure<Args, Result>,
  args: Args,
  onAnswer: (result: Result) => void,
  usedMonitor?: (result: Result) => boolean,
): Call {
  return { procedure, args, onAnswer, usedMonitor } as Call;
}

/** Decides what queued calls ask, and what follows when they fail. */
export interface CallHandler<T extends QueuedCall = QueuedCall> {
  /** The call to send, now that there is a permit; undefined when there is nothing left to ask. */
  callFor(queued: T): Call | undefined;
  /** The daemon answered the call with an error, or the connection has ended with an error. */
  refused(queued: T, error: VirstreamError): void;
  /**
   * The call was not sent by its deadline (`busy`, `quarantined`), or it was sent but not answered by its deadline
   * (`timeout`).
   */
  late(queued: T, reason: RecordReason): void;
}

/** When a call was sent: `sampledAt` and `steadyAt` as a record shows them, `at` on performance.now()'s clock. */
export interface SentAt {
  readonly sampledAt: number;
  readonly steadyAt: number;
  readonly at: number;
}

/**
 * A call, from the moment it is queued until it is answered. After the answer it may be queued again, to ask something
 * else.
 */
export abstract class QueuedCall implements Ticket {
  abstract readonly key: string;
  abstract readonly kind: CallKind;
  abstract readonly waitClass: WaitClass;
  abstract readonly handler: CallHandler;
  waiting = false;
  /**
   * Grows by one each time the call is sent, and each time a sent call is given up. If it has grown since an answer's
   * call was sent, the answer is dropped.
   */
  attempt = 0;
  /** When the call becomes overdue, if it is in flight, in ms on performance.now()'s clock. */
  dueAt = Number.POSITIVE_INFINITY;
  /** When the call was last sent; undefined if it was not sent yet. */
  sent: SentAt | undefined;
}

/** How often to check whether a slot can still become free for waiting calls, in ms. */
const LOOK_AGAIN_MS = 500;

/**
 * The queued calls and the calls in flight of one sweep, with the times at which they are given up. This class sends a
 * call when admission grants it, passes the answer on unless the call was given up, and releases the permit in any
 * case.
 */
export class Calls implements CallOwner {
  readonly #host: SweepHost;
  readonly #deadlines: Deadlines;
  readonly #queue: CallQueue;
  readonly #waiting: Readonly<Record<WaitClass, Set<QueuedCall>>> = {
    slot: new Set(),
    lane: new Set(),
    fallback: new Set(),
  };
  readonly #inFlight = new Set<QueuedCall>();
  /** One timer for the earliest of all deadlines. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(host: SweepHost, deadlines: Deadlines) {
    this.#host = host;
    this.#deadlines = deadlines;
    this.#queue = host.admission.join(this, host);
  }

  /** Appends calls, all of one wait class, to the queue. */
  wait(queued: readonly QueuedCall[]): void {
    if (queued.length === 0 || this.#closed) return;
    const { waitClass } = queued[0]!;
    const waiting = this.#waiting[waitClass];
    this.#deadlines.joined(waitClass, queued.length, waiting.size === 0, performance.now());
    for (const each of queued) waiting.add(each);
    this.#queue.wait(queued);
    this.#checkBy(this.#dueAt);
  }

  /**
   * Sends one call that is not for a domain of the sweep, for example one that lists the domains, and resolves with the
   * answer. Rejects with the daemon's error, or with `deadline-exceeded`. If `close` is called first, the promise never
   * settles.
   *
   * @param key at most one call with this key is in flight at a time
   */
  ask<Args, Result>(procedure: Procedure<Args, Result>, args: Args, key: string): Promise<Result> {
    return new Promise((resolve, reject) => {
      const call = callOf(procedure, args, resolve);
      const late = (): void => {
        const message = `libvirt did not list its domains within ${this.#deadlines.deadlineMs} ms`;
        const why = "it waits for one of them, hangs, or is overloaded";
        reject(new VirstreamError("deadline-exceeded", `${message}: ${why}`));
      };
      this.wait([new FreeCall(key, { callFor: () => call, refused: (_, error) => reject(error), late })]);
    });
  }

  /**
   * The consumer takes records too slowly: sends nothing until `resume` is called, and stops the clock of waiting
   * calls.
   */
  hold(): void {
    this.#queue.hold();
    this.#deadlines.hold(performance.now());
  }

  resume(): void {
    if (!this.#deadlines.held || this.#closed) return;
    this.#deadlines.resume(performance.now());
    this.#queue.resume();
    this.#checkBy(this.#dueAt);
  }

  /** Sets the timer, unless it is set to an earlier time. The time is on performance.now()'s clock. */
  #checkBy(at: number): void {
    if (at >= this.#timerAt || this.#closed) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#check(performance.now());
        this.#checkBy(this.#dueAt);
      },
      Math.max(0, Math.ceil(at - performance.now())),
    );
  }

  /** Gives up the calls whose deadline has passed, and the calls that wait for slots that only frozen guests keep. */
  #check(now: number): void {
    for (const queued of [...this.#inFlight]) {
      if (queued.dueAt > now) continue;
      queued.attempt++;
      this.#inFlight.delete(queued);
      queued.handler.late(queued, "timeout");
      if (this.#closed) return;
    }
    for (const waitClass of WAIT_CLASSES) {
      if (this.#deadlines.dueAt(waitClass) > now && !(waitClass === "slot" && this.#exhaustedAt() <= now)) continue;
      const waiting = this.#waiting[waitClass];
      for (const queued of [...waiting]) {
        if (!waiting.delete(queued)) continue;
        queued.waiting = false;
        const inFlight = this.#host.admission.isInFlight(queued.key, queued.kind);
        queued.handler.late(queued, inFlight ? "quarantined" : "busy");
        if (this.#closed) return;
      }
    }
  }

  /** The time of the next check: the earliest time at which a call may have to be given up. */
  get #dueAt(): number {
    let at = this.#exhaustedAt();
    // Other sweeps may have taken all slots. Nothing reports this, so check again.
    if (at === Number.POSITIVE_INFINITY && this.#waiting.slot.size > 0 && !this.#deadlines.held) {
      at = performance.now() + LOOK_AGAIN_MS;
    }
    for (const waitClass of WAIT_CLASSES) {
      if (this.#waiting[waitClass].size > 0) at = Math.min(at, this.#deadlines.dueAt(waitClass));
    }
    for (const queued of this.#inFlight) at = Math.min(at, queued.dueAt);
    return at;
  }

  /** Drops all calls. A call in flight keeps its permit until it is answered. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#queue.close();
    for (const waitClass of WAIT_CLASSES) this.#waiting[waitClass].clear();
    this.#inFlight.clear();
  }

  /** @internal */
  callDueAt(ticket: Ticket): number {
    return this.#deadlines.callDueAt((ticket as QueuedCall).waitClass, performance.now());
  }

  /** @internal */
  granted(ticket: Ticket, permit: Permit): void {
    const queued = ticket as QueuedCall;
    const { waitClass, handler } = queued;
    const now = performance.now();
    this.#waiting[waitClass].delete(queued);
    this.#deadlines.moved(waitClass, now);
    queued.dueAt = permit.dueAt;
    const sampledAt = Date.now();
    queued.sent = { sampledAt, steadyAt: steadyTimeOf(sampledAt), at: now };
    const call = handler.callFor(queued);
    if (call === undefined) {
      permit.release();
      return;
    }
    const attempt = ++queued.attempt;
    this.#inFlight.add(queued);
    const settle = (act: () => void, usedMonitor?: boolean) => {
      // Releases the permit before it processes the answer, so that the next call goes out without a delay.
      permit.release(usedMonitor);
      if (this.#closed || queued.attempt !== attempt) return;
      this.#inFlight.delete(queued);
      this.#deadlines.moved(waitClass, performance.now());
      act();
    };
    this.#checkBy(queued.dueAt);
    this.#host.call(call.procedure, call.args, permit.connection).then(
      (result) => settle(() => call.onAnswer(result), call.usedMonitor?.(result)),
      (error) => settle(() => handler.refused(queued, VirstreamError.from(error))),
    );
  }

  /**
   * The time from which only frozen guests keep the slots that waiting calls need; Infinity if no such time is known.
   */
  #exhaustedAt(): number {
    if (this.#waiting.slot.size === 0 || this.#deadlines.held) return Number.POSITIVE_INFINITY;
    return this.#host.admission.exhaustedAt(this.#host);
  }
}

/** A call that needs no monitor, and does not belong to one domain of the sweep. */
export class FreeCall extends QueuedCall {
  readonly key: string;
  readonly kind = "free";
  readonly waitClass = "lane";
  readonly handler: CallHandler;

  constructor(key: string, handler: CallHandler) {
    super();
    this.key = key;
    this.handler = handler;
  }
}
