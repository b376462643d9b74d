import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { createGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

describeWith(labRequirements, "Guests that failed", () => {
  let libvirtd: Libvirtd;
  let broken: Guest;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    broken = await createGuest(libvirtd, { name: "broken", brokenDisk: true });
    const killed = await createGuest(libvirtd, { name: "killed", disks: 0, paused: true });
    await killed.kill();
    await vi.waitFor(
      async () => {
        expect(await killed.virsh("domstate killed --reason")).toMatch(/^shut off \(crashed\)/);
        expect(await broken.virsh("domstate broken --reason")).toMatch(/^paused \(I\/O error\)/);
      },
      { timeout: 30_000, interval: 100 },
    );
  });
  afterAll(() => libvirtd?.stop());

  it("are shown with the reason in the table, without a colour in a pipe", async () => {
    const { stdout } = await virstream(["get", libvirtd.uri]);
    expect(stdout).toMatch(/^broken +paused .* paused \(I\/O error\)$/m);
    expect(stdout).toMatch(/^killed +shut off .* shut off \(crashed\)$/m);
    expect(stdout).not.toContain("\u001b");
  });

  it("have their state and its reason in words in ndjson", async () => {
    const { stdout } = await virstream(["get", libvirtd.uri, "--format", "ndjson"]);
    const records = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(Object.fromEntries(records.map(({ domain, state }) => [domain.name, state]))).toEqual({
      broken: { state: "paused", reason: "ioerror" },
      killed: { state: "shutoff", reason: "crashed" },
    });
  });
});
