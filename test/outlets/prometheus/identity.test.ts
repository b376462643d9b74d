import { describe, expect, it } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import { TypedParams } from "../../../src/model/params.ts";
import { definitionReader } from "../../../src/outlets/identity/definition.ts";
import { loadXmlParser } from "../../../src/outlets/identity/xml.ts";
import { Exporter, type ExporterOptions } from "../../../src/outlets/prometheus/exporter.ts";
import { serve } from "../../../src/server/index.ts";
import { pageOf, recordOf, samplesNamed } from "./page.ts";

const XML = `<domain><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
  <disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='/a "b".raw'/>
    <target dev='vda' bus='virtio'/><serial>s1</serial></disk>
  <disk type='file' device='disk'><target dev='vda' bus='virtio'/></disk>
  <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
  <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='tap0'/></interface>
  <interface type='ethernet'><target dev='tap1'/><model type='virtio'/></interface>
</devices></domain>`;

/** An exporter's page. */
async function textOf(exporter: Exporter): Promise<string> {
  let text = "";
  for await (const chunk of exporter.page()) text += chunk;
  return text;
}

/** A page of one domain with this definition. */
async function page(xml = XML, limits = new Map<string, TypedParams>()) {
  const definition = definitionReader(await loadXmlParser())(xml);
  const block = ["vda", "sda"].flatMap((name, i) => [
    [`block.${i}.name`, "string", name] as const,
    [`block.${i}.rd.bytes`, "ullong", 7n] as const,
  ]);
  const record = recordOf("vm1", block);
  return pageOf([record], { describe: () => ({ definition, limits, placement: new Map([[0, 3]]) }) });
}

describe("The series that identify domains", () => {
  it("have the labels of the two exporters, empty where the definition does not say", async () => {
    const text = await page();
    const uuid = "11111111-1111-1111-1111-111111111111";
    expect(samplesNamed(text, "libvirt_domain_info_meta")).toEqual([
      `libvirt_domain_info_meta{domain="vm1",uuid="${uuid}",instance_name="",flavor="",user_name="",user_uuid="",project_name="",project_uuid="",root_type="",root_uuid=""} 1`,
    ]);
    expect(samplesNamed(text, "libvirt_domain_openstack_info")).toEqual([
      `libvirt_domain_openstack_info{domain="vm1",instance_name="",instance_id="${uuid}",flavor_name="",user_name="",user_id="",project_name="",project_id=""} 1`,
    ]);
    expect(samplesNamed(text, "libvirt_domain_info")).toEqual([
      'libvirt_domain_info{domain="vm1",os_type="hvm",os_type_arch="x86_64",os_type_machine="pc"} 1',
    ]);
    expect(samplesNamed(text, "libvirt_domain_interface_meta")).toEqual([
      'libvirt_domain_interface_meta{domain="vm1",source_bridge="br0",target_device="tap0",virtual_interface=""} 1',
    ]);
    expect(samplesNamed(text, "libvirt_domain_interface_stats_info")).toEqual([
      'libvirt_domain_interface_stats_info{domain="vm1",interface_type="bridge",source_bridge="br0",target_device="tap0",mac_address="52:54:00:00:00:01",model_type="",mtu_size=""} 1',
      'libvirt_domain_interface_stats_info{domain="vm1",interface_type="ethernet",source_bridge="",target_device="tap1",mac_address="",model_type="virtio",mtu_size=""} 1',
    ]);
    expect(samplesNamed(text, "libvirt_domain_block_meta")[0]).toBe(
      'libvirt_domain_block_meta{domain="vm1",target_device="vda",source_file="/a \\"b\\".raw",serial="s1",bus="virtio",disk_type="file",driver_type="raw",cache="none",discard=""} 1',
    );
    expect(samplesNamed(text, "libvirt_domain_block_stats_info")[0]).toBe(
      'libvirt_domain_block_stats_info{domain="vm1",disk_type="file",target_bus="virtio",driver_name="qemu",driver_type="raw",driver_cache="none",driver_discard="",source_file="/a \\"b\\".raw",source_protocol="",target_device="vda",serial="s1"} 1',
    );
  });

  it("leave out the drives that the definition declares as CD-ROM drives, whatever their names, as do the series of the disks' values", async () => {
    const text = await page();
    expect(text).not.toContain('target_device="sda"');
    expect(samplesNamed(text, "libvirt_domain_block_stats_read_bytes_total")).toHaveLength(1);
  });

  it("are not there for a domain whose definition is not known", () => {
    expect(pageOf([recordOf("vm1")])).not.toMatch(/_meta|_info\{/);
  });

  it("include I/O limits and CPUs where they were read, with their names of the Tinkoff exporter", async () => {
    const limits = new Map([["vda", TypedParams.from([["total_bytes_sec", "ullong", 1_048_576n]])]]);
    const text = await page(XML, limits);
    expect(samplesNamed(text, "libvirt_domain_block_stats_limit_total_bytes")).toEqual([
      'libvirt_domain_block_stats_limit_total_bytes{domain="vm1",target_device="vda"} 1048576',
    ]);
    expect(samplesNamed(text, "libvirt_domain_block_stats_limit_read_bytes")).toEqual([]);
    expect(samplesNamed(text, "libvirt_domain_vcpu_cpu")).toEqual(['libvirt_domain_vcpu_cpu{domain="vm1",vcpu="0"} 3']);
  });

  async function exported(options: ExporterOptions, uri = "test:///default?domains=3&host=hv1"): Promise<string> {
    await using connection = await connect(uri);
    await using exporter = new Exporter(connection, options);
    return await textOf(exporter);
  }

  it("are on the first page, with each domain's metadata only in series of their own", async () => {
    const text = await exported({ metadata: ["flavor=instance/flavor@name", "none=none"] });
    expect(samplesNamed(text, "libvirt_domain_info_meta")).toHaveLength(3);
    const metadata = samplesNamed(text, "libvirt_domain_metadata_info");
    expect(metadata).toHaveLength(3);
    for (const line of metadata) expect(line).toMatch(/\{domain="guest-0000\d",flavor="m1\.\w+"\} 1$/);
    for (const line of text.split("\n")) {
      if (line.includes('uuid="') || line.includes("flavor="))
        expect(line).toMatch(/^libvirt_domain_(info_meta|metadata_info)\{/);
    }
  });

  it("are not there behind another virstream, and the exporter says why", async () => {
    await using host = await connect("test:///default?domains=1");
    await using server = await serve(host, { port: 0 });
    await using connection = await connect(server.url);
    await using exporter = new Exporter(connection);
    expect(await exporter.identities()).toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("definitions"),
    });
    const text = await textOf(exporter);
    expect(samplesNamed(text, "libvirt_up")).toHaveLength(1);
    expect(text).not.toContain("libvirt_domain_info_meta");
  });

  it("are refused where their paths cannot be read", async () => {
    await expect(exported({ metadata: ["a b=c"] })).rejects.toMatchObject({ code: "invalid-argument" });
    await expect(exported({ extras: ["cpus" as never] })).rejects.toMatchObject({ code: "invalid-argument" });
  });
});
