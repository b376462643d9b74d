import { describe, expect, it } from "vitest";
import { examineGuests, readBalloon } from "../../src/doctor/guests.ts";
import { TimeLimit } from "../../src/doctor/time-limit.ts";
import { ControlState, PROCEDURES } from "../../src/drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../../src/drivers/libvirt/rpc/rpc-client.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";

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

describe("A guest's definition", () => {
  it.each([
    ["ok", 1],
    ["occupied", 0],
    ["job", 0],
  ] as const)(
    "of a guest whose job is %s is read %i times: the daemon would wait for the job",
    async (state, times) => {
      const asked: unknown[] = [];
      const call = async (procedure: unknown): Promise<unknown> => {
        asked.push(procedure);
        if (procedure === PROCEDURES.controlInfo) return { state: ControlState[state], details: 0, forMs: 1 };
        if (procedure === PROCEDURES.state) return TypedParams.EMPTY;
        if (procedure === PROCEDURES.xml) return domain("");
        const message = "Stats types bits 0xfffff800 are not supported by this daemon or QEMU";
        throw new VirstreamError("unsupported", message, { libvirt: { code: 74, domain: 10 } });
      };
      const client = { call } as unknown as RpcClient;
      const guest = { name: "guest", uuid: "00000000-0000-4000-8000-000000000000", transient: false };
      const limit = new TimeLimit(10_000, new AbortController().signal);
      const [facts] = await examineGuests([client], [guest], "everything", limit);
      expect(facts!.error).toBeUndefined();
      expect(facts!.groups).toBe(0x7ff);
      expect(asked.filter((procedure) => procedure === PROCEDURES.xml)).toHaveLength(times);
    },
  );
});
