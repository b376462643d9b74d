import { describe, expect, it } from "vitest";
import {
  Admission,
  type AdmissionOwner,
  type Booking,
  type CallKind,
  type Grantee,
  type Line,
  type Proof,
  type Ticket,
} from "../../../../src/drivers/libvirt/sweep/admission.ts";

/** At once shows that the daemon has a free worker. */
const prove = (proof: Proof): void => {
  proof.answered();
  proof.end();
};
const OWNER: AdmissionOwner = { prove };
const OTHER: AdmissionOwner = { prove };

/** A sweep that only writes down what it is granted. */
class Caller implements Grantee {
  readonly granted_: Booking[] = [];
  readonly line: Line;
  due = 1_000;

  constructor(admission: Admission, owner: AdmissionOwner = OWNER) {
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

/** Two owners with two connections each, and a sweep of each. */
function setUpTwo() {
  const clock = { now: 0 };
  const admission = new Admission({ now: () => clock.now });
  const connections = [OWNER, OWNER, OTHER, OTHER].map((owner) => admission.addConnection(owner));
  return { clock, admission, connections, one: new Caller(admission), two: new Caller(admission, OTHER) };
}

describe("Admission to a host that several ask", () => {
  it("lets no more than eight monitor calls go at a time, over all owners and connections, by turns", () => {
    const { admission, one, two } = setUpTwo();
    one.wait([..."abcdefghij"]);
    two.wait([..."mnopqrstuv"]);
    expect([one.keys, two.keys]).toEqual(["abcdefgh", ""]);
    expect(admission.inFlight("monitor")).toBe(8);
    for (const booking of [...one.granted_]) booking.release();
    expect([one.keys, two.keys]).toEqual(["abcdefghij", "mnopqr"]);
    expect(admission.inFlight("monitor")).toBe(8);
  });

  it("sends each owner's calls on that owner's connections only", () => {
    const { connections, one, two } = setUpTwo();
    one.wait([..."abc"]);
    two.wait([..."mno"]);
    one.wait([..."wx"], "free");
    two.wait([..."yz"], "free");
    const used = (caller: Caller) => [...new Set(caller.granted_.map(({ connection }) => connection))].sort();
    expect(used(one)).toEqual(connections.slice(0, 2));
    expect(used(two)).toEqual(connections.slice(2));
  });

  it("keeps an owner without a connection waiting, and nobody else, until it has one", () => {
    const admission = new Admission({ now: () => 0 });
    const [one, two] = [new Caller(admission), new Caller(admission, OTHER)];
    one.wait(["a"]);
    one.wait(["b"], "free");
    two.wait(["c"]);
    admission.addConnection(OTHER);
    expect([one.keys, two.keys]).toEqual(["", "c"]);
    admission.addConnection(OWNER);
    expect(one.keys).toBe("ba");
  });

  it("tells who adds a connection its number before anything goes out on it", () => {
    const admission = new Admission({ now: () => 0 });
    const caller = new Caller(admission);
    caller.wait(["a"]);
    const before: string[] = [];
    const number = admission.addConnection(OWNER, (ready) => before.push(`${ready}: ${caller.keys}`));
    expect(before).toEqual([`${number}: `]);
    expect(caller.keys).toBe("a");
  });

  it("leaves the lanes open to all while the budget is spent", () => {
    const { one, two } = setUpTwo();
    one.wait([..."abcdefgh"]);
    two.wait([..."mn"]);
    two.wait([..."xyz"], "free");
    // Its lanes, and its slots that nobody may use for a monitor call now.
    expect(two.keys).toBe("xyz");
  });

  it("asks no domain twice at a time, whoever asks and on whichever connection", () => {
    const { one, two } = setUpTwo();
    one.wait(["a"]);
    two.wait(["a", "b"]);
    expect(two.keys).toBe("b");
    one.booking("a").release();
    expect(two.keys).toBe("ba");
  });

  it("gives an owner as many slots as its connections have, and no more than the budget", () => {
    const { admission } = setUpTwo();
    expect(admission.slotsOf(OWNER)).toBe(8);
    admission.addConnection(OWNER);
    expect(admission.slotsOf(OWNER)).toBe(8);
    expect(admission.slotsOf({ prove })).toBe(0);
  });

  it("knows when nothing but overdue calls spends the budget, whoever made them", () => {
    const { admission, one, two } = setUpTwo();
    one.due = 1_000;
    one.wait([..."abcd"]);
    two.due = 3_000;
    two.wait([..."mno"]);
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
    two.wait(["p"]);
    expect(admission.exhaustedAt(OWNER)).toBe(3_000);
    expect(admission.exhaustedAt(OTHER)).toBe(3_000);
    two.booking("p").release();
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
  });

  it("counts against an owner whose slots are full only what is in its slots", () => {
    const { admission, connections, one, two } = setUpTwo();
    admission.removeConnection(connections[1]!);
    two.due = 9_000;
    two.wait(["m"]);
    one.wait([..."abcd"]);
    expect(admission.exhaustedAt(OWNER)).toBe(1_000);
    expect(admission.exhaustedAt(OTHER)).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("Admission, when a connection ends", () => {
  it("goes on counting its unanswered monitor calls, and quarantines their domains at once", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait([..."abcdefgh"]);
    for (const connection of connections.slice(0, 2)) admission.removeConnection(connection);
    expect(admission.orphans.sort()).toEqual([..."abcdefgh"]);
    expect(admission.inFlight("monitor")).toBe(8);
    expect(admission.isQuarantined("a", "monitor")).toBe(true);
    expect(admission.isBooked("a", "monitor")).toBe(true);
    two.wait(["m", "a"]);
    expect(two.keys).toBe("");
  });

  it("takes no late answer for the end of such a call: nobody can have heard it", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    admission.removeConnection(one.booking("a").connection);
    one.booking("a").release();
    expect(admission.orphans).toEqual(["a"]);
    expect(admission.isQuarantined("a", "monitor")).toBe(true);
    expect(admission.isTrusted("a")).toBe(false);
  });

  it("frees the place of a domain whose monitor was seen to be free, and whoever waits for it goes", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait([..."abcdefgh"]);
    two.wait([..."amn"]);
    for (const connection of connections.slice(0, 2)) admission.removeConnection(connection);
    admission.adopt("b");
    expect(two.keys).toBe("m");
    expect(admission.isQuarantined("b", "monitor")).toBe(false);
    // It was seen to be free, but it has not answered.
    expect(admission.isTrusted("b")).toBe(false);
    admission.adopt("b");
    admission.adopt("nobody");
    expect(two.keys).toBe("m");
    // At its turn it stepped aside for the domain's call, so it goes first.
    admission.adopt("a");
    expect(two.keys).toBe("ma");
    one.booking("a").release();
    expect(admission.isBooked("a", "monitor")).toBe(true);
    expect(admission.inFlight("monitor")).toBe(8);
  });

  it("adopts no call whose connection lives: only its answer ends it", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    admission.adopt("a");
    expect(admission.isBooked("a", "monitor")).toBe(true);
    expect(admission.orphans).toEqual([]);
  });

  it("lets its calls that need no monitor end with it, and others of the same kind go", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait([..."vwxyzrstuv"], "free");
    two.wait(["v"], "free");
    expect(two.keys).toBe("");
    for (const connection of connections.slice(0, 2)) admission.removeConnection(connection);
    expect(two.keys).toBe("v");
    expect(admission.inFlight("free")).toBe(1);
    // The late answer is that of another booking.
    for (const booking of one.granted_) booking.release();
    expect(admission.inFlight("free")).toBe(1);
    expect(admission.orphans).toEqual([]);
  });

  it("leaves the calls on the owner's other connections as they are", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait([..."abcdefgh"]);
    admission.removeConnection(connections[0]!);
    admission.removeConnection(connections[0]!);
    expect(admission.orphans).toHaveLength(4);
    const living = one.granted_.filter(({ connection }) => connection === connections[1]);
    for (const booking of living) booking.release();
    expect(admission.inFlight("monitor")).toBe(4);
    expect(admission.slotsOf(OWNER)).toBe(4);
  });

  it("says to those who wait for a budget that orphans alone have spent that waiting is of no use", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait([..."abcdefgh"]);
    for (const connection of connections.slice(0, 2)) admission.removeConnection(connection);
    expect(admission.exhaustedAt(OTHER)).toBe(Number.NEGATIVE_INFINITY);
    admission.adopt("a");
    expect(admission.exhaustedAt(OTHER)).toBe(Number.POSITIVE_INFINITY);
  });

  it("is idle only when there is no connection any more, and no orphan", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait(["a"]);
    one.wait(["x"], "free");
    for (const connection of connections) {
      expect(admission.idle).toBe(false);
      admission.removeConnection(connection);
    }
    expect(admission.idle).toBe(false);
    admission.adopt("a");
    expect(admission.idle).toBe(true);
  });
});

describe("Trust in a domain's monitor", () => {
  it("comes with its first answer, is the same for all owners, and does not come from what needs no monitor", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    one.wait(["b"], "free");
    expect(admission.isTrusted("a")).toBe(false);
    one.booking("a").release();
    one.booking("b").release();
    expect([admission.isTrusted("a"), admission.isTrusted("b")]).toEqual([true, false]);
  });

  it("ends when somebody distrusts it, and comes back with the next answer", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    one.booking("a").release();
    admission.distrust("a");
    expect(admission.isTrusted("a")).toBe(false);
    one.wait(["a"]);
    one.granted_[1]!.release();
    expect(admission.isTrusted("a")).toBe(true);
  });

  it("is forgotten for every domain when any connection ends: what the daemon does now, nobody knows", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait(["a"]);
    two.wait(["m"]);
    one.booking("a").release();
    two.booking("m").release();
    admission.removeConnection(connections[0]!);
    expect([admission.isTrusted("a"), admission.isTrusted("m")]).toEqual([false, false]);
  });
});

describe("The width of admission, while the daemon's pool of workers may be small", () => {
  function narrow() {
    const proofs: Proof[] = [];
    const owner: AdmissionOwner = { prove: (proof) => void proofs.push(proof) };
    const admission = new Admission({ now: () => 0 });
    const connections = [admission.addConnection(owner), admission.addConnection(owner)];
    return { proofs, owner, admission, connections, caller: new Caller(admission, owner) };
  }

  it("is four until a free worker was proven behind four unanswered calls, then grows by one for each proof", () => {
    const { proofs, caller } = narrow();
    caller.wait([..."abcdefghijkl"]);
    for (const keys of ["abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"]) {
      expect(caller.keys).toBe(keys);
      expect(proofs).toHaveLength(keys.length - 3);
      prove(proofs.at(-1)!);
    }
    // The last proof has shown that there is one for everybody else.
    expect(caller.keys).toBe("abcdefgh");
    expect(proofs).toHaveLength(5);
  });

  it("does not grow by a proof behind calls that were answered meanwhile, and asks for the next when it is full again", () => {
    const { proofs, caller } = narrow();
    caller.wait([..."abcdefgh"]);
    caller.granted_[0]!.release();
    expect(caller.keys).toBe("abcde");
    prove(proofs[0]!);
    expect(caller.keys).toBe("abcde");
    expect(proofs).toHaveLength(2);
    prove(proofs[1]!);
    expect(caller.keys).toBe("abcdef");
  });

  it("needs one proof at a time, and none for fewer calls than are safe, or than were proven", () => {
    const { proofs, caller } = narrow();
    caller.wait([..."abc"]);
    expect(proofs).toHaveLength(0);
    caller.wait([..."defgh"]);
    expect(proofs).toHaveLength(1);
    prove(proofs[0]!);
    for (const booking of caller.granted_.splice(0)) booking.release();
    prove(proofs[1]!);
    expect(caller.keys).toBe("fgh");
    const before = proofs.length;
    caller.wait(["m"]);
    expect(caller.keys).toBe("fghm");
    expect(proofs).toHaveLength(before);
  });

  it("is four again when a connection has ended: it may be another daemon", () => {
    const { proofs, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcdefghijkl"]);
    for (let i = 0; i < 5; i++) prove(proofs[i]!);
    for (const number of connections) admission.removeConnection(number);
    for (const uuid of admission.orphans) admission.adopt(uuid);
    admission.addConnection(owner);
    admission.addConnection(owner);
    expect(caller.keys).toBe("abcdefghijkl");
    expect(admission.inFlight("monitor")).toBe(4);
    expect(proofs).toHaveLength(6);
  });

  it("is no reason to give up waiting while a proof is under way", () => {
    const { proofs, caller, admission, owner } = narrow();
    caller.due = -1;
    caller.wait([..."abcde"]);
    expect(admission.exhaustedAt(owner)).toBe(Number.POSITIVE_INFINITY);
    proofs[0]!.end();
    expect(proofs).toHaveLength(2);
    prove(proofs[1]!);
    expect(caller.keys).toBe("abcde");
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

  /** A call that the daemon works on, whether or not anybody still hears the answer. */
  interface Working {
    readonly booking: Booking;
    readonly at: number;
  }

  interface World {
    readonly owners: number;
    /** How many connections each owner has, as a rule. */
    readonly connections: number;
    /** How likely a connection is to end, at each answer. */
    readonly ending: number;
  }

  const DOMAINS = 1_500;
  const SWEEPS = 4;

  /** The daemon's view of it all: it knows what it works on, and checks each call that comes in. */
  function run(seed: number, { owners: count, connections: usual, ending }: World): void {
    const random = randomFrom(seed);
    const clock = { now: 0 };
    const admission = new Admission({ now: () => clock.now });
    const owners = Array.from({ length: count }, () => ({ connections: new Set<number>(), prove }));
    const working = new Set<Working>();
    /** What else happens, and when: connections are made anew, freed monitors are noticed. */
    const later: { at: number; act: () => void }[] = [];
    const ended = { connections: 0, orphans: 0 };
    let granted = 0;

    const connect = (owner: (typeof owners)[number]): void => {
      admission.addConnection(owner, (number) => owner.connections.add(number));
    };
    const disconnect = (owner: (typeof owners)[number]): void => {
      const [number] = owner.connections;
      if (number === undefined) return;
      owner.connections.delete(number);
      const before = admission.orphans.length;
      admission.removeConnection(number);
      ended.connections++;
      ended.orphans += admission.orphans.length - before;
      later.push({ at: clock.now + random() * 500, act: () => connect(owner) });
    };

    class Sweep implements Grantee {
      readonly owner = owners[Math.floor(random() * count)]!;
      readonly line = admission.join(this, this.owner);
      callDueAt(): number {
        return clock.now + 2_000;
      }
      granted(ticket: Ticket, booking: Booking): void {
        granted++;
        expect(this.owner.connections.has(booking.connection), "goes out on a connection of its owner").toBe(true);
        const unanswered = [...working].map((call) => call.booking);
        const same = unanswered.filter(({ key, kind }) => key === ticket.key && kind === ticket.kind);
        // What needs no monitor may be asked again when the connection of the first call has ended.
        const twice = same.filter(({ kind, connection }) => kind === "monitor" || isLiving(connection));
        expect(twice, `${ticket.kind} ${ticket.key} is asked twice`).toEqual([]);
        const frozen = ticket.kind === "monitor" && random() < 0.01;
        working.add({ booking, at: clock.now + (frozen ? 2_000 + random() * 20_000 : 2 + random() * 8) });
        unanswered.push(booking);
        expect(unanswered.filter(({ kind }) => kind === "monitor").length).toBeLessThanOrEqual(8);
        const here = unanswered.filter(({ connection }) => connection === booking.connection);
        expect(here.filter(({ kind }) => kind === "monitor").length).toBeLessThanOrEqual(4);
        expect(here.length).toBeLessThanOrEqual(4 + 1);
      }
    }
    const isLiving = (number: number) => owners.some(({ connections }) => connections.has(number));

    for (const owner of owners) for (let i = 0; i < usual; i++) connect(owner);
    let cancelled = 0;
    const sweeps = Array.from({ length: SWEEPS }, () => new Sweep());
    for (const { line } of sweeps) {
      const tickets = Array.from({ length: DOMAINS }, (_, i) => ({
        key: String(i),
        kind: (i % 10 === 0 ? "free" : "monitor") as CallKind,
        waiting: false,
      }));
      line.wait(tickets);
      for (const ticket of tickets) {
        if (!ticket.waiting || random() > 0.02) continue;
        line.cancel(ticket);
        cancelled++;
      }
    }

    for (let steps = 0; working.size + later.length > 0; steps++) {
      expect(steps, "it comes to an end").toBeLessThan(3 * SWEEPS * DOMAINS);
      const answer = [...working].reduce<Working | undefined>((a, b) => (a && a.at <= b.at ? a : b), undefined);
      const event = later.reduce<(typeof later)[number] | undefined>((a, b) => (a && a.at <= b.at ? a : b), undefined);
      if (event !== undefined && (answer === undefined || event.at <= answer.at)) {
        clock.now = event.at;
        later.splice(later.indexOf(event), 1);
        event.act();
        continue;
      }
      const { booking, at } = answer!;
      clock.now = at;
      working.delete(answer!);
      const orphan = booking.kind === "monitor" && !isLiving(booking.connection);
      booking.release();
      if (orphan) {
        expect(admission.isQuarantined(booking.key, "monitor"), "an orphan is not released by its answer").toBe(true);
        later.push({ at: at + random() * 5_000, act: () => admission.adopt(booking.key) });
      }
      if (random() < 0.01) {
        const { line } = sweeps[Math.floor(random() * SWEEPS)]!;
        line.hold();
        line.go();
      }
      if (random() < ending) disconnect(owners[Math.floor(random() * count)]!);
    }

    expect(granted, "nobody is forgotten").toBe(SWEEPS * DOMAINS - cancelled);
    expect([admission.inFlight("monitor"), admission.inFlight("free")]).toEqual([0, 0]);
    expect(admission.orphans).toEqual([]);
    // The run was as eventful as it was meant to be.
    if (ending > 0) {
      expect(ended.connections).toBeGreaterThan(5);
      expect(ended.orphans).toBeGreaterThan(5);
    }
    for (const owner of owners) for (const number of owner.connections) admission.removeConnection(number);
    expect(admission.idle).toBe(true);
  }

  it.each([1, 2, 3])("keeps to its limits, asks nobody twice, and forgets nobody (one connection, seed %i)", (seed) => {
    run(seed, { owners: 1, connections: 1, ending: 0 });
  });

  it.each([4, 5, 6])("does so over several owners and their connections, too (seed %i)", (seed) => {
    run(seed, { owners: 3, connections: 2, ending: 0 });
  });

  it.each([7, 8, 9, 10, 11, 12])("does so while connections come and go, and leave orphans (seed %i)", (seed) => {
    run(seed, { owners: 1 + (seed % 3), connections: 2, ending: 0.005 });
  });
});
