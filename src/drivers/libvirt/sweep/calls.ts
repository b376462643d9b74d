import { VirstreamError } from "../../../model/error.ts";
import type { RecordReason } from "../../../model/record.ts";
import type { Procedure } from "../rpc/procedures.ts";
import type { Admission } from "./admission.ts";
import { Inquiry } from "./inquiry.ts";
import type { Booking, CallKind, Grantee, Line, Ticket } from "./line.ts";
import type { Patience, Turn } from "./patience.ts";
import type { Prover } from "./width.ts";

/** Who carries out calls. */
export interface CallsHost {
  readonly admission: Admission;
  /** Whose connections they go out on. */
  readonly owner: Prover;
  /** @param connection by admission's number */
  call<Args, Result>(procedure: Procedure<Args, Result>, args: Args, connection: number): Promise<Result>;
}

/** One call, and what becomes of its answer. Made by `callOf`. */
export interface Call {
  readonly procedure: Procedure<unknown, unknown>;
  readonly args: unknown;
  readonly onAnswer: (result: unknown) => void;
}

/** A call to be made. */
export function callOf<Args, Result>(
  procedure: Procedure<Args, Result>,
  args: Args,
  onAnswer: (result: Result) => void,
): Call {
  return { procedure, args, onAnswer } as Call;
}

/** What the sweep does about its inquiries. */
export interface CallsOwner {
  /** What to ask, now that it may be asked; undefined when nothing is left to ask. */
  callFor(inquiry: Inquiry): Call | undefined;
  /** The daemon's error, or the connection's. */
  refused(inquiry: Inquiry, error: VirstreamError): void;
  /** Something becomes due at this time, on performance.now()'s clock. */
  dueBy(at: number): void;
  /** It was not asked in time (`busy`, `quarantined`), or not answered (`timeout`). */
  late(inquiry: Inquiry, reason: RecordReason): void;
}

/** How often those who wait for a slot look whether waiting is of use. */
const LOOK_AGAIN_MS = 500;

/** Rejects what was asked by `ask` and became late. */
export class Late extends Error {}

/**
 * The calls of one sweep: those in line, those in flight, and when each is to be given up. It makes a call when admission
 * grants it, tells the sweep of its answer if it is still wanted, and releases the slot in any case.
 */
export class Calls implements Grantee {
  readonly #host: CallsHost;
  readonly #patience: Patience;
  readonly #owner: CallsOwner;
  readonly #line: Line;
  readonly #waiting = new Set<Inquiry>();
  readonly #flying = new Set<Inquiry>();
  #closed = false;

  constructor(host: CallsHost, patience: Patience, owner: CallsOwner) {
    this.#host = host;
    this.#patience = patience;
    this.#owner = owner;
    this.#line = host.admission.join(this, host.owner);
  }

  /** Puts inquiries of one turn at the end of the line. */
  wait(inquiries: readonly Inquiry[]): void {
    if (inquiries.length === 0 || this.#closed) return;
    this.#patience.joined(inquiries[0]!.turn, inquiries.length, performance.now());
    for (const inquiry of inquiries) this.#waiting.add(inquiry);
    this.#line.wait(inquiries);
  }

  /**
   * Asks what is no domain's affair, in its turn, and gives the answer. Rejects with the daemon's error, or with `Late`;
   * never settles once the sweep is closed.
   *
   * @param key what must not be asked twice at a time
   */
  ask<Args, Result>(procedure: Procedure<Args, Result>, args: Args, key: string): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.wait([new Question(key, callOf(procedure, args, resolve), reject)]);
    });
  }

  /** Nobody wants to know any more. */
  drop(inquiry: Inquiry): void {
    this.#leave(inquiry);
    inquiry.attempt++;
    this.#flying.delete(inquiry);
  }

  /** Nothing new goes out, and those who wait do not age: the consumer is behind. */
  hold(): void {
    this.#line.hold();
    this.#patience.hold(performance.now());
  }

  /** Goes on after `hold`. */
  go(): void {
    if (!this.#patience.held) return;
    this.#patience.go(performance.now());
    this.#line.go();
  }

  /** Gives up what is due. */
  check(now: number): void {
    for (const inquiry of [...this.#flying]) {
      if (inquiry.dueAt > now) continue;
      this.drop(inquiry);
      this.#late(inquiry, "timeout");
      if (this.#closed) return;
    }
    for (const turn of ["slot", "lane", "rescue"] as const) {
      if (this.#patience.waiting(turn) === 0) continue;
      if (this.#patience.dueAt(turn) > now && !(turn === "slot" && this.#exhaustedAt() <= now)) continue;
      for (const inquiry of [...this.#waiting]) {
        if (inquiry.turn !== turn) continue;
        this.#leave(inquiry);
        this.#late(inquiry, this.#host.admission.isBooked(inquiry.key, inquiry.kind) ? "quarantined" : "busy");
        if (this.#closed) return;
      }
    }
  }

  /** When `check` has to be called next. */
  get dueAt(): number {
    let at = this.#exhaustedAt();
    // Others may come to hold all slots, and nobody tells.
    if (at === Number.POSITIVE_INFINITY && this.#patience.waiting("slot") > 0 && !this.#patience.held) {
      at = performance.now() + LOOK_AGAIN_MS;
    }
    for (const turn of ["slot", "lane", "rescue"] as const) at = Math.min(at, this.#patience.dueAt(turn));
    for (const inquiry of this.#flying) at = Math.min(at, inquiry.dueAt);
    return at;
  }

  /** Forgets all. Bookings stay until they are answered. */
  close(): void {
    this.#closed = true;
    this.#line.close();
    this.#waiting.clear();
    this.#flying.clear();
  }

  // ---- admission's side

  /** @internal */
  callDueAt(ticket: Ticket): number {
    return this.#patience.callDueAt((ticket as Inquiry).turn, performance.now());
  }

  /** @internal */
  granted(ticket: Ticket, booking: Booking): void {
    const inquiry = ticket as Inquiry;
    const { turn } = inquiry;
    const now = performance.now();
    this.#waiting.delete(inquiry);
    this.#patience.left(turn);
    this.#patience.moved(turn, now);
    inquiry.dueAt = booking.dueAt;
    inquiry.sampledAt = Date.now();
    inquiry.askedAt = now;
    const call = inquiry instanceof Question ? inquiry.call : this.#owner.callFor(inquiry);
    if (call === undefined) {
      booking.release();
      return;
    }
    const attempt = ++inquiry.attempt;
    this.#flying.add(inquiry);
    const settle = (act: () => void) => {
      // First of all the next call goes out, then comes what is made of the answer.
      booking.release();
      if (this.#closed || inquiry.attempt !== attempt) return;
      this.#flying.delete(inquiry);
      this.#patience.moved(turn, performance.now());
      act();
    };
    this.#owner.dueBy(inquiry.dueAt);
    this.#host.call(call.procedure, call.args, booking.connection).then(
      (result) => settle(() => call.onAnswer(result)),
      (error) => settle(() => this.#refused(inquiry, VirstreamError.from(error))),
    );
  }

  // ----

  #refused(inquiry: Inquiry, error: VirstreamError): void {
    if (inquiry instanceof Question) inquiry.reject(error);
    else this.#owner.refused(inquiry, error);
  }

  #late(inquiry: Inquiry, reason: RecordReason): void {
    if (inquiry instanceof Question) inquiry.reject(new Late());
    else this.#owner.late(inquiry, reason);
  }

  #leave(inquiry: Inquiry): void {
    if (!this.#waiting.delete(inquiry)) return;
    this.#line.cancel(inquiry);
    this.#patience.left(inquiry.turn);
  }

  /** From when on what waits for a slot waits for frozen guests only. */
  #exhaustedAt(): number {
    if (this.#patience.waiting("slot") === 0 || this.#patience.held) return Number.POSITIVE_INFINITY;
    return this.#host.admission.exhaustedAt(this.#host.owner);
  }
}

/** What `Calls.ask` asks. */
class Question extends Inquiry {
  readonly key: string;
  readonly kind: CallKind = "free";
  readonly turn: Turn = "lane";
  readonly call: Call;
  readonly reject: (error: Error) => void;

  constructor(key: string, call: Call, reject: (error: Error) => void) {
    super();
    this.key = key;
    this.call = call;
    this.reject = reject;
  }
}
