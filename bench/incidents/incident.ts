import { join } from "node:path";
import { mustRun } from "../../test/lab/command.ts";
import { createGuest, type Guest } from "../../test/lab/guest.ts";
import type { Libvirtd } from "../../test/lab/libvirtd.ts";
import { SlowDisk } from "../../test/lab/slow-disk.ts";

/** A fault that the benchmark causes on a real host, such as a full disk. */
export interface Incident {
  readonly title: string;
  /**
   * Makes the incident happen to one guest.
   *
   * @param small the folder at which a file system of 1 MiB is mounted
   */
  begin(libvirtd: Libvirtd, small: string): Promise<Trouble>;
  /** What a screen must say, and the command that it must name beside `virstream why`. */
  readonly cause: RegExp;
  readonly remedy: RegExp;
}

/** An incident that has happened. */
export interface Trouble {
  /** The guest that people see in trouble. */
  readonly guest: string;
  end(): Promise<void>;
}

/** How long each request of the slow disk takes, in ms. */
const DELAY_MS = 300;

async function endOf(...guests: Guest[]): Promise<void> {
  for (const guest of guests) {
    await guest.destroy().catch(() => {});
    await guest.undefine();
  }
}

export const INCIDENTS: readonly Incident[] = [
  {
    title: "frozen guest: SIGSTOP to its QEMU",
    cause: /is stopped \(state T\)/,
    remedy: /kill -CONT \d+/,
    async begin(libvirtd) {
      const guest = await createGuest(libvirtd, { name: "db-1" });
      guest.freeze();
      return {
        guest: guest.name,
        async end() {
          guest.thaw();
          await endOf(guest);
        },
      };
    },
  },
  {
    title: "ENOSPC: its image is on a full file system",
    cause: /disk vda found no space left/,
    remedy: /df -h .*[\s\S]*resume build-7/,
    async begin(libvirtd, small) {
      const guest = await createGuest(libvirtd, { name: "build-7", fillsDisk: small });
      return { guest: guest.name, end: () => endOf(guest) };
    },
  },
  {
    title: "crashed QEMU: SIGKILL, as the kernel does when memory is short",
    cause: /QEMU crashed or was killed/,
    remedy: /start cache-3/,
    async begin(libvirtd) {
      const guest = await createGuest(libvirtd, { name: "cache-3" });
      await guest.kill();
      return { guest: guest.name, end: () => endOf(guest) };
    },
  },
  {
    title: `slow disk: its storage takes ${DELAY_MS} ms for each request`,
    cause: /disk vda took \d+ ms for each write/,
    remedy: /iostat -x 1/,
    async begin(libvirtd) {
      const disk = await SlowDisk.open(join(libvirtd.directory, "slow.nbd"), DELAY_MS);
      const guest = await createGuest(libvirtd, { name: "mail-2", disks: 0, devices: disk.xml });
      return {
        guest: guest.name,
        async end() {
          await endOf(guest);
          await disk[Symbol.asyncDispose]();
        },
      };
    },
  },
  {
    title: "limited disk: libvirt limits it to two requests per second",
    cause: /disk vda took \d+ ms for each write[\s\S]*total_iops_sec 2/,
    remedy: /blkdeviotune disk-4 vda/,
    async begin(libvirtd) {
      const folder = join(libvirtd.directory, "disks");
      const guest = await createGuest(libvirtd, { name: "disk-4", fillsDisk: folder });
      await guest.virsh(`blkdeviotune ${guest.uuid} vda --total-iops-sec 2`);
      return { guest: guest.name, end: () => endOf(guest) };
    },
  },
  {
    title: "CPU steal: three guests that compute on one processor of the host",
    cause: /waited \d+ % of the time for a processor of the host/,
    remedy: /top #/,
    async begin(libvirtd) {
      const guests: Guest[] = [];
      for (const name of ["web-1", "web-2", "web-3"]) guests.push(await createGuest(libvirtd, { name, busy: true }));
      for (const { pid } of guests) await mustRun("taskset", ["-acp", "0", `${pid}`]);
      return { guest: "web-1", end: () => endOf(...guests) };
    },
  },
];
