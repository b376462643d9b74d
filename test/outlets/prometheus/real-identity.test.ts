import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { connect } from "../../../src/client/connect.ts";
import "../../../src/drivers/builtin.ts";
import { Exporter } from "../../../src/outlets/prometheus/exporter.ts";
import { start, virstream } from "../../cli/run.ts";
import { createGuest, createGuests, type Guest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { accepts, freePort } from "../../lab/port.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { PATIENCE } from "../../until.ts";
import { samplesNamed } from "./page.ts";

const METADATA = `<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
  <nova:name>café &amp; bar</nova:name><nova:flavor name="m1.small"/>
  <nova:owner><nova:user uuid="u-1">ann</nova:user><nova:project uuid="p-1">shop</nova:project></nova:owner>
</nova:instance><b:account xmlns:b="urn:example:billing"><b:team>blue</b:team></b:account>`;

describeWith(labRequirements, "The identity of real guests", () => {
  let libvirtd: Libvirtd;
  let guest: Guest;
  let plain: Guest[];

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    const devices = '<disk type="file" device="cdrom"><target dev="sda" bus="ide"/></disk>';
    guest = await createGuest(libvirtd, { name: "instance-00000001", metadata: METADATA, nics: 1, vcpus: 2, devices });
    plain = await createGuests(libvirtd, 2, {});
  });

  afterAll(async () => {
    await libvirtd?.stop();
  });

  it("is on the page of virstream get within its deadline, also that of a frozen guest, with the limits of the others", async () => {
    await guest.virsh(`blkdeviotune ${guest.name} vda --total-iops-sec 200 --live`);
    plain[1]!.freeze();
    try {
      const asked = ["--metrics-extra", "blkiotune,vcpu-cpu", "--metrics-metadata", "team=account/team"];
      const args = ["get", libvirtd.uri, "--format", "prometheus", "--deadline", "2s", ...asked];
      const { stdout: page, stderr, code } = await virstream(args);
      expect([code, stderr]).toEqual([3, ""]);
      expect(samplesNamed(page, "libvirt_domain_info_meta")).toHaveLength(3);
      const domain = `domain="${guest.name}"`;
      expect(page).toContain(`libvirt_domain_info_meta{${domain},uuid="${guest.uuid}",instance_name="café & bar"`);
      expect(page).toContain(`libvirt_domain_metadata_info{${domain},team="blue"} 1\n`);
      expect(page).toContain(`libvirt_domain_block_stats_limit_total_requests{${domain},target_device="vda"} 200\n`);
      expect(samplesNamed(page, "libvirt_domain_vcpu_cpu").filter((line) => line.includes(domain))).toHaveLength(2);
      expect(page).toContain(`libvirt_domain_info_meta{domain="${plain[1]!.name}",uuid="${plain[1]!.uuid}"`);
      expect(page).not.toMatch(new RegExp(`libvirt_domain_block_stats_limit_\\w+\\{domain="${plain[1]!.name}"`));
      expect(page).not.toContain('target_device="sda"');
      expect(samplesNamed(page, "libvirt_versions_info")).toHaveLength(1);
    } finally {
      plain[1]!.thaw();
    }
  });

  it("is on the page of virstream serve --metrics with what OpenStack says, the metadata that was asked for, and limits, also while another guest is frozen", async () => {
    await guest.virsh(`blkdeviotune ${guest.name} vda --total-iops-sec 300 --live`);
    plain[0]!.freeze();
    const extras = [
      "--metrics-extra",
      "blkiotune,vcpu-cpu",
      "--metrics-metadata",
      "team={urn:example:billing}account/team",
    ];
    const server = start(["serve", libvirtd.uri, "--metrics", "0", "--metrics-interval", "1s", ...extras]);
    try {
      let printed = "";
      const url = await new Promise<string>((resolve) => {
        server.stdout.on("data", (chunk) => {
          printed += chunk;
          if (printed.includes("\n")) resolve(printed.trim());
        });
      });
      let page = "";
      const own = (name: string) => samplesNamed(page, name).filter((line) => line.includes(`domain="${guest.name}"`));
      await expect
        .poll(
          async () => {
            page = await (await fetch(url)).text();
            return [own("libvirt_domain_vcpu_cpu").length, samplesNamed(page, "libvirt_domain_info_meta").length];
          },
          { timeout: 60_000, interval: 200 },
        )
        .toEqual([2, 3]);
      const domain = `domain="${guest.name}"`;
      expect(own("libvirt_domain_info_meta")).toEqual([
        `libvirt_domain_info_meta{${domain},uuid="${guest.uuid}",instance_name="café & bar",flavor="m1.small",user_name="ann",user_uuid="u-1",project_name="shop",project_uuid="p-1",root_type="",root_uuid=""} 1`,
      ]);
      expect(own("libvirt_domain_metadata_info")).toEqual([`libvirt_domain_metadata_info{${domain},team="blue"} 1`]);
      expect(own("libvirt_domain_block_stats_limit_total_requests")).toEqual([
        `libvirt_domain_block_stats_limit_total_requests{${domain},target_device="vda"} 300`,
      ]);
      expect(own("libvirt_domain_block_meta")).toHaveLength(1);
      expect(own("libvirt_domain_block_meta")[0]).toMatch(/target_device="vda",source_file="\/tmp\/vs-[^"]+-0\.raw"/);
      expect(page).not.toContain('target_device="sda"');
      expect(page).toMatch(
        /libvirt_versions_info\{hypervisor_running="\d+\.\d+\.\d+",libvirtd_running="\d+\.\d+\.\d+"/,
      );
      // The frozen guest's definition needs no answer of its QEMU; its limits would.
      const frozen = samplesNamed(page, "libvirt_domain_block_stats_limit_total_requests").filter((line) =>
        line.includes(plain[0]!.name),
      );
      expect(frozen).toEqual([]);
    } finally {
      plain[0]!.thaw();
      server.kill();
    }
  });
});

describeWith(
  [...labRequirements, "prometheus-libvirt-exporter"],
  "Beside Debian's exporter, on the same guests",
  () => {
    let libvirtd: Libvirtd;
    let peer: ReturnType<typeof spawn>;
    let guests: Guest[];
    let url: string;
    beforeAll(async () => {
      libvirtd = await startLibvirtd();
      const port = await freePort();
      url = `http://127.0.0.1:${port}/metrics`;
      const listen = ["--web.listen-address", `127.0.0.1:${port}`, "--libvirt.export-nova-metadata"];
      const uri = `qemu+unix:///system?socket=${libvirtd.socket}`;
      peer = spawn("prometheus-libvirt-exporter", ["--libvirt.uri", uri, ...listen], { stdio: "ignore" });
      guests = [
        await createGuest(libvirtd, { name: "vm1", metadata: METADATA, disks: 2, nics: 1, vcpus: 2, paused: true }),
        await createGuest(libvirtd, { name: "vm2", paused: true }),
      ];
      await vi.waitFor(async () => expect(await accepts(port)).toBe(true), PATIENCE);
    });
    afterAll(async () => {
      guests[1]?.thaw();
      peer?.kill();
      await once(peer, "close");
      await libvirtd?.stop();
    });

    const theirs = async (timeoutMs: number): Promise<string> =>
      (await fetch(url, { signal: AbortSignal.timeout(timeoutMs) })).text();
    const ours = async (): Promise<string> => {
      await using connection = await connect(libvirtd.uri);
      await using exporter = new Exporter(connection);
      let page = "";
      for await (const chunk of exporter.page()) page += chunk;
      return page;
    };

    it("the identity that it has in the labels of each series is that of the info series", async () => {
      const [their, our] = [await theirs(30_000), await ours()];
      const ofFirst = (page: string, name: string) =>
        samplesNamed(page, name)
          .map(labelsOf)
          .filter(({ domain }) => domain === "vm1");
      const [labels] = ofFirst(their, "libvirt_domain_info_virtual_cpus");
      const [meta] = ofFirst(our, "libvirt_domain_info_meta");
      expect(labels).toMatchObject({ domain: "vm1", flavor: "m1.small", name: "café & bar", project_name: "shop" });
      const { name, ...same } = labels!;
      expect(meta).toMatchObject({ ...same, instance_name: name });
      const files = (page: string, name: string) =>
        ofFirst(page, name).map(({ target_device, source_file }) => [target_device, source_file]);
      const disks = files(their, "libvirt_domain_block_stats_read_bytes_total");
      expect(disks).toHaveLength(2);
      expect(files(our, "libvirt_domain_block_meta")).toEqual(disks);
    });

    it("every series that both have has the same value", async () => {
      // The process of a paused guest still takes some processor time: ours is between two of theirs.
      const [before, our, after] = [await theirs(30_000), await ours(), await theirs(30_000)].map(valuesOf) as [
        Values,
        Values,
        Values,
      ];
      const shared = [...before.keys()].filter((key) => our.has(key));
      const different = shared.filter((key) => our.get(key)! < before.get(key)! || our.get(key)! > after.get(key)!);
      expect(different).toEqual([]);
      const names = new Set(shared.map((key) => key.split(" ")[0]));
      expect(names.size).toBeGreaterThanOrEqual(16);
    });

    it("with a frozen guest it gives no page, and virstream one with that guest's status", async () => {
      guests[1]!.freeze();
      const hung = await theirs(5_000).then(
        () => "a page",
        ({ name }) => name,
      );
      expect(hung).toBe("TimeoutError");
      const our = await ours();
      expect(our).toMatch(/^libvirt_domain_info_virtual_cpus\{domain="vm1"\} 2$/m);
      expect(our).toMatch(/^libvirt_domain_scrape_status\{domain="vm2",status="(partial|timeout|busy)"\} 1$/m);
    });
  },
);

type Values = ReadonlyMap<string, number>;

/** The values of the domains' series, by name and by what tells them apart. */
function valuesOf(page: string): Values {
  const values = new Map<string, number>();
  for (const line of page.split("\n")) {
    const [, name, value] = /^(libvirt_domain_\w+)\{.*\} (\S+)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const { domain, target_device, vcpu } = labelsOf(line);
    values.set([name, domain, target_device ?? "", vcpu ?? ""].join(" "), Number(value));
  }
  return values;
}

/** The labels of a sample. */
function labelsOf(line: string): Record<string, string | undefined> {
  return Object.fromEntries([...line.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name!, value!]));
}
