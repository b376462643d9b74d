/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { Admission } from "../../../../src/drivers/libvirt/sweep/admission.ts";
import type { CallKind, CallOwner, Permit, Ticket } from "../../../../src/drivers/libvirt/sweep/call-queue.ts";
import { prove } from "./caller.ts";
import { randomFrom } from "./random.ts";

describe("Admission, with thousands of domains that freeze at random", () => {
  /** A call that the daemon works on, whether or not anybody still hears the answer. */
  interface Working {
    readonly permit: Permit;
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
    const admission = new Admission(() => clock.now);
    const owners = Array.from({ length: count }, () => ({ connections: new Set<number>(), probeWorker: prove }));
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
      admission.removeConnections([number]);
      ended.connections++;
      ended.orphans += admission.orphans.length - before;
      later.push({ at: clock.now + random() * 500, act: () => connect(owner) });
    };

    class Sweep implements CallOwner {
      readonly owner = owners[Math.floor(random() * count)]!;
      readonly queue = admission.join(this, this.owner);
      callDueAt(): number {
        return clock.now + 2_000;
      }
      granted(ticket: Ticket, permit: Permit): void {
        granted++;
        expect(this.owner.connections.has(permit.connection), "goes out on a connection of its owner").toBe(true);
        const unanswered = [...working].map((call) => call.permit);
        const same = unanswered.filter(({ key, kind }) => key === ticket.key && kind === ticket.kind);
        // What needs no monitor may be asked again when the connection of the first call has ended.
        const twice = same.filter(({ kind, connection }) => kind === "monitor" || isLiving(connection));
        expect(twice, `${ticket.kind} ${ticket.key} is asked twice`).toEqual([]);
        const frozen = ticket.kind === "monitor" && random() < 0.01;
        working.add({ permit, at: clock.now + (frozen ? 2_000 + random() * 20_000 : 2 + random() * 8) });
        unanswered.push(permit);
        expect(unanswered.filter(({ kind }) => kind === "monitor").length).toBeLessThanOrEqual(8);
        const here = unanswered.filter(({ connection }) => connection === permit.connection);
        expect(here.filter(({ kind }) => kind === "monitor").length).toBeLessThanOrEqual(4);
        expect(here.length).toBeLessThanOrEqual(4 + 1);
      }
    }
    const isLiving = (number: number) => owners.some(({ connections }) => connections.has(number));

    for (const owner of owners) for (let i = 0; i < usual; i++) connect(owner);
    let cancelled = 0;
    const sweeps = Array.from({ length: SWEEPS }, () => new Sweep());
    for (const { queue } of sweeps) {
      const tickets = Array.from({ length: DOMAINS }, (_, i) => ({
        key: String(i),
        kind: (i % 10 === 0 ? "free" : "monitor") as CallKind,
        waiting: false,
      }));
      queue.wait(tickets);
      for (const ticket of tickets) {
        if (!ticket.waiting || random() > 0.02) continue;
        ticket.waiting = false;
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
      const { permit, at } = answer!;
      clock.now = at;
      working.delete(answer!);
      const orphan = permit.kind === "monitor" && !isLiving(permit.connection);
      permit.release();
      if (orphan) {
        expect(admission.isQuarantined(permit.key, "monitor"), "an orphan is not released by its answer").toBe(true);
        later.push({ at: at + random() * 5_000, act: () => admission.releaseOrphan(permit.key) });
      }
      if (random() < 0.01) {
        const { queue } = sweeps[Math.floor(random() * SWEEPS)]!;
        queue.hold();
        queue.resume();
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
    for (const owner of owners) for (const number of owner.connections) admission.removeConnections([number]);
    expect(admission.idle).toBe(true);
  }

  it.each([1, 2, 3])(
    "keeps to its limits, asks no domain twice, and forgets none (one connection, seed %i)",
    (seed) => {
      run(seed, { owners: 1, connections: 1, ending: 0 });
    },
  );

  it.each([4, 5, 6])("does so over several owners and their connections, too (seed %i)", (seed) => {
    run(seed, { owners: 3, connections: 2, ending: 0 });
  });

  it.each([7, 8, 9, 10, 11, 12])("does so while connections come and go, and leave orphans (seed %i)", (seed) => {
    run(seed, { owners: 1 + (seed % 3), connections: 2, ending: 0.005 });
  });
});
