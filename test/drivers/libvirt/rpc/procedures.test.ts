import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isAllowed, PROCEDURES, type Procedure } from "../../../../src/drivers/libvirt/rpc/procedures.ts";
import { readLifecycleEvent } from "../../../../src/drivers/libvirt/rpc/remote-domain.ts";
import { StatsReader } from "../../../../src/drivers/libvirt/rpc/stats-reply.ts";
import { XdrReader, XdrWriter } from "../../../../src/drivers/libvirt/rpc/xdr.ts";
import { VirstreamError } from "../../../../src/model/error.ts";
import { domain, statsReply, text, uuidOf, words } from "./fake-daemon.ts";

const UUID = "01234567-89ab-cdef-0123-456789abcdef";
const UUID_HEX = "0123456789abcdef0123456789abcdef";
/** The domain "vm1" with id 5. */
const DOMAIN_HEX = `00000003${"766d3100"}${UUID_HEX}00000005`;
const DOMAIN = { name: "vm1", uuid: UUID, id: 5 };

/** Every procedure: its number, arguments and their bytes, result and its bytes. Written by hand from remote_protocol.x. */
const golden: Record<keyof typeof PROCEDURES, [number, unknown, string, string, unknown]> = {
  authList: [66, undefined, "", "0000000100000002", [2]],
  authPolkit: [70, undefined, "", "00000001", true],
  supportsFeature: [60, 10, "0000000a", "00000001", true],
  // "qemu:///system" has 14 bytes; the flags are VIR_CONNECT_RO.
  open: [1, "qemu:///system", `000000010000000e71656d753a2f2f2f73797374656d000000000001`, "", undefined],
  close: [2, undefined, "", "", undefined],
  type: [3, undefined, "", "0000000451454d55", "QEMU"],
  version: [4, undefined, "", "00000000006ad866", 7_002_214],
  libVersion: [157, undefined, "", "0000000000895440", 9_000_000],
  hostname: [59, undefined, "", "000000056e6f646531000000", "node1"],
  listDomains: [273, 0x11, "0000000100000011", `00000001${DOMAIN_HEX}00000001`, [DOMAIN]],
  countRunning: [51, undefined, "", "00004e20", 20_000],
  countDefined: [25, undefined, "", "00000007", 7],
  listIds: [37, undefined, "00004000", "000000020000000100000007", [1, 7]],
  lookupById: [22, 5, "00000005", DOMAIN_HEX, DOMAIN],
  lookupByName: [23, "vm1", "00000003766d3100", DOMAIN_HEX, DOMAIN],
  lookupByUuid: [24, UUID, UUID_HEX, DOMAIN_HEX, DOMAIN],
  controlInfo: [
    229,
    DOMAIN,
    `${DOMAIN_HEX}00000000`,
    "000000020000000000000000000095d3",
    { state: 2, details: 0, forMs: 38_355 },
  ],
  state: [212, DOMAIN, `${DOMAIN_HEX}00000000`, "0000000300000005", undefined],
  xml: [14, DOMAIN, `${DOMAIN_HEX}00000000`, "000000093c646f6d61696e2f3e000000", "<domain/>"],
  diskErrors: [
    263,
    DOMAIN,
    `${DOMAIN_HEX}0000010000000000`,
    "000000020000000376646100000000020000000376646200000000010000" + "0002",
    [
      { disk: "vda", error: "no space" },
      { disk: "vdb", error: "unspecified" },
    ],
  ],
  // A job of type 2 with one parameter: operation = 5, an int.
  jobStats: [
    298,
    DOMAIN,
    `${DOMAIN_HEX}00000000`,
    "0000000200000001000000096f7065726174696f6e0000000000000100000005",
    undefined,
  ],
  blockIoTune: [
    253,
    { domain: DOMAIN, target: "vda" },
    `${DOMAIN_HEX}00000001${"00000003"}${"76646100"}${"00000020"}00000000`,
    // One parameter, total_bytes_sec = 1 MiB, an unsigned 64-bit integer.
    "000000010000000f746f74616c5f62797465735f73656300000000040000000000100000",
    undefined,
  ],
  vcpus: [
    20,
    DOMAIN,
    `${DOMAIN_HEX}0000100000000000`,
    // Two of them: number, state, CPU time, CPU.
    `00000002${"00000000000000010000000000000005"}${"00000003"}${"00000002000000010000000000000007"}ffffffff`,
    [
      { number: 0, cpu: 3 },
      { number: 2, cpu: -1 },
    ],
  ],
  listPools: [
    281,
    undefined,
    "0000000100000000",
    `00000001${"00000003"}${"76673000"}${UUID_HEX}00000001`,
    [{ name: "vg0", uuid: UUID }],
  ],
  poolInfo: [
    87,
    { name: "vg0", uuid: UUID },
    `00000003${"76673000"}${UUID_HEX}`,
    `00000002${"0000000000000010"}${"0000000000000006"}${"000000000000000a"}`,
    { state: 2, capacity: 16, allocation: 6, available: 10 },
  ],
  listen: [316, 15, "0000000f00000000", "00000003", 3],
  stats: [
    344,
    { uuids: [UUID], groups: 0x21, flags: 0x80000000 },
    `0000000100000000${UUID_HEX}ffffffff0000002180000000`,
    // One record of one parameter, state.state = 1, an int.
    `00000001${DOMAIN_HEX}000000010000000b73746174652e7374617465000000000100000001`,
    undefined,
  ],
};

const stats = new StatsReader();

describe("The procedures that may be sent", () => {
  it.each(Object.entries(golden))("%s has its number and its bytes", (name, [number, args, sent, received, result]) => {
    const procedure = PROCEDURES[name as keyof typeof PROCEDURES] as Procedure<unknown, unknown>;
    expect(procedure.number).toBe(number);
    const writer = new XdrWriter();
    procedure.encode(writer, args);
    expect(writer.take().toString("hex")).toBe(sent);
    const reader = new XdrReader(Buffer.from(received, "hex"));
    const decoded = procedure.decode(reader, stats);
    if (result !== undefined) expect(decoded).toEqual(result);
    expect(reader.remaining).toBe(0);
  });

  it.each(Object.entries(golden))("%s refuses an answer cut short anywhere", (name, [, , , received]) => {
    const procedure = PROCEDURES[name as keyof typeof PROCEDURES];
    for (let length = 0; length < received.length / 2; length++) {
      const reader = new XdrReader(Buffer.from(received, "hex").subarray(0, length));
      expect(() => (procedure as Procedure<unknown, unknown>).decode(reader, stats)).toThrow(VirstreamError);
    }
  });

  it("are those that read: 27, each with the reason why it does no harm", () => {
    const numbers = Object.values(PROCEDURES).map(({ number }) => number);
    expect(numbers.sort((a, b) => a - b)).toEqual([
      1, 2, 3, 4, 14, 20, 22, 23, 24, 25, 37, 51, 59, 60, 66, 70, 87, 157, 212, 229, 253, 263, 273, 281, 298, 316, 344,
    ]);
    for (const { name, harmless } of Object.values(PROCEDURES)) expect(harmless, name).toMatch(/\w+ \w+/);
  });

  it("are the ones that docs/harmless.md lists", () => {
    const page = readFileSync(new URL("../../../../docs/harmless.md", import.meta.url), "utf8");
    const listed = [...page.matchAll(/^\| ([A-Z_]+) \| (\d+) \| (.+) \|$/gm)].map(([, ...cells]) => cells);
    const table = Object.values(PROCEDURES).map(({ name, number, harmless }) => [name, String(number), harmless]);
    expect(listed).toEqual(table);
  });

  it("are distinguished from similar texts", () => {
    expect(isAllowed(PROCEDURES.type)).toBe(true);
    expect(isAllowed({ ...PROCEDURES.type, number: 9 })).toBe(false);
  });

  it("cannot be changed", () => {
    for (const procedure of Object.values(PROCEDURES)) {
      expect(() => Object.assign(procedure, { number: 12 })).toThrow(TypeError);
    }
  });

  it("refuse a list that has one domain twice", () => {
    const reader = new XdrReader(Buffer.from(`00000002${DOMAIN_HEX}${DOMAIN_HEX}00000002`, "hex"));
    expect(() => PROCEDURES.listDomains.decode(reader, stats)).toThrow(/a list with one domain twice/);
  });

  it("refuse the name of a domain, a host or a hypervisor that is longer than 4,096 bytes", () => {
    const { listDomains, lookupByName, hostname, type, stats: statistics } = PROCEDURES;
    for (const bytes of [4_096, 4_097]) {
      const named = domain("x".repeat(bytes), uuidOf(1), 1);
      const read = [
        () => listDomains.decode(new XdrReader(Buffer.concat([words(1), named, words(1)])), stats),
        () => lookupByName.decode(new XdrReader(named), stats),
        () => readLifecycleEvent(new XdrReader(Buffer.concat([words(1), named, words(0, 0)]))),
        () => statistics.decode(new XdrReader(statsReply({ domain: named, params: [] })), stats),
        () => hostname.decode(new XdrReader(text("x".repeat(bytes))), stats),
        () => type.decode(new XdrReader(text("x".repeat(bytes))), stats),
      ];
      for (const each of read) {
        if (bytes > 4_096) expect(each).toThrow(/a string of 4097 bytes/);
        else expect(each).not.toThrow();
      }
    }
  });

  it("include a list that says how long it is, twice and the same", () => {
    const reader = new XdrReader(Buffer.from(`00000001${DOMAIN_HEX}00000002`, "hex"));
    expect(() => PROCEDURES.listDomains.decode(reader, stats)).toThrow(/a list of 1 domains announced as 2/);
  });
});
