import { expect, vi } from "vitest";
import { PATIENCE } from "../until.ts";
import { createGuest, type Guest } from "./guest.ts";
import type { Libvirtd } from "./libvirtd.ts";

/** Two guests that failed: `broken` is paused, because its disk cannot be read, and the QEMU of `killed` was killed. */
export async function createFailedGuests(libvirtd: Libvirtd): Promise<{ broken: Guest; killed: Guest }> {
  const broken = await createGuest(libvirtd, { name: "broken", brokenDisk: true });
  const killed = await createGuest(libvirtd, { name: "killed", disks: 0, paused: true });
  await killed.kill();
  await vi.waitFor(async () => {
    expect(await killed.virsh("domstate killed --reason")).toMatch(/^shut off \(crashed\)/);
    expect(await broken.virsh("domstate broken --reason")).toMatch(/^paused \(I\/O error\)/);
  }, PATIENCE);
  return { broken, killed };
}
