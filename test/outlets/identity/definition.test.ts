import { beforeAll, describe, expect, it } from "vitest";
import { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { definitionReader } from "../../../src/outlets/identity/definition.ts";
import { MetadataPath } from "../../../src/outlets/identity/metadata-path.ts";
import { loadXmlParser, type ParseXml } from "../../../src/outlets/identity/xml.ts";

const NOVA = `
  <metadata>
    <x:instance xmlns:x="http://openstack.org/xmlns/libvirt/nova/1.0">
      <x:package version="14.0.3"/>
      <x:name>web &amp; caf&#xE9; "1"</x:name>
      <x:flavor name="m1.small"><x:memory>512</x:memory></x:flavor>
      <x:owner>
        <x:user uuid="u-1">ann</x:user>
        <x:project uuid="p-1">shop</x:project>
      </x:owner>
      <x:root type="image" uuid="r-1"/>
    </x:instance>
    <account xmlns="urn:example:billing"><team lead="bo">blue</team><team>green</team></account>
    <account xmlns="urn:other"><team>red</team></account>
  </metadata>`;
const DOMAIN = `<domain type='kvm' id='7'>
  <name>vm1</name><title>A title</title>${NOVA}
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='/images/a &lt;1&gt;.qcow2' index='2'/>
      <backingStore type='file'><format type='raw'/><source file='/images/base.raw'/></backingStore>
      <target dev='vda' bus='virtio'/><serial>s-1</serial>
    </disk>
    <disk type='network'><source protocol='rbd' name='pool/image'><host name='mon'/></source><target dev='vdb' bus='scsi'/></disk>
    <disk type='block' device='lun'><source dev='/dev/sdb'/><target dev='sda'/></disk>
    <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/></disk>
    <disk type='file' device='floppy'><source file='/f.img'/><target dev='fda'/></disk>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/><source bridge='br-int'/>
      <virtualport type='openvswitch'><parameters interfaceid='port-1'/></virtualport>
      <target dev='tap1'/><model type='virtio'/><mtu size='1450'/>
    </interface>
    <interface type='user'><mac address='52:54:00:00:00:02'/></interface>
  </devices>
</domain>`;

let parse: ParseXml;
beforeAll(async () => {
  parse = await loadXmlParser();
});

describe("A domain's definition", () => {
  it("is read into the texts that metrics have as labels", () => {
    const { disks, interfaces, ...rest } = definitionReader(parse)(DOMAIN);
    expect(rest).toEqual({
      ...{ osType: "hvm", arch: "x86_64", machine: "pc-q35-7.2", metadata: new Map() },
      nova: {
        ...{ name: 'web & café "1"', flavor: "m1.small", userName: "ann", userId: "u-1" },
        ...{ projectName: "shop", projectId: "p-1", rootType: "image", rootId: "r-1" },
      },
    });
    expect(disks[0]).toEqual({
      ...{ target: "vda", removable: false, filled: true, type: "file", bus: "virtio", driverName: "qemu" },
      ...{ driverType: "qcow2", cache: "none", discard: "unmap", protocol: "", serial: "s-1" },
      ...{ file: "/images/a <1>.qcow2", source: "/images/a <1>.qcow2" },
    });
    expect(disks.map(({ target, source, protocol }) => [target, source, protocol])).toEqual([
      ["vda", "/images/a <1>.qcow2", ""],
      ["vdb", "pool/image", "rbd"],
      ["sda", "/dev/sdb", ""],
      ["hdc", "", ""],
      ["fda", "/f.img", ""],
    ]);
    expect(disks.filter(({ removable }) => removable).map(({ target }) => target)).toEqual(["hdc", "fda"]);
    expect(interfaces).toEqual([
      {
        ...{ target: "tap1", type: "bridge", bridge: "br-int", mac: "52:54:00:00:00:01", model: "virtio" },
        ...{ mtu: "1450", interfaceId: "port-1" },
      },
    ]);
  });

  it("of a guest outside OpenStack has no instance, and an element that only has its name is none", () => {
    const read = definitionReader(parse);
    expect(read("<domain/>").nova).toBeUndefined();
    expect(
      read("<domain><metadata><instance xmlns='urn:x'><name>a</name></instance></metadata></domain>").nova,
    ).toBeUndefined();
  });

  it("of a simulated guest has an instance, disks and interfaces by the names of its statistics", async () => {
    const driver = new SimulatedDriver("test:///default?domains=3&disks=2&nics=1");
    const descriptions = driver.describe({ parse: definitionReader(parse) });
    const { definition } = descriptions.of(driver.simulation.domain(1))!;
    expect(definition.nova?.name).toMatch(/-guest-00001$/);
    expect(definition.disks.map(({ target }) => target)).toEqual(["vda", "vdb"]);
    expect(definition.interfaces).toMatchObject([{ target: "vnet1", bridge: "br-int" }]);
  });

  it.each([
    ["team=account/team", "blue"],
    ["team={urn:other}account/team", "red"],
    ["team={urn:example:billing}account/{urn:example:billing}team", "blue"],
    ["team={urn:x}account/team", undefined],
    ["lead=account/team@lead", "bo"],
    ["owner={http://openstack.org/xmlns/libvirt/nova/1.0}instance/owner/user@uuid", "u-1"],
    ["title=/title", "A title"],
    ["machine=/os/type@machine", "pc-q35-7.2"],
    ["nothing=account/none", undefined],
  ])("has a text at the path %s: %s", (path, value) => {
    const paths = [new MetadataPath(path)];
    expect(definitionReader(parse, paths)(DOMAIN).metadata.get(path.split("=")[0]!)).toBe(value);
  });

  it.each([
    "",
    "team",
    "=a",
    "1a=b",
    "__a=b",
    "domain=a",
    "team=",
    "team=@x",
    "team=a//b",
    "team=a/",
    "a=b@c@d",
    "a={x",
  ])("has no text at the path %j, which is refused", (path) => {
    expect(() => new MetadataPath(path)).toThrow(VirstreamError);
  });
});

describe("A definition that harms its reader is refused:", () => {
  const REFUSED = /^the definition of a domain cannot be read: /;

  it.each([
    ["no XML", "hello"],
    ["an empty text", ""],
    ["two roots", "<domain/><domain/>"],
    ["an element that is not closed", "<domain><os></domain>"],
    ["entities that it defines", '<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><domain>&b;</domain>'],
    ["an external entity", '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain>&x;</domain>'],
    ["more than 64 levels", `${"<a>".repeat(66)}${"</a>".repeat(66)}`],
    ["more than a million characters", `<domain>${" ".repeat(1_048_576)}</domain>`],
    ["more than 50,000 tags", `<domain>${"<a/>".repeat(50_001)}</domain>`],
    ["a name that is special to JavaScript", "<domain><__proto__><x/></__proto__></domain>"],
  ])("%s", (_, xml) => {
    expect(() => parse(xml)).toThrow(REFUSED);
  });

  it("no prefix of a definition makes it throw anything else", () => {
    const read = definitionReader(parse);
    for (let length = 0; length < DOMAIN.length; length += 7) {
      expect(() => read(DOMAIN.slice(0, length))).toThrow(VirstreamError);
    }
  });

  it("an unknown entity stays as it is, and none is decoded twice", () => {
    expect(parse("<a>&amp;lt; &nope; &#38;amp; &#x110000;</a>").text).toBe("&lt; &nope; &amp; &#x110000;");
  });

  it("a long text is cut", () => {
    const xml = `<domain><os><type>${"x".repeat(5_000)}</type></os></domain>`;
    expect(definitionReader(parse)(xml).osType).toHaveLength(1_024);
  });
});
