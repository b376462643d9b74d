import { describe, expect, it } from "vitest";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import type { Proof, Prover } from "../../../../src/drivers/libvirt/sweep/width.ts";
import { Caller, prove } from "./caller.ts";

describe("The width of admission, while the daemon's pool of workers may be small", () => {
  function narrow() {
    const proofs: Proof[] = [];
    const owner: Prover = { prove: (proof) => void proofs.push(proof) };
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

  it("is four again when the last connection has ended: it may be another daemon", () => {
    const { proofs, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcdefghijkl"]);
    for (let i = 0; i < 5; i++) prove(proofs[i]!);
    admission.removeConnections(connections);
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

  it("grows behind orphans, too, so that they cost the others no more than they must, until one of them is adopted", () => {
    const { proofs, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcd"]);
    admission.removeConnections(connections);
    admission.addConnection(owner);
    admission.addConnection(owner);
    caller.wait([..."ijklmnop"]);
    expect(caller.keys).toBe("abcd");
    for (let i = 1; i < 4; i++) prove(proofs[i]!);
    expect(caller.keys).toBe("abcdijk");
    // Without it, what was proven may not hold: its daemon may be gone, and the new one have fewer workers.
    admission.adopt("a");
    expect(caller.keys).toBe("abcdijk");
    expect(admission.inFlight("monitor")).toBe(6);
    prove(proofs.at(-1)!);
    expect(caller.keys).toBe("abcdijkl");
  });

  it("takes nothing from a proof that is under way when the last connection ends", () => {
    const { proofs, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcd"]);
    proofs[0]!.answered();
    admission.removeConnections(connections);
    for (const uuid of admission.orphans) admission.adopt(uuid);
    proofs[0]!.end();
    admission.addConnection(owner);
    admission.addConnection(owner);
    caller.wait([..."ijklmnop"]);
    expect(admission.inFlight("monitor")).toBe(4);
  });
});
