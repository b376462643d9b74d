import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import type { Description, DescriptionReader, Descriptions } from "../../../src/driver/description.ts";
import { PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { createGuests, type Guest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { RpcProxy } from "../../lab/rpc-proxy.ts";
import { PATIENCE } from "../../until.ts";

const XML = PROCEDURES.xml.number;
const LIMITS = PROCEDURES.blockIoTune.number;
const READER = {
  parse: (xml: string) => xml,
  limitedDisks: () => ["vda", "sda"],
  placement: true,
} satisfies DescriptionReader<string>;
const SECRET = "not-for-everybody";

describeWith(labRequirements, "The descriptions of real guests", () => {
  let libvirtd: Libvirtd;
  let guests: Guest[];

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    // Disks on a SCSI controller come and go without the guest.
    const devices = `<controller type="scsi" model="virtio-scsi"/>
      <graphics type="vnc" port="-1" autoport="yes" passwd="${SECRET.slice(0, 8)}"/>`;
    guests = await createGuests(libvirtd, 4, { disks: 1, vcpus: 2, devices });
  });

  afterAll(async () => {
    await libvirtd?.stop();
  });

  /** Asks for the descriptions of all domains until each has one. */
  async function readAll(connection: Connection, descriptions: Descriptions<string>) {
    const domains = await connection.listDomains();
    return vi.waitFor(() => {
      const all = new Map(domains.map((domain) => [domain.name, descriptions.of(domain)]));
      for (const [name, description] of all) expect(description, name).toBeDefined();
      return all as Map<string, Description<string>>;
    }, PATIENCE);
  }

  it("are their definitions without secrets, read one at a time on a read-only connection", async () => {
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    await using connection = await connect(proxy.uri);
    const descriptions = connection.driver.describe!({ parse: (xml) => xml });
    const all = await readAll(connection, descriptions);
    for (const { name, uuid } of guests) {
      const { definition } = all.get(name)!;
      expect(definition).toContain(`<uuid>${uuid}</uuid>`);
      expect(definition).toContain("<graphics type='vnc'");
      expect(definition).not.toContain("passwd");
    }
    const calls = proxy.calls.filter(({ procedure }) => procedure === XML);
    expect(calls).toHaveLength(guests.length);
    // The last word is the flags; VIR_DOMAIN_XML_SECURE is 1.
    for (const { payload } of calls) expect(payload.readUInt32BE(payload.length - 4)).toBe(0);
    expect(proxy.calls.some(({ procedure }) => procedure === LIMITS)).toBe(false);
  });

  it("change within a second of a disk that is plugged in, of metadata that is set, and of limits that are set", async () => {
    await using connection = await connect(libvirtd.uri);
    const descriptions = connection.driver.describe!(READER);
    await readAll(connection, descriptions);
    const [guest] = guests;
    const domain = await connection.lookupDomain(guest!.name);
    const path = join(libvirtd.directory, "disks", "plugged.raw");
    await writeFile(path, Buffer.alloc(1 << 20));
    await guest!.virsh(`attach-disk ${guest!.name} ${path} sda --targetbus scsi --serial plugged-in`);
    await vi.waitFor(() => expect(descriptions.of(domain)?.definition).toContain("plugged-in"), PATIENCE);
    await vi.waitFor(() => expect(descriptions.of(domain)?.limits.has("sda")).toBe(true), PATIENCE);
    await guest!.virsh(`metadata ${guest!.name} --uri urn:test --key t --set '<owner>me</owner>'`);
    await vi.waitFor(() => expect(descriptions.of(domain)?.definition).toMatch(/<t:owner [^>]*>me</), PATIENCE);
    await guest!.virsh(`blkdeviotune ${guest!.name} vda --total-iops-sec 300 --live`);
    await vi.waitFor(() => {
      expect(descriptions.of(domain)?.limits.get("vda")?.getUnknown("total_iops_sec")).toBe(300n);
    }, PATIENCE);
    await guest!.virsh(`detach-disk ${guest!.name} sda`);
    await vi.waitFor(() => expect(descriptions.of(domain)?.definition).not.toContain("plugged-in"), PATIENCE);
  });

  it("say on which of the host's CPUs each virtual CPU runs", async () => {
    await using connection = await connect(libvirtd.uri);
    const descriptions = connection.driver.describe!(READER);
    const domains = await connection.listDomains();
    for (const domain of domains) {
      const placement = await vi.waitFor(() => {
        const found = descriptions.of(domain)?.placement;
        expect(found).toBeDefined();
        return found!;
      }, PATIENCE);
      expect([...placement.keys()]).toEqual([0, 1]);
      for (const cpu of placement.values()) expect(cpu).toBeGreaterThanOrEqual(0);
    }
  });

  it("of a frozen guest are its definition, while no call waits for its monitor and no sweep for the description", async () => {
    await using proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    await using connection = await connect(proxy.uri);
    const [, frozen] = guests;
    frozen!.freeze();
    try {
      const before = await connection.getAllDomainStats({ deadlineMs: 500 });
      expect(before.filter(({ status }) => status === "ok")).toHaveLength(guests.length - 1);
      const descriptions = connection.driver.describe!(READER);
      const all = await readAll(connection, descriptions);
      expect(all.get(frozen!.name)!.definition).toContain(frozen!.uuid);
      expect([...all.get(frozen!.name)!.limits.keys()]).toEqual([]);
      const intoFrozen = proxy.calls.filter(
        ({ procedure, payload }) =>
          procedure === LIMITS && payload.includes(frozen!.uuid.replaceAll("-", ""), 0, "hex"),
      );
      expect(intoFrozen).toEqual([]);
      for (const { name } of guests.filter((guest) => guest !== frozen)) {
        expect(all.get(name)!.limits.has("vda")).toBe(true);
      }
      const after = await connection.getAllDomainStats({ deadlineMs: 500 });
      expect(after.filter(({ status }) => status === "ok")).toHaveLength(guests.length - 1);
    } finally {
      frozen!.thaw();
    }
  });

  it("name libvirt's version and QEMU's", async () => {
    await using connection = await connect(libvirtd.uri);
    const [versions, ...more] = connection.driver.versions!;
    expect(more).toEqual([]);
    const virsh = await libvirtd.virsh("version --daemon");
    expect(virsh.stdout).toContain(`Running against daemon: ${versions!.libvirt}\n`);
    expect(virsh.stdout).toContain(`Running hypervisor: QEMU ${versions!.hypervisor}\n`);
  });
});
