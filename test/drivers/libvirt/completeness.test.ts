import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { openHypervisor, openTransport } from "../../../src/drivers/libvirt/daemon.ts";
import { ControlState, PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../src/drivers/libvirt/rpc/rpc-client.ts";
import type { DomainStats } from "../../../src/drivers/libvirt/rpc/stats-reply.ts";
import { Completeness } from "../../../src/drivers/libvirt/sweep/completeness.ts";
import { parseLibvirtUri } from "../../../src/drivers/libvirt/transport/uri.ts";
import {
  ALL_GROUPS,
  GROUPS,
  type Group,
  groupMask,
  groupNames,
  MONITOR_FREE_GROUPS,
} from "../../../src/model/group.ts";
import { StatsFlag } from "../../../src/model/query.ts";
import { createGuest, Guest, type GuestOptions, kvmUsable } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";

/** A guest of the lab's own making, or the inside of `<devices>`, where IMAGE stands for the file of a disk. */
type Shape = Omit<GuestOptions, "name"> | string;

const SHAPES: Readonly<Record<string, Shape>> = {
  "that runs, with disks, a network card and an iothread": { vcpus: 2, disks: 2, nics: 1, iothreads: 1 },
  "that is paused": { paused: true },
  "that is transient and has no devices": { disks: 0, transient: true },
  "with a backing chain": { backingChain: true, paused: true },
  "without a memory balloon": '<memballoon model="none"/>',
  "with an empty CD-ROM drive only": '<disk type="file" device="cdrom"><target dev="hda" bus="ide"/></disk>',
  "with a CD-ROM in its drive": `<disk type="file" device="cdrom">
    <driver name="qemu" type="raw"/><source file="IMAGE"/><target dev="hda" bus="ide"/>
  </disk>`,
  "with a floppy disk": `<disk type="file" device="floppy">
    <driver name="qemu" type="raw"/><source file="IMAGE"/><target dev="fda" bus="fdc"/>
  </disk>`,
  "with a SCSI disk": `<controller type="scsi" model="virtio-scsi"/><disk type="file" device="disk">
    <driver name="qemu" type="raw"/><source file="IMAGE"/><target dev="sda" bus="scsi"/>
  </disk>`,
  "with a USB disk": `<controller type="usb" model="qemu-xhci"/><disk type="file" device="disk">
    <driver name="qemu" type="raw"/><source file="IMAGE"/><target dev="sda" bus="usb"/>
  </disk>`,
};

/** All groups, then each by itself. */
const ASKS: readonly (readonly Group[])[] = [[], ...GROUPS.map((group) => [group])];
const NEEDING = groupNames(ALL_GROUPS & ~MONITOR_FREE_GROUPS);

describeWith(labRequirements, "Completeness, with real guests", () => {
  let libvirtd: Libvirtd;
  /** One connection asks; the other has a call hang in the guest, and so holds the guest's job. */
  let asking: RpcClient;
  let holding: RpcClient;
  let version: number;
  let guest: Guest | undefined;
  let count = 0;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    [asking, holding] = await Promise.all([open(), open()]);
    version = await asking.call(PROCEDURES.libVersion, undefined);
  });

  afterEach(async () => {
    if (guest?.pid !== undefined) await guest.kill();
    guest = undefined;
  });

  afterAll(async () => {
    await asking?.close();
    await holding?.close();
    await libvirtd?.stop();
  });

  async function open(): Promise<RpcClient> {
    const uri = parseLibvirtUri(libvirtd.uri);
    const client = new RpcClient(await openTransport(uri, new AbortController().signal));
    await openHypervisor(client, uri.name);
    return client;
  }

  async function create(shape: Shape, kvm: boolean): Promise<Guest> {
    const name = `guest-${count++}`;
    if (typeof shape !== "string") return createGuest(libvirtd, { ...shape, name, kvm });
    const uuid = `00000000-0000-4000-8000-${String(count).padStart(12, "0")}`;
    const image = join(libvirtd.directory, "disks", `${uuid}.raw`);
    await writeFile(image, "");
    await truncate(image, 1_440 * 1_024);
    const file = join(libvirtd.directory, "disks", `${uuid}.xml`);
    const devices = shape.includes('type="usb"') ? shape : `<controller type="usb" model="none"/>${shape}`;
    await writeFile(
      file,
      `<domain type="${kvm ? "kvm" : "qemu"}"><name>${name}</name><uuid>${uuid}</uuid><memory unit="MiB">16</memory>
        <os><type arch="x86_64" machine="pc">hvm</type></os>
        <devices>${devices.replaceAll("IMAGE", image)}</devices></domain>`,
    );
    const made = new Guest(libvirtd, name, uuid, kvm);
    await made.virsh(`create ${file} --paused`);
    await made.refresh();
    return made;
  }

  async function ask(groups: readonly Group[], flags = 0, client = asking): Promise<DomainStats> {
    const reply = await client.call(PROCEDURES.stats, { uuids: [guest!.uuid], groups: groupMask(groups), flags });
    expect(reply).toHaveLength(1);
    return reply[0]!;
  }

  /** The keys of a group alone, as they are when the job is to be had at once, or not at all. */
  async function keys(group: Group): Promise<string> {
    return (await ask([group], StatsFlag.nowait)).params.schema.keys.join();
  }

  /** Asks, and says what is missing. */
  async function missing(completeness: Completeness, groups: readonly Group[], flags = 0): Promise<readonly Group[]> {
    const { domain, params } = await ask(groups, flags);
    return completeness.missing(domain, groupMask(groups), params);
  }

  /** Resolves when a call hangs in the guest's monitor. */
  async function hangs(): Promise<void> {
    const domain = await asking.call(PROCEDURES.lookupByUuid, guest!.uuid);
    const deadline = Date.now() + 20_000;
    while ((await asking.call(PROCEDURES.controlInfo, domain)).state !== ControlState.occupied) {
      if (Date.now() > deadline) throw new Error("no call hangs in the frozen guest");
      await sleep(5);
    }
  }

  /** Freezes the guest, has a call hang in it, and lets it go on when `act` is done. */
  async function withoutJob(act: () => Promise<void>): Promise<void> {
    guest!.freeze();
    try {
      const hanging = ask(["block"], 0, holding);
      await hangs();
      await act();
      guest!.thaw();
      await hanging;
    } finally {
      guest!.thaw();
    }
  }

  for (const accelerator of ["KVM", "emulation"]) {
    describe(`a guest on ${accelerator}`, () => {
      for (const [title, shape] of Object.entries(SHAPES)) {
        it(`${title}: misses what the daemon left out, and nothing else`, async ({ skip }) => {
          if (accelerator === "KVM" && !(await kvmUsable())) skip("KVM cannot be used here");
          guest = await create(shape, accelerator === "KVM");
          const learned = new Completeness(version);
          const whole = new Map<Group, string>();
          for (const group of GROUPS) whole.set(group, await keys(group));
          for (const groups of ASKS) {
            for (const flags of [0, StatsFlag.nowait, StatsFlag.backing]) {
              expect(await missing(learned, groups, flags), `seen before: ${groups}`).toEqual([]);
              expect(await missing(new Completeness(version), groups, flags), `never seen: ${groups}`).toEqual([]);
            }
          }

          await withoutJob(async () => {
            // What the daemon leaves out of each group, as its own answers show.
            const lost: Group[] = [];
            for (const group of GROUPS) if ((await keys(group)) !== whole.get(group)) lost.push(group);
            expect(lost).toContain("balloon");
            const path = (await ask(["block"], StatsFlag.nowait)).params.has("block.0.path");

            for (const groups of ASKS) {
              const seen = await missing(learned, groups, StatsFlag.nowait);
              const unseen = await missing(new Completeness(version), groups, StatsFlag.nowait);
              const [group] = groups;
              if (group === undefined) {
                expect(seen).toEqual(lost);
                // Halt polling times are not lost where the daemon can read them in debugfs.
                const debugfs = !lost.includes("cpu-total");
                expect(unseen).toEqual(NEEDING.filter((name) => name !== "cpu-total" || !debugfs));
                continue;
              }
              // By themselves, iothreads can have gone, a disk without a path can be one that never tells, and halt
              // polling times can be the host's.
              const silent = new Set<Group>(["iothread"]);
              if (!path) silent.add("block");
              if (!lost.includes("vcpu")) silent.add("cpu-total");
              expect(seen, `seen before: ${group}`).toEqual(lost.includes(group) && !silent.has(group) ? [group] : []);
              const certain = group === "balloon" || (group === "block" && path);
              expect(unseen, `never seen: ${group}`).toEqual(certain ? [group] : []);
            }
          });

          for (const groups of ASKS) {
            expect(await missing(learned, groups), `again: ${groups}`).toEqual([]);
          }
        });
      }
    });
  }

  it("misses nothing of a guest that is shut off, also when it was seen running", async () => {
    guest = await create({ disks: 2, nics: 1, iothreads: 1, paused: true }, false);
    const completeness = new Completeness(version);
    expect(await missing(completeness, [])).toEqual([]);
    await guest.destroy();
    for (const groups of ASKS) expect(await missing(completeness, groups), `${groups}`).toEqual([]);
  });

  it("misses nothing of a guest that was started again, and learns it again", async () => {
    guest = await create({ paused: true }, false);
    const completeness = new Completeness(version);
    expect(await missing(completeness, [])).toEqual([]);
    await guest.destroy();
    await guest.start({ paused: true });
    await withoutJob(async () => {
      expect(await missing(completeness, ["dirtyrate"], StatsFlag.nowait)).toEqual([]);
    });
    for (const groups of ASKS) expect(await missing(completeness, groups), `${groups}`).toEqual([]);
    await withoutJob(async () => {
      expect(await missing(completeness, ["dirtyrate"], StatsFlag.nowait)).toEqual(["dirtyrate"]);
    });
  });

  it("misses nothing of a guest whose iothreads were taken away", async () => {
    guest = await create({ disks: 0, iothreads: 1, paused: true }, false);
    const completeness = new Completeness(version);
    expect(await missing(completeness, [])).toEqual([]);
    expect((await ask(["iothread"])).params.has("iothread.count")).toBe(true);
    await guest.virsh(`iothreaddel ${guest.uuid} 1 --live`);
    expect((await ask(["iothread"])).params.size).toBe(0);
    for (const groups of ASKS) expect(await missing(completeness, groups), `${groups}`).toEqual([]);
  });

  it("misses nothing of a guest whose CD-ROM is taken out and put in again", async () => {
    guest = await create(SHAPES["with a CD-ROM in its drive"]!, false);
    const completeness = new Completeness(version);
    expect(await missing(completeness, [])).toEqual([]);
    const image = join(libvirtd.directory, "disks", `${guest.uuid}.raw`);
    for (const change of ["--eject", `--insert --source ${image}`]) {
      await guest.virsh(`change-media ${guest.uuid} hda ${change} --live --force`);
      for (const groups of ASKS) expect(await missing(completeness, groups), `${change} ${groups}`).toEqual([]);
    }
  });

  it("misses the groups that a guest had no time for, because it died during the call", async () => {
    guest = await create({ paused: true }, false);
    const seen = new Completeness(version);
    expect(await missing(seen, [])).toEqual([]);
    // The daemon still finds something to say of the memory, and so seems to have had it all.
    const groups: Group[] = ["state", "balloon", "block"];
    guest.freeze();
    const hanging = ask(groups);
    await hangs();
    await guest.kill();
    const { domain, params } = await hanging;
    expect(domain.id).toBeGreaterThan(0);
    expect(seen.missing(domain, groupMask(groups), params)).toContain("block");
  });

  it("misses the disks of a guest that it has never seen, and that died during the call", async () => {
    guest = await create({ paused: true }, false);
    guest.freeze();
    const hanging = ask(["block"]);
    await hangs();
    await guest.kill();
    const { domain, params } = await hanging;
    expect(domain.id).toBeGreaterThan(0);
    expect(new Completeness(version).missing(domain, groupMask(["block"]), params)).toEqual(["block"]);
  });
});
