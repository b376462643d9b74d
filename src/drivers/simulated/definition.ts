import { diskImage, diskTarget, interfaceName, MEMORY_KIB } from "./meters.ts";
import { decimal, mix } from "./population.ts";

/** The facts from which a guest's definition is made. */
export interface Machine {
  readonly uuid: string;
  readonly name: string;
  /** −1 when the guest does not run. */
  readonly id: number;
  readonly draw: number;
  readonly vcpus: number;
  readonly disks: number;
  readonly nics: number;
  /** The number of the guest's first network interface. No two interfaces of a host have the same number. */
  readonly firstNic: number;
}

const FLAVORS = ["m1.tiny", "m1.small", "m1.medium", "m1.large"];
const PROJECTS = ["shop", "research", "build"];

/** The guest's definition in the form of libvirt's domain XML, with the metadata that OpenStack Nova writes. */
export function definitionOf({ uuid, name, id, draw, vcpus, disks, nics, firstNic }: Machine): string {
  const project = (draw >>> 0) % PROJECTS.length;
  const lines = [
    `<domain type='kvm'${id === -1 ? "" : ` id='${decimal(id)}'`}>`,
    `  <name>${name}</name>`,
    `  <uuid>${uuid}</uuid>`,
    "  <metadata>",
    "    <nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'>",
    `      <nova:name>${PROJECTS[project]}-${name}</nova:name>`,
    `      <nova:flavor name='${FLAVORS[draw & 3]}'/>`,
    "      <nova:owner>",
    `        <nova:user uuid='${uuidOf(draw, 1)}'>operator</nova:user>`,
    `        <nova:project uuid='${uuidOf(project, 2)}'>${PROJECTS[project]}</nova:project>`,
    "      </nova:owner>",
    `      <nova:root type='image' uuid='${uuidOf(draw & 3, 3)}'/>`,
    "    </nova:instance>",
    "  </metadata>",
    `  <memory unit='KiB'>${MEMORY_KIB[mix(draw, 1) & 7]}</memory>`,
    `  <vcpu>${decimal(vcpus)}</vcpu>`,
    "  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>",
    "  <devices>",
  ];
  for (let disk = 0; disk < disks; disk++) {
    lines.push(
      "    <disk type='file' device='disk'>",
      "      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>",
      `      <source file='${diskImage(name, disk)}'/>`,
      `      <target dev='${diskTarget(disk)}' bus='virtio'/>`,
      `      <serial>${uuidOf(draw, 0x10 + disk)}</serial>`,
      "    </disk>",
    );
  }
  for (let nic = 0; nic < nics; nic++) {
    const bytes = (0x525400000000 + (mix(draw, 0x3000 + nic) & 0xffffff)).toString(16);
    lines.push(
      "    <interface type='bridge'>",
      `      <mac address='${bytes.replace(/..(?=.)/g, "$&:")}'/>`,
      "      <source bridge='br-int'/>",
      "      <virtualport type='openvswitch'>",
      `        <parameters interfaceid='${uuidOf(draw, 0x1000 + nic)}'/>`,
      "      </virtualport>",
      ...(id === -1 ? [] : [`      <target dev='${interfaceName(firstNic + nic)}'/>`]),
      "      <model type='virtio'/>",
      "      <mtu size='1500'/>",
      "    </interface>",
    );
  }
  return [...lines, "  </devices>", "</domain>", ""].join("\n");
}

function uuidOf(key: number, k: number): string {
  const hex = (part: number) => (mix(key, 0x4000 + 4 * k + part) >>> 0).toString(16).padStart(8, "0");
  const [a, b, c, d] = [hex(0), hex(1), hex(2), hex(3)];
  return `${a}-${b.slice(0, 4)}-4${b.slice(5)}-8${c.slice(1, 4)}-${c.slice(4)}${d}`;
}
