import { afterAll, beforeAll, expect, it } from "vitest";
import { GROUPS } from "../../src/model/group.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

/**
 * Numbers that move even while a guest is paused (what its process uses on the host) stand between two runs of virsh:
 * they must be between what virsh said before and after. Everything else must be the same, byte for byte.
 */
function expectSameOutput(before: string, ours: string, after: string): void {
  const [linesBefore, lines, linesAfter] = [before, ours, after].map((text) => text.split("\n")) as [
    string[],
    string[],
    string[],
  ];
  const steady = lines.map((line, i) => {
    if (linesBefore[i] === linesAfter[i] || line === linesBefore[i]) return line;
    const [key, value] = line.split("=");
    const [low, high] = [linesBefore[i], linesAfter[i]].map((text) => text?.split("=")[1]);
    const within = Number(low) <= Number(value) && Number(value) <= Number(high);
    return within && linesBefore[i]?.startsWith(`${key}=`) ? linesBefore[i] : line;
  });
  expect(steady.join("\n")).toBe(linesBefore.join("\n"));
}

describeWith(labRequirements, "virstream get --format virsh", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await standardLab();
    // All stand still: the running guest of the lab is paused for these comparisons.
    await lab.running.suspend();
  });
  afterAll(() => lab?.stop());

  async function compare(switches: readonly string[], domains: readonly string[] = []): Promise<string> {
    const ours = [...switches, ...domains.flatMap((name) => ["--domain", name])];
    const before = await lab.libvirtd.virsh("domstats", ...switches, ...domains);
    const run = await virstream(["get", lab.libvirtd.uri, "--format", "virsh", ...ours]);
    const after = await lab.libvirtd.virsh("domstats", ...switches, ...domains);
    expect([run.stderr, run.code]).toEqual(["", 0]);
    expectSameOutput(before.stdout, run.stdout, after.stdout);
    return run.stdout;
  }

  it.each(GROUPS)("prints what virsh domstats --%s prints", async (group) => {
    await compare([`--${group}`]);
  });

  it("prints what virsh domstats prints with every group, of running and shut-off guests", async () => {
    const output = await compare([]);
    expect(output.match(/^Domain: /gm)).toHaveLength(lab.guests.length);
    expect(output).toContain(`Domain: '${lab.shutOff.name}'`);
  });

  it.each([
    [["--raw"]],
    [["--backing"]],
    [["--block", "--backing", "--raw"]],
    [["--nowait"]],
    [["--enforce", "--state", "--vcpu"]],
    [["--list-active"]],
    [["--list-inactive"]],
    [["--list-paused", "--list-persistent"]],
    [["--list-transient"]],
    [["--list-other"]],
  ])("prints what virsh domstats prints with %s", async (switches) => {
    await compare(switches);
  });

  it("prints named domains in the order in which they were named", async () => {
    await compare(["--state", "--balloon"], [lab.shutOff.name, lab.rich.name, lab.minimal.name]);
    await compare(["--state"], [lab.rich.uuid]);
  });

  it("prints the backing chain of the guest that has one", async () => {
    const output = await compare(["--backing", "--block"], [lab.chained.name]);
    expect(output).toMatch(/block\.count=2/);
  });
});
