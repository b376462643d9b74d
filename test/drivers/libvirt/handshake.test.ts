import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openHypervisor } from "../../../src/drivers/libvirt/daemon.ts";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { AuthType } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../../../src/drivers/libvirt/rpc/rpc-client.ts";
import { startLibvirtd } from "../../lab/libvirtd.ts";
import { inside, startPolkit } from "../../lab/polkit.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";

/** Opens the built driver as a certain user, from a process that the daemon can see, and prints how that went. */
const OPEN_AS = `
const { LibvirtDriver } = await import(process.argv[1]);
process.setgroups([]);
process.setgid(Number(process.argv[3]));
process.setuid(Number(process.argv[3]));
try {
  const driver = await LibvirtDriver.open(process.argv[2]);
  await driver.close();
  console.log(JSON.stringify({ opened: true }));
} catch ({ code, message, libvirt }) {
  console.log(JSON.stringify({ code, message, libvirt }));
}
`;

describeWith([...labRequirements, "polkitd"], "A daemon behind polkit", () => {
  it("is opened by whom polkit lets monitor, and by others with an error that names the action to allow", async () => {
    await using libvirtd = await startLibvirtd({ conf: ['auth_unix_ro = "polkit"'] });
    await startPolkit(libvirtd);
    const built = join(import.meta.dirname, "../../../dist/drivers/libvirt/driver.js");
    const open = async (uid: number) => {
      const words = ["--input-type=module", "-e", OPEN_AS, built, "qemu:///system", String(uid)];
      const { stdout, stderr } = await inside(libvirtd, process.execPath, ...words);
      expect(stderr).toBe("");
      return JSON.parse(stdout);
    };
    expect(await open(1)).toEqual({ opened: true });
    expect(await open(65_534)).toMatchObject({
      code: "unauthenticated",
      message: expect.stringMatching(/polkit does not let this user.*org\.libvirt\.unix\.monitor.*rules\.d/),
      libvirt: { code: 45 },
    });
    // Root is let in without polkit, once AUTH_LIST was asked.
    await (await LibvirtDriver.open(libvirtd.uri)).close();
  });
});

describe("A daemon that wants SASL", () => {
  const asking = { call: async () => [AuthType.sasl] } as unknown as RpcClient;

  it.each([
    ["tcp", /use \+ssh, or \+tls.*auth_tcp = "none"/],
    ["tls", /auth_tls = "none"/],
    ["unix", /set auth_unix_ro = "none" or "polkit" in libvirtd\.conf/],
    ["ssh", /set auth_unix_ro .* on the remote host/],
  ] as const)("is refused with what to do, over %s", async (transport, advice) => {
    await expect(openHypervisor(asking, "qemu:///system", transport)).rejects.toMatchObject({
      code: "unauthenticated",
      retryable: false,
      message: expect.stringMatching(advice),
    });
  });
});
