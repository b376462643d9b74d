import type { DescriptionSource } from "../../driver/description.ts";
import { VirstreamError } from "../../model/error.ts";
import type { TypedParams } from "../../model/params.ts";
import type { DomainIdentity } from "../../model/record.ts";
import type { HypervisorFacts } from "./daemon.ts";
import { ControlState, PROCEDURES, type Procedure } from "./rpc/procedures.ts";
import type { CallKind, CallOwner, CallQueue, Permit, Ticket } from "./sweep/call-queue.ts";
import type { SweepHost } from "./sweep/calls.ts";

/** How long a call may wait for its permit, in ms. It waits longer only behind a guest that hangs. */
const WAIT_MS = 1_000;
/** When a call is overdue after it was sent, in ms. Its permit lasts until it is answered. */
const ANSWER_MS = 5_000;
/** As long as this many calls are unanswered, no other one is sent. */
const UNANSWERED_MAX = 2;
/** From this version on, libvirt reads a definition only when it has the domain's job, and waits up to 30 s for it. */
const DEFINITION_TAKES_JOB = 11_000_000;

/** What a reader needs of its session. */
export interface ReaderHost extends Pick<SweepHost, "admission" | "call" | "monitors" | "probeWorker"> {
  readonly facts: Pick<HypervisorFacts, "libvirtVersion">;
}

interface PendingCall extends Ticket {
  send(permit: Permit): void;
}

/**
 * Reads domains beside the sweeps of a session. Its calls need permits like all others, and count towards the same limits. It
 * sends one call at a time, or two while the first one is overdue, so it never delays a sweep by more than one call.
 *
 * It never waits for a guest: where a call needs the domain's job or its monitor, it first reads the monitor's state, which needs
 * neither. If another call has the job, it rejects with `deadline-exceeded`, and sends nothing.
 */
export class DomainReader implements DescriptionSource, CallOwner {
  readonly #host: ReaderHost;
  readonly #queue: CallQueue;
  /** Give up the calls that wait for a permit. */
  readonly #waiting = new Set<() => void>();
  /** Called when a call is answered. */
  readonly #turns: (() => void)[] = [];
  #unanswered = 0;
  #closed = false;

  constructor(host: ReaderHost) {
    this.#host = host;
    this.#queue = host.admission.join(this, host);
  }

  async definition(domain: DomainIdentity): Promise<string> {
    if (!this.#hasMonitor(domain) || this.#host.facts.libvirtVersion < DEFINITION_TAKES_JOB) {
      return this.#ask(PROCEDURES.xml, domain, domain, "free");
    }
    await this.#checkMonitor(domain);
    return this.#ask(PROCEDURES.xml, domain, domain, "monitor");
  }

  async limits(domain: DomainIdentity, target: string): Promise<TypedParams> {
    if (!this.#hasMonitor(domain)) return this.#ask(PROCEDURES.blockIoTune, { domain, target }, domain, "free");
    await this.#checkMonitor(domain);
    return this.#ask(PROCEDURES.blockIoTune, { domain, target }, domain, "monitor", true);
  }

  async placement(domain: DomainIdentity): Promise<ReadonlyMap<number, number>> {
    const vcpus = await this.#ask(PROCEDURES.vcpus, domain, domain, "free");
    return new Map(vcpus.filter(({ cpu }) => cpu >= 0).map(({ number, cpu }) => [number, cpu]));
  }

  /** Its session has ended. Calls in flight keep their permits, as admission decides. */
  close(): void {
    this.#closed = true;
    this.#queue.close();
    for (const giveUp of this.#waiting) giveUp();
    for (const turn of this.#turns.splice(0)) turn();
  }

  #hasMonitor(domain: DomainIdentity): boolean {
    return this.#host.monitors && domain.id !== -1;
  }

  async #checkMonitor(domain: DomainIdentity): Promise<void> {
    const { admission } = this.#host;
    if (admission.isQuarantined(domain.uuid, "monitor")) throw busy(domain);
    const { state } = await this.#ask(PROCEDURES.controlInfo, domain, domain, "free");
    // A call of the process itself, which is not overdue, is waited for in the queue.
    if (state !== ControlState.ok && !admission.isInFlight(domain.uuid, "monitor")) throw busy(domain);
  }

  /**
   * Makes a call when admission has a place for it, and resolves with the answer.
   *
   * @param usesMonitor true if an answer shows that the domain's monitor answers
   */
  async #ask<Args, Result>(
    procedure: Procedure<Args, Result>,
    args: Args,
    domain: DomainIdentity,
    kind: CallKind,
    usesMonitor = false,
  ): Promise<Result> {
    while (this.#unanswered >= UNANSWERED_MAX) {
      if (this.#closed) throw busy(domain);
      await new Promise<void>((resolve) => this.#turns.push(resolve));
    }
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(giveUp);
        call.waiting = false;
        reject(busy(domain));
      };
      let timer = setTimeout(giveUp, WAIT_MS);
      const call: PendingCall = {
        key: domain.uuid,
        kind,
        waiting: false,
        send: (permit) => {
          this.#waiting.delete(giveUp);
          clearTimeout(timer);
          timer = setTimeout(giveUp, ANSWER_MS);
          this.#unanswered++;
          const settle = (answers: boolean): void => {
            clearTimeout(timer);
            this.#unanswered--;
            permit.release(usesMonitor && answers);
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

  /** @internal */
  callDueAt(): number {
    return performance.now() + ANSWER_MS;
  }

  /** @internal */
  granted(ticket: Ticket, permit: Permit): void {
    (ticket as PendingCall).send(permit);
  }
}

function busy({ name }: DomainIdentity): VirstreamError {
  return new VirstreamError("deadline-exceeded", `the domain ${name} is busy: it is read again later`);
}
