/** @module-tag any-node */

import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { examinationText } from "../../src/cli/doctor.ts";
import { FINDINGS, finding } from "../../src/doctor/finding.ts";
import { createGuests } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

describeWith(labRequirements, "virstream doctor, on a host with libvirt", () => {
  let libvirtd: Libvirtd;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    await createGuests(libvirtd, 4, { name: "web", disks: 0, paused: true });
  });
  afterAll(() => libvirtd?.stop());

  const period = (seconds: number) =>
    libvirtd.virsh([0, 1, 2, 3].map((i) => `dommemstat web-00${i} --period ${seconds} --live`).join("; "));

  it("says that there is nothing to fix, and ends with 0", async () => {
    const { stdout, stderr, code } = await virstream(["doctor", libvirtd.uri]);
    expect([stderr, code]).toEqual(["", 0]);
    const lines = stdout.split("\n");
    expect(lines[0]).toBe(libvirtd.uri);
    expect(lines).toContain(`  sockets      ${libvirtd.readOnlySocket}  open, used`);
    expect(stdout).toMatch(/^ {2}libvirt {6}\d+\.\d+\.\d+$/m);
    expect(stdout).toMatch(/^ {2}hypervisor {3}qemu \d+\.\d+\.\d+$/m);
    expect(stdout).toMatch(/^ {4}grep -sw max_client_requests .*means 5$/m);
    expect(stdout).toMatch(/^ {2}groups {7}state, cpu-total, balloon, /m);
    expect(stdout).toMatch(/^ {2}guests {7}4 running, 4 examined$/m);
    expect(lines.at(-2)).toBe("Nothing to fix.");
  });

  it("shows what to fix, for the first few guests or for all of them, and ends with 1", async () => {
    await period(0);
    const some = await virstream(["doctor", libvirtd.uri]);
    expect(some.code).toBe(1);
    expect(some.stdout).toMatch(
      /^warning: The balloon of 4 of 4 running guests has no statistics period: .* \[balloon-period-off\]$/m,
    );
    expect(some.stdout).toMatch(/^ {2}web-\d+, web-\d+, web-\d+ and 1 more \(--all names them\)$/m);
    expect(some.stdout.match(/^ {4}virsh -c \S+ dommemstat web-00\d --period 10 --live --config$/gm)).toHaveLength(3);
    expect(some.stdout).toMatch(/\n1 warning(, \d notes?)?\. docs\/doctor\.md explains each\.\n$/);
    const all = await virstream(["doctor", libvirtd.uri, "--all"]);
    expect(all.stdout.match(/^ {4}virsh -c /gm)).toHaveLength(4);
    await period(5);
  });

  it("gives the same as JSON, with every guest", async () => {
    await period(0);
    const { stdout, code } = await virstream(["doctor", "--format", "json", libvirtd.uri]);
    expect(code).toBe(1);
    const { examinations } = JSON.parse(stdout);
    expect(examinations).toMatchObject([
      {
        uri: libvirtd.uri,
        sockets: [{ path: libvirtd.readOnlySocket, state: "open", used: true }],
        hypervisor: { hypervisor: "qemu" },
        keepalive: true,
        events: true,
        guests: { running: 4, examined: 4 },
      },
    ]);
    const [{ guests }] = examinations[0].findings.filter(({ id }: { id: string }) => id === "balloon-period-off");
    expect(guests).toHaveLength(4);
    expect(guests[0]).toMatchObject({ name: expect.any(String), uuid: expect.any(String), fix: [expect.any(String)] });
    await period(5);
  });
});

describe("virstream doctor", () => {
  it("says how to get a daemon where there is none, and ends with 1", async () => {
    const { stdout, stderr, code } = await virstream(["doctor", "qemu:///system?socket=/nowhere/sock"]);
    expect([stderr, code]).toEqual(["", 1]);
    expect(stdout).toContain("  sockets      /nowhere/sock  missing\n");
    expect(stdout).toMatch(/^problem: .* \[socket-missing\]$/m);
    expect(stdout).toMatch(/\n1 problem\. /);
  });

  it("examines this machine's daemons without a URI, whatever the environment names", async () => {
    const { stdout, code } = await virstream(["doctor"], {
      LIBVIRT_DEFAULT_URI: "test:///default",
      VIRSTREAM_URI: "test:///default",
    });
    expect(stdout).toMatch(/^qemu:\/\/\/system\n {2}sockets {6}\S/);
    expect([0, 1]).toContain(code);
  });

  it.each([
    ["test:///default", /simulated host needs no doctor/],
    ["ws://127.0.0.1:16580", /run it on the host where that server runs/],
    ["gopher://host", /doctor examines libvirt hosts, such as qemu:\/\/\/system, not "gopher"/],
    ["qemu+unix://host/system", /a unix socket has no user, host or port/],
  ])("examines libvirt hosts only, and not %s", async (uri, message) => {
    const { stdout, stderr, code } = await virstream(["doctor", uri]);
    expect([stdout, code]).toEqual(["", 2]);
    expect(stderr).toMatch(message);
    expect(stderr).toContain('Try "virstream doctor --help"');
  });

  it("shows control characters instead of sending them to the terminal", () => {
    const guest = { name: "\u001b[2Jevil\n", uuid: "", fix: ["virsh edit '\u001b[2Jevil\n'"] };
    const findings = [finding("balloon-none", "none", { guests: [guest] })];
    const text = examinationText({ uri: "qemu:///system", sockets: [], findings }, false);
    expect(text).toBe(
      "qemu:///system\n\nnote: none [balloon-none]\n  \ufffd[2Jevil\ufffd\n    virsh edit '\ufffd[2Jevil\ufffd'\n\nNothing to fix.\n",
    );
  });

  it("explains itself", async () => {
    expect(await virstream(["doctor", "--help"])).toMatchObject({ code: 0, stdout: expect.stringContaining("--all") });
    expect((await virstream(["--help"])).stdout).toMatch(/^ {2}doctor /m);
    expect(await virstream(["doctor", "--format", "yaml"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("choose one of text, json"),
    });
  });
});

describe("docs/doctor.md", () => {
  const page = readFileSync(new URL("../../docs/doctor.md", import.meta.url), "utf8");
  const sections = page.split(/^### /m).slice(1);

  it("has one heading for each finding, and no other, in the order of the code", () => {
    expect(sections.map((section) => section.split("\n")[0])).toEqual(Object.keys(FINDINGS));
  });

  it("gives each finding's severity, and what to do", () => {
    for (const section of sections) {
      const [heading, , first] = section.split("\n");
      const severity = FINDINGS[heading as keyof typeof FINDINGS];
      expect([heading, first]).toEqual([heading, expect.stringMatching(new RegExp(`^${severity}[.,]`, "i"))]);
      expect([heading, section]).toEqual([heading, expect.stringContaining("\nWhat to do: ")]);
    }
  });
});
