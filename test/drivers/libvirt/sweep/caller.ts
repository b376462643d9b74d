import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import type { Booking, CallKind, Grantee, Line, Ticket } from "../../../../src/drivers/libvirt/sweep/line.ts";
import type { Proof, Prover } from "../../../../src/drivers/libvirt/sweep/width.ts";

/** At once shows that the daemon has a free worker. */
export const prove = (proof: Proof): void => {
  proof.answered();
  proof.end();
};
/** Whose connections they are. */
export const OWNER: Prover = { prove };
/** Somebody else. */
export const OTHER: Prover = { prove };

/** A sweep that only writes down what it is granted. */
export class Caller implements Grantee {
  readonly granted_: Booking[] = [];
  readonly line: Line;
  due = 1_000;

  constructor(admission: Admission, owner: Prover = OWNER) {
    this.line = admission.join(this, owner);
  }

  wait(keys: readonly string[], kind: CallKind = "monitor"): Ticket[] {
    const tickets = keys.map((key) => ({ key, kind, waiting: false }));
    this.line.wait(tickets);
    return tickets;
  }

  granted(_: Ticket, booking: Booking): void {
    this.granted_.push(booking);
  }

  callDueAt(): number {
    return this.due;
  }

  get keys(): string {
    return this.granted_.map(({ key }) => key).join("");
  }

  /** The one booking of a domain. */
  booking(key: string): Booking {
    return this.granted_.find((booking) => booking.key === key)!;
  }
}

/** An admission on a clock of its own, a connection, and sweeps. */
export function setUp({ slots = 4, lanes = 1, callers = 1 } = {}) {
  const clock = { now: 0 };
  const admission = new Admission({ slots, lanes, now: () => clock.now });
  admission.addConnection(OWNER);
  return { clock, admission, callers: Array.from({ length: callers }, () => new Caller(admission)) };
}
