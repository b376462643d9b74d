import { describe, expect, it } from "vitest";
import {
  Admission,
  type Booking,
  type CallKind,
  type Grantee,
  type Line,
  type Ticket,
} from "../../../../src/drivers/libvirt/sweep/admission.ts";

const OWNER = {};

/** A sweep that only writes down what it is granted. */
class Caller implements Grantee {
  readonly granted_: Booking[] = [];
  readonly line: Line;
  due = 1_000;

  constructor(admission: Admission) {
    this.line = admission.join(this, OWNER);
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
}

function setUp({ slots = 4, lanes = 1, callers = 1 } = {}) {
  const clock = { now: 0 };
  const admission = new Admission({ slots, lanes, now: () => clock.now });
  admission.addConnection(OWNER);
  return { clock, admission, callers: Array.from({ length: callers }, () => new Caller(admission)) };
}

describe("Admission", () => {
  it("lets four monitor calls go at a time, first come, first served", () => {
    const {
      callers: [caller],
      admission,
    } = setUp();
    caller!.wait([..."abcdef"]);
    expect(caller!.keys).toBe("abcd");
    caller!.granted_[1]!.release();
    expect(caller!.keys).toBe("abcde");
    caller!.granted_[1]!.release();
    expect(caller!.keys).toBe("abcde");
    expect(admission.inFlight("monitor")).toBe(4);
  });

  it("keeps a lane for calls that need no monitor, which stuck calls cannot take", () => {
    const {
      callers: [caller],
    } = setUp();
    caller!.wait([..."abcde"]);
    caller!.wait(["x", "y"], "free");
    expect(caller!.keys).toBe("abcdx");
    caller!.granted_[4]!.release();
    expect(caller!.keys).toBe("abcdxy");
  });

  it("lets cheap calls use slots that no monitor call waits for", () => {
    const {
      callers: [caller],
    } = setUp({ slots: 2 });
    caller!.wait([..."vwxyz"], "free");
    expect(caller!.keys).toBe("vwx");
    caller!.wait(["a"]);
    caller!.granted_.find(({ key }) => key === "w")!.release();
    expect(caller!.keys).toBe("vwxa");
  });

  it("serves sweeps by turns, however long their lines are", () => {
    const {
      callers: [one, two, three],
    } = setUp({ slots: 1, callers: 3 });
    one!.wait([..."abcdefgh"]);
    two!.wait([..."mnop"]);
    three!.wait([..."xy"]);
    const order: string[] = [];
    for (let i = 0; i < 9; i++) {
      const booking = [one, two, three].flatMap((caller) => caller!.granted_).find((b) => !order.includes(b.key))!;
      order.push(booking.key);
      booking.release();
    }
    expect(order.join("")).toBe("amxbnycod");
  });

  it("asks no domain twice at a time: the second sweep waits, others pass, and it goes next", () => {
    const {
      callers: [one, two],
    } = setUp({ slots: 2, callers: 2 });
    one!.wait(["a"]);
    two!.wait(["a", "b", "c"]);
    expect(two!.keys).toBe("b");
    one!.granted_[0]!.release();
    expect(two!.keys).toBe("ba");
    two!.granted_[0]!.release();
    expect(two!.keys).toBe("bac");
  });

  it("asks a domain with a stuck call what needs no monitor", () => {
    const {
      callers: [one, two],
      admission,
    } = setUp({ callers: 2 });
    one!.wait(["a"]);
    two!.wait(["a"], "free");
    expect(two!.keys).toBe("a");
    expect([admission.isBooked("a", "monitor"), admission.isBooked("a", "free")]).toEqual([true, true]);
  });

  it("quarantines a domain from the time its call is overdue until it is answered", () => {
    const {
      callers: [caller],
      admission,
      clock,
    } = setUp();
    caller!.wait(["a"]);
    clock.now = 999;
    expect(admission.isQuarantined("a", "monitor")).toBe(false);
    clock.now = 1_000;
    expect(admission.isQuarantined("a", "monitor")).toBe(true);
    expect(admission.isQuarantined("a", "free")).toBe(false);
    caller!.granted_[0]!.release();
    expect(admission.isQuarantined("a", "monitor")).toBe(false);
  });

  it("keeps slots booked when the sweep that called has left", () => {
    const {
      callers: [one, two],
      admission,
    } = setUp({ callers: 2 });
    one!.wait([..."abcdef"]);
    one!.line.close();
    two!.wait(["x"]);
    expect([one!.keys, two!.keys]).toEqual(["abcd", ""]);
    one!.granted_[2]!.release();
    expect([one!.keys, two!.keys]).toEqual(["abcd", "x"]);
    expect(admission.inFlight("monitor")).toBe(4);
  });

  it("passes over cancelled tickets, in line and parked", () => {
    const {
      callers: [one, two],
    } = setUp({ slots: 2, callers: 2 });
    one!.wait(["a", "b"]);
    const [parked, waiting] = two!.wait(["a", "c", "d"]);
    one!.granted_[1]!.release();
    expect(two!.keys).toBe("c");
    two!.line.cancel(parked!);
    one!.granted_[0]!.release();
    expect(two!.keys).toBe("cd");
    expect(waiting!.waiting).toBe(false);
  });

  it("grants nothing to a line that is held, and catches up when it goes on", () => {
    const {
      callers: [one, two],
    } = setUp({ slots: 2, callers: 2 });
    one!.line.hold();
    one!.wait(["a", "b"]);
    two!.wait(["x"]);
    expect([one!.keys, two!.keys]).toEqual(["", "x"]);
    one!.line.go();
    expect(one!.keys).toBe("a");
  });

  it("knows when nothing but overdue calls holds the slots", () => {
    const {
      callers: [caller],
      admission,
    } = setUp({ slots: 2 });
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
    caller!.wait(["a"]);
    caller!.due = 5_000;
    caller!.wait(["b"]);
    expect(admission.exhaustedAt(OWNER)).toBe(5_000);
    caller!.granted_[1]!.release();
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
  });

  it("has four more slots with each connection, and spreads the calls", () => {
    const {
      callers: [caller],
      admission,
    } = setUp();
    caller!.wait([..."abcdefghij"]);
    expect(admission.addConnection(OWNER)).toBe(1);
    expect(admission.slotsOf(OWNER)).toBe(8);
    expect(caller!.granted_.map(({ connection }) => connection)).toEqual([0, 0, 0, 0, 1, 1, 1, 1]);
    for (const i of [0, 1, 4, 5, 6]) caller!.granted_[i]!.release();
    caller!.wait(["k", "l", "m"]);
    expect(
      caller!.granted_
        .slice(8)
        .map(({ connection }) => connection)
        .sort(),
    ).toEqual([0, 0, 1, 1, 1]);
  });
});

describe("Admission, with thousands of domains that freeze at random", () => {
  /** A random generator that gives the same run for the same seed (mulberry32). */
  function randomFrom(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  it.each([1, 2, 3, 4, 5])("never exceeds its slots, never asks twice, and forgets nobody (seed %i)", (seed) => {
    const random = randomFrom(seed);
    const { admission, clock } = setUp();
    if (seed % 2 === 0) admission.addConnection(OWNER);
    /** What is in flight: when it will be answered. Frozen domains are answered late, all at some time. */
    const flying = new Map<Booking, number>();
    const perConnection = [0, 0];
    const busy = new Set<string>();
    const answered: number[] = [];
    const sweeps = 4;
    const domains = 3_000;
    class Sweep implements Grantee {
      readonly number: number;
      readonly line = admission.join(this, OWNER);
      constructor(number: number) {
        this.number = number;
      }
      callDueAt(): number {
        return clock.now + 2_000;
      }
      granted(ticket: Ticket, booking: Booking): void {
        const name = `${ticket.kind} ${ticket.key}`;
        expect(busy.has(name), `${name} is asked twice`).toBe(false);
        busy.add(name);
        perConnection[booking.connection]!++;
        expect(perConnection[booking.connection]).toBeLessThanOrEqual(5);
        const frozen = ticket.kind === "monitor" && random() < 0.01;
        flying.set(booking, clock.now + (frozen ? 2_000 + random() * 20_000 : 2 + random() * 8));
        answered[this.number] = (answered[this.number] ?? 0) + 1;
      }
    }
    const all = Array.from({ length: sweeps }, (_, number) => new Sweep(number));
    let cancelled = 0;
    for (const sweep of all) {
      const tickets = Array.from({ length: domains }, (_, i) => ({
        key: String(i),
        kind: (i % 10 === 0 ? "free" : "monitor") as CallKind,
        waiting: false,
      }));
      sweep.line.wait(tickets);
      for (const ticket of tickets) {
        if (!ticket.waiting || random() > 0.02) continue;
        sweep.line.cancel(ticket);
        cancelled++;
      }
    }
    for (let steps = 0; flying.size > 0; steps++) {
      expect(steps).toBeLessThan(sweeps * domains + 1);
      expect(admission.inFlight("monitor")).toBeLessThanOrEqual(admission.slotsOf(OWNER));
      // The next answer.
      const [booking, at] = [...flying].reduce((a, b) => (b[1] < a[1] ? b : a));
      clock.now = at;
      flying.delete(booking);
      busy.delete(`${booking.kind} ${booking.key}`);
      perConnection[booking.connection]!--;
      booking.release();
      if (random() < 0.01) {
        const sweep = all[Math.floor(random() * sweeps)]!;
        sweep.line.hold();
        sweep.line.go();
      }
    }
    expect(answered.reduce((a, b) => a + b)).toBe(sweeps * domains - cancelled);
    expect([admission.inFlight("monitor"), admission.inFlight("free")]).toEqual([0, 0]);
    expect(perConnection).toEqual([0, 0]);
  });
});
