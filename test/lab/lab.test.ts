import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { PATIENCE } from "../until.ts";
import { runCommand } from "./command.ts";
import { createGuest } from "./guest.ts";
import { type Lab, standardLab } from "./hypervisor.ts";
import { startLibvirtd } from "./libvirtd.ts";
import { isAlive } from "./processes.ts";
import { describeWith, labRequirements } from "./requirement.ts";
import { startTestDriver } from "./test-driver.ts";

/** Resolves with "hangs" when the promise is not settled within `milliseconds`. */
function within<T>(milliseconds: number, promise: Promise<T>): Promise<T | "hangs"> {
  return Promise.race([promise, sleep(milliseconds, "hangs" as const)]);
}

describeWith(labRequirements, "the standard lab", () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await standardLab();
  });

  afterAll(async () => {
    await lab?.stop();
  });

  it("runs a daemon of its own, as the process it says", async () => {
    const processes = await lab.libvirtd.processes();
    expect(processes.find(({ pid }) => pid === lab.libvirtd.pid)?.name).toBe("libvirtd");
    expect(processes.filter(({ name }) => name.startsWith("qemu")).map(({ pid }) => pid)).toEqual(
      expect.arrayContaining([lab.rich.pid, lab.chained.pid, lab.minimal.pid, lab.running.pid]),
    );
  });

  it("has guests of every kind, which virsh domstats lists", async () => {
    const { stdout, code } = await lab.libvirtd.virsh("domstats");
    expect(code).toBe(0);
    const records = new Map(
      stdout
        .split(/^Domain: /m)
        .slice(1)
        .map((text) => [/^'(.*)'$/m.exec(text)?.[1], text]),
    );
    expect([...records.keys()].sort()).toEqual(lab.guests.map(({ name }) => name).sort());
    for (const field of ["state.state=3", "vcpu.current=2", "net.0.name=vnet0", "block.count=2", "iothread.count=1"]) {
      expect(records.get("rich")).toContain(field);
    }
    expect(records.get("minimal")).toContain("block.count=0");
    expect(records.get("running")).toContain("state.state=1");
    expect(records.get("shut-off")).toContain("state.state=5");
    const { stdout: chain } = await lab.libvirtd.virsh("domstats", "--block", "--backing", "chained");
    expect(chain).toContain("-base.qcow2");
  });

  it("keeps the counters of a paused guest still", async () => {
    const read = async () =>
      (await lab.libvirtd.virsh("domstats", "--block", "--interface", "--balloon", "rich")).stdout;
    const before = await read();
    expect(before).toContain("net.0.rx.pkts=0");
    await sleep(500);
    expect(await read()).toBe(before);
  });

  it("has a guest whose counters move by themselves", async () => {
    const read = async () => {
      const { stdout } = await lab.libvirtd.virsh("domstats", "--block", "running");
      return Number(/rd.reqs=(\d+)/.exec(stdout)?.[1]);
    };
    const before = await read();
    await expect.poll(read, PATIENCE).toBeGreaterThan(before);
  });

  it("hangs in a frozen guest and in no other, and answers after the thaw", async () => {
    lab.chained.freeze();
    const call = lab.libvirtd.virsh("domstats", "chained");
    expect(await within(500, call)).toBe("hangs");
    expect(await within(5_000, lab.libvirtd.virsh("domstats", "minimal"))).toMatchObject({ code: 0 });
    lab.chained.thaw();
    expect(await within(5_000, call)).toMatchObject({ code: 0 });
  });

  it("keeps its guests when the daemon starts again", async () => {
    const before = lab.libvirtd.pid;
    await lab.libvirtd.restart();
    expect(lab.libvirtd.pid).not.toBe(before);
    expect((await lab.libvirtd.virsh("list", "--name")).stdout).toContain("rich\n");
    expect(isAlive(lab.rich.pid ?? 0)).toBe(true);
  });
});

describeWith([...labRequirements, "python3-libvirt"], "the Python binding", () => {
  it("sees the same guests and values as virsh", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: `a "guest" <with> ünusual & 'name'`, paused: true, kvm: false });
    const script = [
      "import json, libvirt, os",
      "connection = libvirt.openReadOnly(os.environ['LIBVIRT_URI'])",
      "print(json.dumps([[domain.name(), domain.UUIDString(), record] for domain, record in connection.getAllDomainStats()]))",
    ].join("\n");
    const { stdout, stderr } = await libvirtd.python(script);
    expect(stderr).toBe("");
    const [[name, uuid, record]] = JSON.parse(stdout);
    expect([name, uuid]).toEqual([guest.name, guest.uuid]);
    const { stdout: text } = await libvirtd.virsh("domstats", "--block", guest.uuid);
    expect(text).toContain(`block.0.path=${record["block.0.path"]}`);
  });
});

describeWith(labRequirements, "a private daemon", () => {
  it("leaves no process and no folder after stop, at once even with a frozen guest", async () => {
    const libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", transient: true });
    guest.freeze();
    const call = libvirtd.virsh("domstats");
    expect(await within(300, call)).toBe("hangs");
    const processes = await libvirtd.processes();
    expect(processes.length).toBeGreaterThanOrEqual(4);
    const start = Date.now();
    await Promise.all([libvirtd.stop(), libvirtd.stop()]);
    expect(Date.now() - start).toBeLessThan(3_000);
    expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([]);
    expect(existsSync(libvirtd.directory)).toBe(false);
    expect(await call).not.toMatchObject({ code: 0 });
  });

  it("serves libvirt's test driver with as many domains as asked for", async () => {
    await using driver = await startTestDriver({ domains: 1_000 });
    const { stdout } = await runCommand("virsh", ["-r", "-c", driver.uri, "list", "--name"]);
    expect(stdout.match(/^test-\d{5}$/gm)).toHaveLength(1_000);
  });
});
