import { afterAll, beforeAll, expect, it } from "vitest";
import { mustRun } from "../lab/command.ts";
import { createFailedGuests } from "../lab/failed-guests.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { virstream } from "./run.ts";

describeWith(labRequirements, "Guests that failed", () => {
  let libvirtd: Libvirtd;
  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    await createFailedGuests(libvirtd);
  });
  afterAll(() => libvirtd?.stop());

  it("are shown with the reason in the table, without a colour in a pipe", async () => {
    const { stdout, stderr } = await virstream(["get", libvirtd.uri]);
    expect(stdout).toMatch(
      /^STATUS +GUEST .*\nI\/O-ERROR +broken .* paused \(I\/O error\)\nCRASHED-\d+s +killed .* shut off \(crashed\)\n$/,
    );
    expect(stdout).not.toContain("\u001b");
    expect(stderr).toBe(
      `virstream: broken: paused (I/O error).  virstream why broken '${libvirtd.uri}'  (1 more in trouble)\n`,
    );
  });

  it("are found by the doctor where a disk failed, with the commands that show the disk and go on", async () => {
    const { stdout, code } = await virstream(["doctor", libvirtd.uri]);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^warning: A disk of 1 of 1 running guest failed or is full, .* \[guest-failed\]\n {2}broken$/m,
    );
    const [show, resume] = ["domblkerror", "resume"].map(
      (verb) => new RegExp(`^ +(virsh .*${verb} broken)`, "m").exec(stdout)![1]!,
    );
    expect((await mustRun("sh", ["-c", show!])).stdout).toMatch(/^vda: /m);
    await mustRun("sh", ["-c", resume!]);
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

  it("are found by the doctor where their QEMU crashed, with the command that starts them", async () => {
    const { stdout } = await virstream(["doctor", libvirtd.uri]);
    expect(stdout).toMatch(
      /^warning: A guest does not run because something failed: shut off \(crashed\)\. \[guest-failed\]\n {2}killed$/m,
    );
    const start = /^ +(virsh .*start killed)/m.exec(stdout)![1]!;
    await mustRun("sh", ["-c", start]);
    expect((await virstream(["doctor", libvirtd.uri])).stdout).not.toContain("does not run");
  });
});
