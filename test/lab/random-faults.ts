import { setTimeout as sleep } from "node:timers/promises";
import type { FaultLab } from "./fault-lab.ts";
import type { Guest } from "./guest.ts";
import type { TimedSweep } from "./timed-sweep.ts";

/** What can happen to a guest. */
export const GUEST_FAULTS = ["freeze", "thaw", "kill", "destroy", "start", "undefine", "define"] as const;
/** One of them. */
export type GuestFault = (typeof GUEST_FAULTS)[number];

type Condition = "running" | "frozen" | "off" | "undefined";

/** What may happen next, and how often. Destroying a frozen guest keeps libvirt from listing for ten seconds: it is rare. */
const WEIGHTS: Readonly<Record<Condition, Partial<Record<GuestFault, number>>>> = {
  running: { freeze: 6, kill: 1, destroy: 1 },
  frozen: { thaw: 40, kill: 8, destroy: 1 },
  off: { start: 3, undefine: 1 },
  undefined: { define: 1 },
};

/** So many guests have something happen to them at a time: one that takes ten seconds must not hold up the rest. */
const AT_A_TIME = 3;
/** The longest pause after each, in ms. */
const PAUSE_MS = 150;

/** One guest, and since when a sweep must find it, on performance.now()'s clock. */
interface Fate {
  readonly guest: Guest;
  condition: Condition;
  occupied: boolean;
  /** When its definition was complete. */
  definedAt: number;
  /** When it was last begun to undefine it. */
  leavingAt: number;
}

/**
 * Lets things happen to a lab's guests without end, in an order that follows from a seed (their duration does not), and
 * knows which domains a sweep beside it had to find: one that was defined all the while has exactly one record, one that
 * was defined or undefined meanwhile at most one, and nobody else has any.
 */
export class RandomFaults {
  /** How often what happened. */
  readonly counts: Record<GuestFault, number> = {
    freeze: 0,
    thaw: 0,
    kill: 0,
    destroy: 0,
    start: 0,
    undefine: 0,
    define: 0,
  };
  readonly #fates: readonly Fate[];
  #random: number;
  #stopped = false;
  #running: Promise<unknown> | undefined;

  /** @param lab whose guests all run and are defined */
  constructor(lab: FaultLab, seed: number) {
    this.#random = seed >>> 0;
    this.#fates = lab.guests.map((guest) => ({
      guest,
      condition: "running",
      occupied: false,
      definedAt: performance.now(),
      leavingAt: Number.NEGATIVE_INFINITY,
    }));
  }

  start(): void {
    this.#running = Promise.all(Array.from({ length: AT_A_TIME }, () => this.#cause()));
    this.#running.catch(() => {});
  }

  /** Lets what happens come to its end, then thaws, defines and starts every guest. Rejects if something went wrong. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
    for (const fate of this.#fates) {
      if (fate.condition === "frozen") await this.#apply(fate, "thaw");
      if (fate.condition === "undefined") await this.#apply(fate, "define");
      for (let tries = 0; fate.condition === "off"; tries++) {
        if (tries === 10) throw new Error(`${fate.guest.name} does not start`);
        await this.#apply(fate, "start");
      }
    }
  }

  /** What a sweep, just ended, had too much or too little; empty when it was as it must be. */
  audit(sweep: TimedSweep): string[] {
    const complaints: string[] = [];
    if (sweep.error !== undefined) complaints.push(`the sweep failed: ${sweep.error}`);
    const counts = sweep.perDomain();
    for (const { guest, definedAt, leavingAt } of this.#fates) {
      const count = counts.get(guest.uuid) ?? 0;
      counts.delete(guest.uuid);
      if (count > 1) complaints.push(`${guest.name} has ${count} records`);
      const there = definedAt <= sweep.beganAt && leavingAt < definedAt;
      if (count === 0 && there && sweep.error === undefined) complaints.push(`${guest.name} has no record`);
    }
    for (const uuid of counts.keys()) complaints.push(`nobody has the uuid ${uuid}`);
    return complaints;
  }

  async #cause(): Promise<void> {
    while (!this.#stopped) {
      const idle = this.#fates.filter(({ occupied }) => !occupied);
      const fate = idle[this.#below(idle.length)]!;
      await this.#apply(fate, this.#draw(WEIGHTS[fate.condition]));
      await sleep(this.#below(PAUSE_MS));
    }
  }

  async #apply(fate: Fate, fault: GuestFault): Promise<void> {
    const { guest } = fate;
    fate.occupied = true;
    try {
      switch (fault) {
        case "freeze":
          guest.freeze();
          fate.condition = "frozen";
          break;
        case "thaw":
          guest.thaw();
          fate.condition = "running";
          break;
        case "kill":
          await guest.kill();
          // libvirt hears of it by itself, and until then takes the guest for running.
          while ((await guest.virsh(`domstate ${guest.uuid}`)).trim() !== "shut off") await sleep(20);
          fate.condition = "off";
          break;
        case "destroy":
          await guest.destroy();
          fate.condition = "off";
          break;
        case "start":
          // One that was killed a moment ago may leave something behind that keeps it from starting at once.
          fate.condition = (await starts(guest)) ? "running" : "off";
          break;
        case "undefine":
          fate.leavingAt = performance.now();
          await guest.undefine();
          fate.condition = "undefined";
          break;
        case "define":
          await guest.define();
          fate.definedAt = performance.now();
          fate.condition = "off";
      }
      this.counts[fault]++;
    } finally {
      fate.occupied = false;
    }
  }

  #draw(weights: Partial<Record<GuestFault, number>>): GuestFault {
    const lots = Object.entries(weights).flatMap(([fault, weight]) =>
      Array<GuestFault>(weight).fill(fault as GuestFault),
    );
    return lots[this.#below(lots.length)]!;
  }

  /** A whole number from 0 to below `limit`, by a linear congruence: the next one follows from the last. */
  #below(limit: number): number {
    this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#random / 2 ** 32) * limit);
  }
}

function starts(guest: Guest): Promise<boolean> {
  return guest.start().then(
    () => true,
    () => false,
  );
}
