import { describe, expect, it } from "vitest";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import type { ConnectionOwner, WorkerProbe } from "../../../../src/drivers/libvirt/sweep/concurrency-limit.ts";
import { Caller, prove } from "./caller.ts";

describe("The concurrency limit of admission, while the daemon's pool of workers may be small", () => {
  function narrow() {
    const probes: WorkerProbe[] = [];
    const owner: ConnectionOwner = { probeWorker: (probe) => void probes.push(probe) };
    const admission = new Admission(() => 0);
    const connections = [admission.addConnection(owner), admission.addConnection(owner)];
    return { probes, owner, admission, connections, caller: new Caller(admission, owner) };
  }

  it("is four until a free worker was proven behind four unanswered calls, then grows by one for each proof", () => {
    const { probes, caller } = narrow();
    caller.wait([..."abcdefghijkl"]);
    for (const keys of ["abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"]) {
      expect(caller.keys).toBe(keys);
      expect(probes).toHaveLength(keys.length - 3);
      prove(probes.at(-1)!);
    }
    // The last proof has shown that there is one for everybody else.
    expect(caller.keys).toBe("abcdefgh");
    expect(probes).toHaveLength(5);
  });

  it("does not grow by a proof behind calls that were answered meanwhile, and asks for the next when it is full again", () => {
    const { probes, caller } = narrow();
    caller.wait([..."abcdefgh"]);
    caller.granted_[0]!.release();
    expect(caller.keys).toBe("abcde");
    prove(probes[0]!);
    expect(caller.keys).toBe("abcde");
    expect(probes).toHaveLength(2);
    prove(probes[1]!);
    expect(caller.keys).toBe("abcdef");
  });

  it("needs one proof at a time, and none for fewer calls than are safe, or than were proven", () => {
    const { probes, caller } = narrow();
    caller.wait([..."abc"]);
    expect(probes).toHaveLength(0);
    caller.wait([..."defgh"]);
    expect(probes).toHaveLength(1);
    prove(probes[0]!);
    for (const permit of caller.granted_.splice(0)) permit.release();
    prove(probes[1]!);
    expect(caller.keys).toBe("fgh");
    const before = probes.length;
    caller.wait(["m"]);
    expect(caller.keys).toBe("fghm");
    expect(probes).toHaveLength(before);
  });

  it("is four again when the last connection has ended: it may be another daemon", () => {
    const { probes, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcdefghijkl"]);
    for (let i = 0; i < 5; i++) prove(probes[i]!);
    admission.removeConnections(connections);
    for (const uuid of admission.orphans) admission.releaseOrphan(uuid);
    admission.addConnection(owner);
    admission.addConnection(owner);
    expect(caller.keys).toBe("abcdefghijkl");
    expect(admission.inFlight("monitor")).toBe(4);
    expect(probes).toHaveLength(6);
  });

  it("is no reason to give up waiting while a proof is under way", () => {
    const { probes, caller, admission, owner } = narrow();
    caller.due = -1;
    caller.wait([..."abcde"]);
    expect(admission.exhaustedAt(owner)).toBe(Number.POSITIVE_INFINITY);
    probes[0]!.end();
    expect(probes).toHaveLength(2);
    prove(probes[1]!);
    expect(caller.keys).toBe("abcde");
  });

  it("grows behind orphans, too, so that they cost the others no more than they must, until one of them is adopted", () => {
    const { probes, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcd"]);
    admission.removeConnections(connections);
    admission.addConnection(owner);
    admission.addConnection(owner);
    caller.wait([..."ijklmnop"]);
    expect(caller.keys).toBe("abcd");
    for (let i = 1; i < 4; i++) prove(probes[i]!);
    expect(caller.keys).toBe("abcdijk");
    // Without it, what was proven may not hold: its daemon may be gone, and the new one have fewer workers.
    admission.releaseOrphan("a");
    expect(caller.keys).toBe("abcdijk");
    expect(admission.inFlight("monitor")).toBe(6);
    prove(probes.at(-1)!);
    expect(caller.keys).toBe("abcdijkl");
  });

  it("takes nothing from a proof that is under way when the last connection ends", () => {
    const { probes, caller, admission, owner, connections } = narrow();
    caller.wait([..."abcd"]);
    probes[0]!.answered();
    admission.removeConnections(connections);
    for (const uuid of admission.orphans) admission.releaseOrphan(uuid);
    probes[0]!.end();
    admission.addConnection(owner);
    admission.addConnection(owner);
    caller.wait([..."ijklmnop"]);
    expect(admission.inFlight("monitor")).toBe(4);
  });
});
