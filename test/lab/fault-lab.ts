import { setTimeout as sleep } from "node:timers/promises";
import { createGuests, type Guest, type GuestOptions } from "./guest.ts";
import { type Libvirtd, startLibvirtd } from "./libvirtd.ts";
import { labRequirements, type RequirementName } from "./requirement.ts";
import { workerPool } from "./workers.ts";

/** What `FaultLab` needs of the machine. */
export const faultRequirements: readonly RequirementName[] = [...labRequirements, "virt-admin"];

/** How long a thawed host may take until nothing hangs any more. A frozen guest that is destroyed takes 10 s. */
const CALM_MS = 60_000;

/** A private libvirtd with guests of one make that all run, each with a disk and a network card, to freeze some or all. */
export class FaultLab implements AsyncDisposable {
  readonly libvirtd: Libvirtd;
  readonly guests: readonly Guest[];

  private constructor(libvirtd: Libvirtd, guests: readonly Guest[]) {
    this.libvirtd = libvirtd;
    this.guests = guests;
  }

  /** Starts all of it; twelve guests take about six seconds. */
  static async start(count = 12, options: Omit<Partial<GuestOptions>, "uuid"> = {}): Promise<FaultLab> {
    const libvirtd = await startLibvirtd();
    try {
      return new FaultLab(libvirtd, await createGuests(libvirtd, count, { nics: 1, ...options }));
    } catch (error) {
      await libvirtd.stop();
      throw error;
    }
  }

  /** Freezes `count` guests, from number `first` on and round to the beginning. To be thawed by `calm`. */
  freeze(count: number, first = 0): Guest[] {
    const frozen = Array.from({ length: count }, (_, i) => this.guests[(first + i) % this.guests.length]!);
    for (const guest of frozen) guest.freeze();
    return frozen;
  }

  /** Lets every guest that runs go on, and resolves when no worker of the daemon hangs and no call waits for one. */
  async calm(): Promise<void> {
    for (const guest of this.guests) if (guest.pid !== undefined) guest.thaw();
    const began = performance.now();
    for (;;) {
      const { busy, queued } = await workerPool(this.libvirtd);
      if (busy === 0 && queued === 0) return;
      if (performance.now() - began > CALM_MS) throw new Error(`${busy} workers of libvirtd still hang`);
      await sleep(20);
    }
  }

  stop(): Promise<void> {
    return this.libvirtd.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
