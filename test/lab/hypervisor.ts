import { createGuest, type Guest } from "./guest.ts";
import { type Libvirtd, type LibvirtdOptions, startLibvirtd } from "./libvirtd.ts";

/** A private libvirtd with one guest of every kind that tests care about. */
export interface Lab extends AsyncDisposable {
  readonly libvirtd: Libvirtd;
  /** Paused: 2 vCPUs, 2 disks (raw and qcow2), a network card, an iothread. */
  readonly rich: Guest;
  /** Paused: one disk, an overlay on a base. */
  readonly chained: Guest;
  /** Paused: 1 vCPU, no disk, no network card. */
  readonly minimal: Guest;
  /** Running, with a disk that it reads twice a second and a network card: its counters move. */
  readonly running: Guest;
  /** Defined and shut off. */
  readonly shutOff: Guest;
  /** All five, in the order above. */
  readonly guests: readonly Guest[];
  /** The same as `libvirtd.stop()`. */
  stop(): Promise<void>;
}

/**
 * The mix that most tests use: three paused guests of different shapes, whose counters stand still so that two readings
 * can be compared, one that runs, and one that is shut off. Takes about two seconds.
 */
export async function standardLab(options: LibvirtdOptions = {}): Promise<Lab> {
  const libvirtd = await startLibvirtd(options);
  try {
    // The first guest alone: libvirt then learns what QEMU can do, and two learners would do the work twice.
    const rich = await createGuest(libvirtd, {
      name: "rich",
      vcpus: 2,
      disks: 2,
      nics: 1,
      iothreads: 1,
      memoryMiB: 32,
      paused: true,
    });
    const [chained, minimal] = await Promise.all([
      createGuest(libvirtd, { name: "chained", backingChain: true, paused: true }),
      createGuest(libvirtd, { name: "minimal", disks: 0, paused: true }),
    ]);
    const [running, shutOff] = await Promise.all([
      createGuest(libvirtd, { name: "running", nics: 1 }),
      createGuest(libvirtd, { name: "shut-off", shutOff: true }),
    ]);
    const guests = [rich, chained, minimal, running, shutOff];
    const stop = () => libvirtd.stop();
    return { libvirtd, rich, chained, minimal, running, shutOff, guests, stop, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await libvirtd.stop();
    throw error;
  }
}
