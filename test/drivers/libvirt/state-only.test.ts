import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { GROUPS } from "../../../src/model/group.ts";
import { virstream } from "../../cli/run.ts";
import { runCommand } from "../../lab/command.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { RpcProxy } from "../../lab/rpc-proxy.ts";
import { collect, statuses } from "./collect.ts";
import { advance, Run, turnTheClock } from "./sweep/run.ts";
import { libvirtError, NEVER, SimulatedDaemon } from "./sweep/simulated-daemon.ts";

const [, ...ALL_BUT_STATE] = GROUPS;
const MISSING = "00000000-0000-4000-8000-00000000dead";

describeWith([...labRequirements, "libvirt's LXC driver"], "On an LXC host, which has no statistics call", () => {
  let libvirtd: Libvirtd;
  let proxy: RpcProxy;
  let driver: LibvirtDriver;
  const lxc = (socket: string) => `lxc:///system?socket=${socket}`;

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    for (const [name, command] of [
      ["box", "create"],
      ["off", "define"],
    ] as const) {
      const file = join(libvirtd.directory, `${name}.xml`);
      const init =
        "<os><type>exe</type><init>/bin/sleep</init><initarg>3600</initarg></os><devices><console type='pty'/></devices>";
      await writeFile(file, `<domain type="lxc"><name>${name}</name><memory>32768</memory>${init}</domain>`);
      const { code, stderr } = await runCommand("virsh", ["-c", lxc(libvirtd.socket), command, file]);
      expect([code, stderr]).toEqual([0, ""]);
    }
    proxy = await RpcProxy.start(libvirtd.readOnlySocket);
    driver = await LibvirtDriver.open(lxc(libvirtd.readOnlySocket));
  });

  afterAll(async () => {
    await driver?.close();
    await proxy?.[Symbol.asyncDispose]();
    await libvirtd?.stop();
  });

  it("each domain has a record with its state, and with the other groups as unsupported", async () => {
    const { records, error, expected } = await collect(driver);
    expect([error, expected]).toEqual([undefined, [2]]);
    const [box, off] = records.sort((a, b) => (a.domain.name < b.domain.name ? -1 : 1));
    expect(box).toMatchObject({ status: "partial", reason: "unsupported", missing: ALL_BUT_STATE });
    expect(off).toMatchObject({ status: "partial", reason: "unsupported", missing: ALL_BUT_STATE });
    expect(box!.state).toEqual({ state: "running", reason: "booted" });
    expect(off!.state).toEqual({ state: "shutoff", reason: "unknown" });
    expect([...box!.params.list()].map(({ key, type }) => [key, type])).toEqual([
      ["state.state", "int"],
      ["state.reason", "int"],
    ]);
    expect(box!.domain.id).toBeGreaterThan(0);
    expect(off!.domain.id).toBe(-1);
  });

  it("a record that was asked for the state alone is complete, also of a domain that is named by its uuid", async () => {
    const all = await collect(driver, { groups: ["state"] });
    expect(statuses(all)).toEqual({ box: "ok", off: "ok" });
    const { uuid, id } = all.records.find(({ domain }) => domain.name === "box")!.domain;
    const named = await collect(driver, { domains: [uuid, "off", "box", MISSING], groups: ["state"] });
    expect(named.records.map(({ domain, status }) => `${domain.name} ${status}`).sort()).toEqual([
      " gone",
      "box ok",
      "off ok",
    ]);
    expect(named.records.find(({ domain }) => domain.name === "box")!.domain).toMatchObject({ uuid, id });
  });

  it("one call per domain reads it, over a read-only connection", async () => {
    const uri = lxc(proxy.uri.split("socket=")[1]!);
    const { stdout, stderr } = await virstream(["get", uri, "--format", "ndjson"]);
    expect(stdout, stderr).toContain('"state.state":1');
    const count = ({ number }: { number: number }) =>
      proxy.calls.filter(({ procedure }) => procedure === number).length;
    expect(count(PROCEDURES.state)).toBe(2);
    expect(count(PROCEDURES.controlInfo)).toBe(0);
    // The one call that asks whether there are statistics.
    expect(count(PROCEDURES.stats)).toBe(1);
    expect(proxy.unanswered(PROCEDURES.state.number)).toBe(0);
  });

  it("the doctor says so, as a note", async () => {
    const { stdout, code } = await virstream(["doctor", lxc(libvirtd.readOnlySocket)]);
    expect(stdout).toMatch(/only the\s+state of each domain/);
    expect(code).toBe(0);
  });
});

describe("Where a hypervisor has no statistics call", () => {
  turnTheClock();

  function daemonOf(...args: ConstructorParameters<typeof SimulatedDaemon>): SimulatedDaemon {
    const daemon = new SimulatedDaemon(...args);
    daemon.monitors = false;
    daemon.facts = { hypervisor: "xen", statistics: false };
    return daemon;
  }

  it("a locked domain delays only its own record, and is not asked again while its call is unanswered", async () => {
    const daemon = daemonOf(20, (index) => ({ freeMs: index === 3 ? NEVER : 0.2 }));
    const run = new Run(daemon, { deadlineMs: 1_000 });
    await advance(100);
    expect(run.count("partial", "unsupported")).toBe(19);
    await advance(1_500);
    await run.done;
    expect(run.count("failed", "timeout")).toBe(1);
    const again = new Run(daemon, { deadlineMs: 1_000 });
    await advance(1_500);
    expect(again.count("partial", "unsupported")).toBe(19);
    expect(again.count("failed", "quarantined")).toBe(1);
    daemon.thaw();
    await again.done;
  });

  it("a domain that has left is gone, and one that may not be read is denied", async () => {
    const daemon = daemonOf(3, (index) => (index === 0 ? { gone: true } : index === 1 ? { error: DENIED } : {}));
    const run = new Run(daemon);
    await advance(100);
    expect(run.summary).toEqual(["vm0:gone", "vm1:failed/denied", "vm2:partial/unsupported"]);
  });

  it.each([{ groups: ["block"] }, { enforce: true }, { domains: ["vm0"], filter: ["running"] }] as const)(
    "what cannot be answered is refused, with what to ask for instead: %j",
    async (query) => {
      const run = new Run(daemonOf(1), query as never);
      await advance(100);
      expect(run.error).toMatchObject({
        code: "unsupported",
        message: expect.stringMatching(/libvirt's xen driver has no statistics call.*ask for the group state/),
      });
    },
  );
});

const DENIED = libvirtError(88, "denied");
