import { describe, expect, it } from "vitest";
import { readBalloon } from "../../src/doctor/guests.ts";

/** As libvirt writes it, indentation and all. */
function domain(balloon: string, metadata = ""): string {
  return `<domain type='kvm' id='1'>
  <name>guest</name>
${metadata}  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
    </disk>
${balloon}  </devices>
</domain>
`;
}

describe("The balloon in a domain's definition", () => {
  it("has a period where one is set", () => {
    const xml = `    <memballoon model='virtio' autodeflate='on'>
      <stats period='10'/>
      <alias name='balloon0'/>
      <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
    </memballoon>
`;
    expect(readBalloon(domain(xml))).toEqual({ model: "virtio", periodS: 10 });
  });

  it("has none where none is set", () => {
    const xml = `    <memballoon model='virtio-non-transitional'>
      <alias name='balloon0'/>
    </memballoon>
`;
    expect(readBalloon(domain(xml))).toEqual({ model: "virtio-non-transitional", periodS: 0 });
    expect(readBalloon(domain("    <memballoon model='virtio'/>\n"))).toEqual({ model: "virtio", periodS: 0 });
  });

  it("may be no balloon, or not be there at all", () => {
    expect(readBalloon(domain("    <memballoon model='none'/>\n"))).toEqual({ model: "none", periodS: 0 });
    expect(readBalloon(domain(""))).toBeUndefined();
    expect(readBalloon("")).toBeUndefined();
  });

  it("is not taken from the metadata, where users can write anything", () => {
    const decoy = `  <metadata>
    <memballoon model='virtio'>
      <stats period='10'/>
    </memballoon>
  </metadata>
`;
    expect(readBalloon(domain("    <memballoon model='none'/>\n", decoy))).toEqual({ model: "none", periodS: 0 });
  });
});
