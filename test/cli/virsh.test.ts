import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { GROUPS } from "../../src/model/group.ts";
import { createGuest } from "../lab/guest.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { PATIENCE } from "../until.ts";
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

async function compareOutput(
  libvirtd: Libvirtd,
  switches: readonly string[],
  domains: readonly string[] = [],
): Promise<string> {
  const before = await libvirtd.virsh("domstats", ...switches, ...domains);
  const run = await virstreamAsVirsh(libvirtd, switches, domains);
  const after = await libvirtd.virsh("domstats", ...switches, ...domains);
  expect([before.code, run.stderr, run.code]).toEqual([0, "", 0]);
  expectSameOutput(before.stdout, run.stdout, after.stdout);
  return run.stdout;
}

function virstreamAsVirsh({ uri }: Libvirtd, switches: readonly string[], domains: readonly string[]) {
  const named = domains.flatMap((name) => ["--domain", name]);
  return virstream(["get", uri, "--format", "virsh", ...switches, ...named]);
}

describeWith(labRequirements, "virstream get --format virsh", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await standardLab();
    // All stand still: the running guest of the lab is paused for these comparisons.
    await lab.running.suspend();
  });
  afterAll(() => lab?.stop());

  const compare = (switches: readonly string[], domains?: readonly string[]) =>
    compareOutput(lab.libvirtd, switches, domains);

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
    [["--list-paused", "--list-persistent"]],
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

/**
 * The cases of tp-libvirt, the tests that libvirt's maintainers run: virsh_cmd/monitor/virsh_domstats. Its guests are in each of
 * its states: running (also active), paused, transient, persistent, shut off (also inactive), and crashed. One is missing: a guest
 * that panicked and is kept (`crashed (panicked)`), because the lab's guests have no operating system that could panic. Its
 * case `--nowait` creates a snapshot first; this makes no difference once the snapshot is there.
 */
describeWith(labRequirements, "virstream get --format virsh, in the cases of tp-libvirt", () => {
  const NAMES = ["running", "paused", "transient", "shut-off", "crashed"];
  let libvirtd: Libvirtd;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    await createGuest(libvirtd, { name: "running", nics: 1 });
    await Promise.all([
      createGuest(libvirtd, { name: "paused", vcpus: 2, disks: 2, nics: 1, paused: true }),
      createGuest(libvirtd, { name: "transient", transient: true, paused: true }),
      createGuest(libvirtd, { name: "shut-off", shutOff: true }),
    ]);
    const crashed = await createGuest(libvirtd, { name: "crashed", disks: 0, paused: true });
    await crashed.kill();
    await vi.waitFor(async () => {
      expect(await crashed.virsh("domstate crashed --reason")).toMatch(/^shut off \(crashed\)/);
    }, PATIENCE);
  });
  afterAll(() => libvirtd?.stop());

  it.each([
    ["--state"],
    ["--cpu-total"],
    ["--balloon"],
    ["--vcpu"],
    ["--interface"],
    ["--block"],
    ["--state --block"],
    ["--cpu-total --vcpu"],
    ["--interface --block --balloon"],
  ])("prints what virsh domstats %s prints of all guests and of named ones, enforced and raw, too", async (option) => {
    const groups = option.split(" ");
    await compareOutput(libvirtd, groups);
    await compareOutput(libvirtd, [...groups, "--enforce", "--raw"]);
    await compareOutput(libvirtd, [...groups, "--enforce"], NAMES);
    await compareOutput(libvirtd, [...groups, "--raw"], NAMES);
  });

  it.each([
    ["--list-active", "running paused transient"],
    ["--list-inactive", "shut-off crashed"],
    ["--list-persistent", "running paused shut-off crashed"],
    ["--list-transient", "transient"],
    ["--list-running", "running"],
    ["--list-paused", "paused transient"],
    ["--list-shutoff", "shut-off crashed"],
    ["--list-other", ""],
  ])("prints what virsh domstats %s prints, of the guests %s", async (option, names) => {
    for (const way of [[], ["--enforce", "--raw"]]) {
      // Without a group there are counters that can decrease while a guest runs.
      const output = await compareOutput(libvirtd, [option, "--state", "--cpu-total", "--block", ...way]);
      const listed = [...output.matchAll(/^Domain: '(.*)'$/gm)].map(([, name]) => name);
      expect(listed.sort()).toEqual(names.split(" ").filter(Boolean).sort());
    }
  });

  it.each([[[]], [["--nowait"]]])("prints what virsh domstats prints without a group and with %s", async (switches) => {
    await compareOutput(libvirtd, switches, NAMES.slice(1));
  });

  it.each([
    ["names a guest that does not exist", [], ["#"]],
    ["names one of several guests that does not exist", ["--state"], ["paused", "#"]],
    ["has an unknown option", ["--xyz"], []],
  ])("fails as virsh domstats does where the command %s", async (_, switches, domains) => {
    const { code } = await libvirtd.virsh("domstats", ...switches, ...domains);
    const ours = await virstreamAsVirsh(libvirtd, switches, domains);
    expect([code !== 0, ours.code !== 0]).toEqual([true, true]);
    expect(ours.stderr).not.toBe("");
  });
});
