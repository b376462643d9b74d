import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import { Caller, OTHER, OWNER, prove, setUp } from "./caller.ts";

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
      const permit = [one, two, three].flatMap((caller) => caller!.granted_).find((b) => !order.includes(b.key))!;
      order.push(permit.key);
      permit.release();
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
    expect([admission.isInFlight("a", "monitor"), admission.isInFlight("a", "free")]).toEqual([true, true]);
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
    one!.queue.close();
    two!.wait(["x"]);
    expect([one!.keys, two!.keys]).toEqual(["abcd", ""]);
    one!.granted_[2]!.release();
    expect([one!.keys, two!.keys]).toEqual(["abcd", "x"]);
    expect(admission.inFlight("monitor")).toBe(4);
  });

  it("keeps nothing of a sweep that has ended while the call hangs that it waited for", async () => {
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    const { admission, callers } = setUp();
    callers[0]!.wait(["a"]);
    const endedSweep = (): WeakRef<Caller> => {
      const caller = new Caller(admission);
      caller.wait(["a"]);
      caller.queue.close();
      return new WeakRef(caller);
    };
    const ended = endedSweep();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect(ended.deref()).toBeUndefined();
  });

  it("passes over cancelled tickets, in line and parked", () => {
    const {
      callers: [one, two],
    } = setUp({ slots: 2, callers: 2 });
    one!.wait(["a", "b"]);
    const [parked, waiting] = two!.wait(["a", "c", "d"]);
    one!.granted_[1]!.release();
    expect(two!.keys).toBe("c");
    parked!.waiting = false;
    one!.granted_[0]!.release();
    expect(two!.keys).toBe("cd");
    expect(waiting!.waiting).toBe(false);
  });

  it("does not grant as a monitor call what was cancelled as one and waits again as one that needs none", () => {
    const { admission, callers } = setUp({ lanes: 0 });
    const [caller] = callers;
    caller!.wait([..."abcd"]);
    const late = { key: "e", kind: "monitor" as "monitor" | "free", waiting: false };
    caller!.queue.wait([late]);
    late.waiting = false;
    late.kind = "free";
    caller!.queue.wait([late]);
    caller!.granted_[0]!.release();
    expect(caller!.keys).toBe("abcde");
    expect(caller!.permit("e").kind).toBe("free");
    caller!.permit("e").release();
    expect(admission.isTrusted("e")).toBe(false);
  });

  it("grants nothing to a line that is held, and catches up when it goes on", () => {
    const {
      callers: [one, two],
    } = setUp({ slots: 2, callers: 2 });
    one!.queue.hold();
    one!.wait(["a", "b"]);
    two!.wait(["x"]);
    expect([one!.keys, two!.keys]).toEqual(["", "x"]);
    one!.queue.resume();
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
  const admission = new Admission(() => clock.now);
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
    for (const permit of [...one.granted_]) permit.release();
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

  it("keeps an owner without a connection waiting, and no other owner, until it has one", () => {
    const admission = new Admission(() => 0);
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
    const admission = new Admission(() => 0);
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

  it("asks no domain twice at a time, for any owner and on any connection", () => {
    const { one, two } = setUpTwo();
    one.wait(["a"]);
    two.wait(["a", "b"]);
    expect(two.keys).toBe("b");
    one.permit("a").release();
    expect(two.keys).toBe("ba");
  });

  it("gives an owner as many slots as its connections have, and no more than the budget", () => {
    const { admission } = setUpTwo();
    expect(admission.slotsOf(OWNER)).toBe(8);
    admission.addConnection(OWNER);
    expect(admission.slotsOf(OWNER)).toBe(8);
    expect(admission.slotsOf({ probeWorker: prove })).toBe(0);
  });

  it("knows when nothing but overdue calls spends the budget, whichever owner made them", () => {
    const { admission, one, two } = setUpTwo();
    one.due = 1_000;
    one.wait([..."abcd"]);
    two.due = 3_000;
    two.wait([..."mno"]);
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
    two.wait(["p"]);
    expect(admission.exhaustedAt(OWNER)).toBe(3_000);
    expect(admission.exhaustedAt(OTHER)).toBe(3_000);
    two.permit("p").release();
    expect(admission.exhaustedAt(OWNER)).toBe(Number.POSITIVE_INFINITY);
  });

  it("counts against an owner whose slots are full only what is in its slots", () => {
    const { admission, connections, one, two } = setUpTwo();
    admission.removeConnections([connections[1]!]);
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
    for (const connection of connections.slice(0, 2)) admission.removeConnections([connection]);
    expect(admission.orphans.sort()).toEqual([..."abcdefgh"]);
    expect(admission.inFlight("monitor")).toBe(8);
    expect(admission.isQuarantined("a", "monitor")).toBe(true);
    expect(admission.isInFlight("a", "monitor")).toBe(true);
    two.wait(["m", "a"]);
    expect(two.keys).toBe("");
  });

  it("takes no late answer for the end of such a call: no client can have heard it", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    admission.removeConnections([one.permit("a").connection]);
    one.permit("a").release();
    expect(admission.orphans).toEqual(["a"]);
    expect(admission.isQuarantined("a", "monitor")).toBe(true);
    expect(admission.isTrusted("a")).toBe(false);
  });

  it("frees the place of a domain whose monitor was seen to be free, for the next call that waits", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait([..."abcdefgh"]);
    two.wait([..."amn"]);
    for (const connection of connections.slice(0, 2)) admission.removeConnections([connection]);
    admission.releaseOrphan("b");
    expect(two.keys).toBe("m");
    expect(admission.isQuarantined("b", "monitor")).toBe(false);
    // It was seen to be free, but it has not answered.
    expect(admission.isTrusted("b")).toBe(false);
    admission.releaseOrphan("b");
    admission.releaseOrphan("unknown");
    expect(two.keys).toBe("m");
    // At its turn it stepped aside for the domain's call, so it goes first.
    admission.releaseOrphan("a");
    expect(two.keys).toBe("ma");
    one.permit("a").release();
    expect(admission.isInFlight("a", "monitor")).toBe(true);
    expect(admission.inFlight("monitor")).toBe(8);
  });

  it("adopts no call whose connection lives: only its answer ends it", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    admission.releaseOrphan("a");
    expect(admission.isInFlight("a", "monitor")).toBe(true);
    expect(admission.orphans).toEqual([]);
  });

  it("lets its calls that need no monitor end with it, and others of the same kind go", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait([..."vwxyzrstuv"], "free");
    two.wait(["v"], "free");
    expect(two.keys).toBe("");
    for (const connection of connections.slice(0, 2)) admission.removeConnections([connection]);
    expect(two.keys).toBe("v");
    expect(admission.inFlight("free")).toBe(1);
    // The late answer is that of another permit.
    for (const permit of one.granted_) permit.release();
    expect(admission.inFlight("free")).toBe(1);
    expect(admission.orphans).toEqual([]);
  });

  it("leaves the calls on the owner's other connections as they are", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait([..."abcdefgh"]);
    admission.removeConnections([connections[0]!]);
    admission.removeConnections([connections[0]!]);
    expect(admission.orphans).toHaveLength(4);
    const living = one.granted_.filter(({ connection }) => connection === connections[1]);
    for (const permit of living) permit.release();
    expect(admission.inFlight("monitor")).toBe(4);
    expect(admission.slotsOf(OWNER)).toBe(4);
  });

  it("says to those who wait for a budget that orphans alone have spent that waiting is of no use", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait([..."abcdefgh"]);
    for (const connection of connections.slice(0, 2)) admission.removeConnections([connection]);
    expect(admission.exhaustedAt(OTHER)).toBe(Number.NEGATIVE_INFINITY);
    admission.releaseOrphan("a");
    expect(admission.exhaustedAt(OTHER)).toBe(Number.POSITIVE_INFINITY);
  });

  it("is idle only when there is no connection any more, and no orphan", () => {
    const { admission, connections, one } = setUpTwo();
    one.wait(["a"]);
    one.wait(["x"], "free");
    for (const connection of connections) {
      expect(admission.idle).toBe(false);
      admission.removeConnections([connection]);
    }
    expect(admission.idle).toBe(false);
    admission.releaseOrphan("a");
    expect(admission.idle).toBe(true);
  });
});

describe("Trust in a domain's monitor", () => {
  it("comes with its first answer, is the same for all owners, and does not come from what needs no monitor", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    one.wait(["b"], "free");
    expect(admission.isTrusted("a")).toBe(false);
    one.permit("a").release();
    one.permit("b").release();
    expect([admission.isTrusted("a"), admission.isTrusted("b")]).toEqual([true, false]);
  });

  it("ends when a caller distrusts it, and comes back with the next answer", () => {
    const { admission, one } = setUpTwo();
    one.wait(["a"]);
    one.permit("a").release();
    admission.distrust("a");
    expect(admission.isTrusted("a")).toBe(false);
    one.wait(["a"]);
    one.granted_[1]!.release();
    expect(admission.isTrusted("a")).toBe(true);
  });

  it("is forgotten for every domain when any connection ends: what the daemon does now is not known", () => {
    const { admission, connections, one, two } = setUpTwo();
    one.wait(["a"]);
    two.wait(["m"]);
    one.permit("a").release();
    two.permit("m").release();
    admission.removeConnections([connections[0]!]);
    expect([admission.isTrusted("a"), admission.isTrusted("m")]).toEqual([false, false]);
  });
});
