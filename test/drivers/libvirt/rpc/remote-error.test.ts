import { describe, expect, it } from "vitest";
import { readRemoteError } from "../../../../src/drivers/libvirt/rpc/remote-error.ts";
import { XdrReader } from "../../../../src/drivers/libvirt/rpc/xdr.ts";
import { bytesInUse } from "../../../heap.ts";
import { remoteError, words } from "./fake-daemon.ts";

const read = (bytes: Buffer) => readRemoteError(new XdrReader(bytes));

describe("An error of libvirt", () => {
  it.each([
    [3, "unsupported"],
    [74, "unsupported"],
    [84, "unsupported"],
    [42, "unknown-domain"],
    [29, "denied"],
    [88, "denied"],
    [45, "unauthenticated"],
    [79, "unauthenticated"],
    [94, "unauthenticated"],
    [8, "invalid-argument"],
    [1, "hypervisor-error"],
    [38, "hypervisor-error"],
    [39, "hypervisor-error"],
    [55, "hypervisor-error"],
    [123_456, "hypervisor-error"],
  ])("%i is our %s, with libvirt's message, code and domain", (code, ours) => {
    const error = read(remoteError(code, 10, "in libvirt's words"));
    expect(error).toMatchObject({ code: ours, message: "in libvirt's words", libvirt: { code, domain: 10 } });
  });

  it("keeps the beginning of a message that is long, and no more of it in memory", async () => {
    const long = remoteError(38, 10, "x".repeat(1_000_000));
    const before = await bytesInUse();
    const errors = Array.from({ length: 100 }, () => read(long));
    expect((await bytesInUse()) - before).toBeLessThan(1e6);
    for (const { message } of errors) expect(message).toBe(`${"x".repeat(1_024)}…`);
  });

  it("without a message is named by its number", () => {
    expect(read(words(38, 7, 0)).message).toBe("libvirt error 38 without a message");
  });

  it("as libvirtd 9 sends it, byte for byte", () => {
    // Domain not found: no domain with matching name 'x': code 42, domain 10, message, level 2, no domain, str1, str2,
    // no str3, int1, int2, no network.
    const hex =
      "0000002a" +
      "0000000a" +
      "00000001" +
      "00000011" +
      "446f6d61696e206e6f7420666f756e64" +
      "3a000000" +
      "00000002" +
      "00000000" +
      "00000000" +
      "00000000" +
      "00000000" +
      "ffffffff" +
      "ffffffff" +
      "00000000";
    expect(read(Buffer.from(hex, "hex"))).toMatchObject({ code: "unknown-domain", message: "Domain not found:" });
  });
});
