import { VirstreamError } from "../../model/error.ts";
import type { Procedure } from "./rpc/procedures.ts";
import type { CallKind, CallOwner, CallQueue, Permit, Ticket } from "./sweep/call-queue.ts";
import type { SweepHost } from "./sweep/calls.ts";

/** How long a call may wait for its permit, in ms. Only a guest that hangs would make a call wait longer. */
const WAIT_MS = 1_000;
/** A call is overdue this many ms after it was sent. Its permit lasts until the call is answered. */
const ANSWER_MS = 5_000;

/** The members of the session that SideCalls uses. */
export type SideCallHost = Pick<SweepHost, "admission" | "call" | "probeWorker">;

/** The subject of a call, such as a domain or a pool. */
export interface CallSubject {
  /** Identifies the subject for admission: at most one call of each kind with this key is in flight at a time. */
  readonly key: string;
  /** The subject's name in error texts, such as `the domain vm1`. */
  readonly name: string;
  readonly kind: CallKind;
  /** True if an answer shows that the domain's monitor answers. */
  readonly usesMonitor?: boolean;
}

interface PendingCall extends Ticket {
  send(permit: Permit): void;
}

/**
 * Makes the calls of a session that belong to no sweep. These calls need permits like all other calls, and count
 * towards the same limits. A caller that makes one call at a time never delays a sweep by more than one call.
 */
export class SideCalls implements CallOwner {
  readonly #host: SideCallHost;
  readonly #most: number;
  readonly #queue: CallQueue;
  /** Functions that give up the calls that wait for a permit. */
  readonly #waiting = new Set<() => void>();
  /** Functions that wake the callers that wait while too many calls are unanswered. Each answer wakes one caller. */
  readonly #turns: (() => void)[] = [];
  readonly #permits = new Set<Permit>();
  /** How many calls were unanswered when the session ended. */
  lost = 0;
  #closed = false;

  /** @param most while this many calls are unanswered, no other call is sent */
  constructor(host: SideCallHost, most: number) {
    this.#host = host;
    this.#most = most;
    this.#queue = host.admission.join(this, host);
  }

  /** How many calls are unanswered. */
  get unanswered(): number {
    return this.#permits.size;
  }

  /** True if no other call can be sent until one is answered. */
  get full(): boolean {
    return this.unanswered >= this.#most;
  }

  /** True if the call with this key is unanswered. */
  isUnanswered(key: string): boolean {
    return [...this.#permits].some((permit) => permit.key === key);
  }

  /**
   * Waits until `full` is false, makes the call when admission has a place for it, and resolves with the answer.
   * Rejects with the call's own error. Rejects with `deadline-exceeded` if the call gets no permit within a second
   * after `full` was false, if it gets no answer within 5 s, or if the session ends while the call waits.
   */
  async ask<Args, Result>(procedure: Procedure<Args, Result>, args: Args, subject: CallSubject): Promise<Result> {
    while (this.full && !this.#closed) await new Promise<void>((resolve) => this.#turns.push(resolve));
    if (this.#closed) throw busy(subject);
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(giveUp);
        call.waiting = false;
        reject(busy(subject));
      };
      let timer = setTimeout(giveUp, WAIT_MS);
      const call: PendingCall = {
        key: subject.key,
        kind: subject.kind,
        waiting: false,
        send: (permit) => {
          this.#waiting.delete(giveUp);
          clearTimeout(timer);
          timer = setTimeout(giveUp, ANSWER_MS);
          this.#permits.add(permit);
          const settle = (answers: boolean): void => {
            clearTimeout(timer);
            this.#permits.delete(permit);
            permit.release(subject.usesMonitor === true && answers);
            this.#turns.shift()?.();
          };
          this.#host.call(procedure, args, permit.connection).then(
            (result) => {
              settle(true);
              resolve(result);
            },
            (error) => {
              settle(false);
              reject(error);
            },
          );
        },
      };
      this.#waiting.add(giveUp);
      this.#queue.wait([call]);
    });
  }

  /**
   * Called when the session has ended: gives up the calls that wait for a permit.
   *
   * @param forget true: calls in flight lose their permits at once. False: admission decides how long they keep their
   *   permits.
   */
  close(forget = false): void {
    this.lost = this.unanswered;
    this.#closed = true;
    this.#queue.close();
    for (const giveUp of this.#waiting) giveUp();
    for (const turn of this.#turns.splice(0)) turn();
    if (forget) for (const permit of this.#permits) permit.release(false);
  }

  /** @internal */
  callDueAt(): number {
    return performance.now() + ANSWER_MS;
  }

  /** @internal */
  granted(ticket: Ticket, permit: Permit): void {
    (ticket as PendingCall).send(permit);
  }
}

/** The error of a call that is not sent, or not answered in time, because its subject is busy. */
export function busy({ name }: CallSubject): VirstreamError {
  return new VirstreamError("deadline-exceeded", `${name} is busy: it is read again later`);
}
