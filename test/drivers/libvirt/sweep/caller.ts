import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import type {
  CallKind,
  CallOwner,
  CallQueue,
  Permit,
  Ticket,
} from "../../../../src/drivers/libvirt/sweep/call-queue.ts";
import type { ConnectionOwner, WorkerProbe } from "../../../../src/drivers/libvirt/sweep/concurrency-limit.ts";

/** At once shows that the daemon has a free worker. */
export const prove = (probe: WorkerProbe): void => {
  probe.answered();
  probe.end();
};
/** Whose connections they are. */
export const OWNER: ConnectionOwner = { probeWorker: prove };
/** Somebody else. */
export const OTHER: ConnectionOwner = { probeWorker: prove };

/** A sweep that only writes down what it is granted. */
export class Caller implements CallOwner {
  readonly granted_: Permit[] = [];
  readonly queue: CallQueue;
  due = 1_000;

  constructor(admission: Admission, owner: ConnectionOwner = OWNER) {
    this.queue = admission.join(this, owner);
  }

  wait(keys: readonly string[], kind: CallKind = "monitor"): Ticket[] {
    const tickets = keys.map((key) => ({ key, kind, waiting: false }));
    this.queue.wait(tickets);
    return tickets;
  }

  granted(_: Ticket, permit: Permit): void {
    this.granted_.push(permit);
  }

  callDueAt(): number {
    return this.due;
  }

  get keys(): string {
    return this.granted_.map(({ key }) => key).join("");
  }

  /** The one permit of a domain. */
  permit(key: string): Permit {
    return this.granted_.find((permit) => permit.key === key)!;
  }
}

/** An admission on a clock of its own, a connection, and sweeps. */
export function setUp({ slots = 4, lanes = 1, callers = 1 } = {}) {
  const clock = { now: 0 };
  const admission = new Admission(() => clock.now, slots, lanes);
  admission.addConnection(OWNER);
  return { clock, admission, callers: Array.from({ length: callers }, () => new Caller(admission)) };
}
