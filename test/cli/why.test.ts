/** @module-tag any-node */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connect, connectAll } from "../../src/index.ts";
import { type Diagnosis, serve } from "../../src/server/index.ts";
import { mustRun } from "../lab/command.ts";
import { createFailedGuests } from "../lab/failed-guests.ts";
import { createGuest, type Guest } from "../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { PATIENCE } from "../until.ts";
import { virstream } from "./run.ts";

/** On a busy machine, a guest that is well waits for processors. */
const RUNS = /^\w+ \(\S+\) (is running, and its host sees nothing wrong with it\.|runs, but its vCPUs waited)/m;

describeWith(labRequirements, "virstream why, on a real host", () => {
  let small: string;
  let libvirtd: Libvirtd;
  const guests: Record<string, Guest> = {};
  beforeAll(async () => {
    small = await mkdtemp(join(tmpdir(), "virstream-small-"));
    await mustRun("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", small]);
    libvirtd = await startLibvirtd();
    guests["full"] = await createGuest(libvirtd, { name: "full", fillsDisk: small });
    Object.assign(guests, await createFailedGuests(libvirtd));
    for (const name of ["frozen", "suspended", "healthy"]) {
      guests[name] = await createGuest(libvirtd, { name, disks: 0 });
    }
    await guests["suspended"]!.suspend();
    guests["frozen"]!.freeze();
    await vi.waitFor(async () => {
      expect(await guests["full"]!.virsh("domstate full --reason")).toMatch(/^paused \(I\/O error\)/);
    }, PATIENCE);
  });
  afterAll(async () => {
    guests["frozen"]?.thaw();
    await libvirtd?.stop();
    await mustRun("umount", [small]);
    await rm(small, { recursive: true });
  });

  const why = async (guest: string, ...args: string[]) => virstream(["why", guest, libvirtd.uri, ...args]);
  const remedy = (text: string, pattern: RegExp): string => pattern.exec(text)![1]!;

  it("names the stopped process of a guest that answers nothing, and the command that continues it", async () => {
    const { stdout, code } = await why("frozen");
    expect(code).toBe(0);
    const { pid } = guests["frozen"]!;
    expect(stdout).toMatch(/^frozen \(\S+\) answers nothing: its QEMU process is stopped \(state T\)\.$/m);
    expect(stdout).toContain(`QEMU process ${pid} is in state T`);
    expect(stdout).toMatch(/^ {2}records +its records are partial: without .*block/m);
    expect(stdout).toContain(`kill -CONT ${pid}`);
  });

  it("has the same answer from a server, which examines its host", async () => {
    await using served = await ServedProcess.start({ uri: libvirtd.uri });
    const { stdout, code } = await virstream(["why", "frozen", served.url]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^frozen \(\S+\) answers nothing: its QEMU process is stopped \(state T\)\.$/m);
    expect(stdout).toContain(`kill -CONT ${guests["frozen"]!.pid}`);
    // A server of that server asks it in turn.
    await using above = await ServedProcess.start({ uri: served.url });
    expect((await virstream(["why", "frozen", above.url])).stdout).toBe(stdout);
  });

  it("names the disk that has no space, where its file is, and the command that continues the guest", async () => {
    const { stdout } = await why("full");
    expect(stdout).toMatch(/^full \(\S+\) is paused: its disk vda found no space left on the host\.$/m);
    expect(stdout).toContain(`vda (${small}/`);
    expect(stdout).toMatch(new RegExp(`df -h ${small}/`));
    expect(stdout).toMatch(/virsh .* resume full$/m);
  });

  it("names the disk that failed for another reason, and its advice works", async () => {
    const { stdout } = await why("broken");
    expect(stdout).toMatch(/^broken \(\S+\) is paused: a request to its disk vda failed on the host\.$/m);
    await mustRun("sh", ["-c", remedy(stdout, /(virsh .* resume broken)$/m)]);
  });

  it("says that the QEMU of a guest crashed, and its advice starts the guest", async () => {
    const { stdout } = await why("killed");
    expect(stdout).toMatch(/^killed \(\S+\) is shut off, because its QEMU crashed or was killed\.$/m);
    await mustRun("sh", ["-c", remedy(stdout, /(virsh .* start killed)$/m)]);
    expect((await why("killed")).stdout).toMatch(RUNS);
  });

  it("says that a user paused a guest, and that nothing is wrong with one that runs", async () => {
    expect((await why("suspended")).stdout).toMatch(/^suspended \(\S+\) is paused: a user paused it\.$/m);
    const { stdout } = await why("healthy", "--format", "json");
    const [diagnosis] = JSON.parse(stdout).diagnoses;
    expect(diagnosis).toMatchObject({ domain: { name: "healthy" } });
    expect(diagnosis.summary).toMatch(RUNS);
  });

  it("names similar guests and exits with 3 if there is no such guest", async () => {
    const { stdout, stderr, code } = await why("heathy");
    expect(code).toBe(3);
    expect(stdout).toBe("There is no guest heathy.\n");
    expect(stderr).toContain("did you mean healthy?");
  });
});

describe("virstream why, without libvirt", () => {
  it("asks only the records, and says that the fault was asked for", async () => {
    const { stdout, code } = await virstream(["why", "guest-00001", "test:///default?domains=3&freeze=1"]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^guest-00001 .* only part of its statistics/m);
    expect(stdout).toMatch(/^ {2}remedy +take the guest out of freeze=/m);
  });

  it("has the answer of a server that wants a token, and prints nothing that could change the screen", async () => {
    await using connection = await connect("test:///default?domains=3");
    const file = join(tmpdir(), `virstream-why-${process.pid}.sock`);
    for (const place of [{ port: 0 }, { socketPath: file }]) {
      await using server = await serve(connection, {
        ...place,
        token: "a secret",
        explain: async (domain) => ({
          domain,
          wrong: true,
          summary: "It is \u001b[2Jill.",
          evidence: ["a\nb"],
          remedy: ["echo \u202e"],
        }),
      });
      const { stdout } = await virstream(["why", "guest-00001", server.url], { VIRSTREAM_TOKEN: "a secret" });
      expect(stdout).toBe("It is \ufffd[2Jill.\n  evidence  a\ufffdb\n  remedy    echo \ufffd\n");
    }
  });

  it("is suggested by get with the credentials that get was given", async () => {
    await using connection = await connect("test:///default?domains=2&freeze=1");
    await using server = await serve(connection, { port: 0, token: "a secret" });
    const folder = await mkdtemp(join(tmpdir(), "virstream why "));
    const [file, authorities] = [join(folder, "token"), join(folder, "ca.pem")];
    await writeFile(file, "a secret", { mode: 0o600 });
    await writeFile(authorities, rootCertificates[0]!);
    const credentials = ["--token-file", file, "--ca", authorities];
    try {
      const { stderr } = await virstream(["get", server.url, "--no-rates", "--deadline", ".2s", ...credentials]);
      expect(stderr).toContain(
        `virstream why guest-00001 ${server.url} --token-file '${file}' --ca '${authorities}'\n`,
      );
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("says what the records have where a server does not examine guests, or answers nonsense", async () => {
    await using connection = await connect("test:///default?domains=3");
    const nonsense = async () => ({ remedy: "no list" }) as unknown as Diagnosis;
    for (const explain of [undefined, nonsense]) {
      await using server = await serve(connection, { port: 0, ...(explain && { explain }) });
      const { stdout } = await virstream(["why", "guest-00001", server.url]);
      expect(stdout).toMatch(/^guest-00001 .* is running, and its host sees nothing wrong with it\.$/m);
    }
  });

  it("says why a server does not examine the guest for this client, beside what the records have", async () => {
    await using connection = await connect("test:///default?domains=3&freeze=1");
    await using server = await serve(connection, {
      ...{ port: 0, token: "all" },
      viewers: [{ name: "few", token: "few", names: ["*"], groups: ["state", "block"] }],
      explain: async () => Promise.reject(new Error("the host is down")),
    });
    for (const [token, reason] of [
      ["few", "this token shows some groups only, and an answer has figures of all of them"],
      ["all", "the host is down [internal]"],
    ] as const) {
      const { stdout, code } = await virstream(["why", "guest-00001", server.url], { VIRSTREAM_TOKEN: token });
      expect([code, stdout]).toEqual([0, expect.stringContaining(`its server does not say more: ${reason}\n`)]);
      expect(stdout).not.toContain("itself can say more");
    }
  });

  it("says that it does not know whether there is such a guest while a host that may have it is away, and exits with 3", async () => {
    await using other = await connect("test:///default?domains=3&host=hv2");
    const away = await serve(other, { port: 0 });
    await away.close();
    await using both = await connectAll(["test:///default?domains=3&host=hv1", away.url]);
    await using server = await serve(both, { port: 0 });
    for (const guest of ["nosuch", "12345678-0000-4000-8000-000000000000"]) {
      const { stdout, code } = await virstream(["why", guest, server.url]);
      expect(code).toBe(3);
      expect(stdout).toContain(`It is not known whether there is a guest ${guest}.\n  evidence  ${away.url} cannot be`);
      expect(stdout).not.toContain("remedy");
    }
  });

  it("needs the name of a guest", async () => {
    const { stderr, code } = await virstream(["why"]);
    expect(code).toBe(2);
    expect(stderr).toContain("virstream why GUEST [URI]");
    const forgotten = await virstream(["why", "test:///default?domains=2"]);
    expect(forgotten.code).toBe(2);
    expect(forgotten.stderr).toContain("virstream why GUEST 'test:///default?domains=2'\n");
  });
});
