import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { LibvirtDriver } from "../../../../src/drivers/libvirt/driver.ts";
import { createGuest, type Guest } from "../../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../../lab/libvirtd.ts";
import { freePort } from "../../../lab/port.ts";
import { describeWith, labRequirements } from "../../../lab/requirement.ts";
import { type Sshd, startSshd } from "../../../lab/sshd.ts";
import { startTestDriver } from "../../../lab/test-driver.ts";
import { PATIENCE } from "../../../until.ts";
import { oneSweep, sweepOf } from "./one-sweep.ts";
import { SilentListener } from "./silent-listener.ts";

/** The ssh programs that this process has started and not reaped. */
async function sshProcesses(): Promise<string[]> {
  const pids = (await readFile(`/proc/${process.pid}/task/${process.pid}/children`, "utf8")).trim().split(" ");
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, "utf8").catch(() => "")));
  return names.map((name) => name.trim()).filter((name) => name === "ssh");
}

const requirements = [...labRequirements, "ssh", "sshd", "nc", "virt-ssh-helper"] as const;

describeWith(requirements, "libvirt over ssh", () => {
  let libvirtd: Libvirtd;
  let guest: Guest;
  let sshd: Sshd;
  const failure = (uri: string) =>
    LibvirtDriver.open(uri, { connectTimeoutMs: 20_000 }).then(
      () => undefined,
      (error) => error,
    );

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    guest = await createGuest(libvirtd, { name: "guest", paused: true });
    sshd = await startSshd(libvirtd);
  });

  afterAll(async () => {
    await sshd?.stop();
    await libvirtd?.stop();
  });

  it.each([
    ["virt-ssh-helper, found by itself", {}],
    ["netcat, asked for", { proxy: "netcat" }],
    ["a netcat and a socket that are named", { netcat: "/usr/bin/nc", socket: "/run/libvirt/libvirt-sock-ro" }],
    ["netcat to the monolithic daemon, by mode", { mode: "legacy" }],
  ])("opens, sweeps and closes by %s", async (_, parameters) => {
    expect(await oneSweep(sshd.uri(parameters as Record<string, string>))).toEqual({ guest: "ok" });
  });

  it("serves +libssh2 by the same program", async () => {
    const uri = sshd.uri({ sshauth: "privkey" }).replace("+ssh:", "+libssh2:");
    expect(await oneSweep(uri)).toEqual({ guest: "ok" });
  });

  it("opens a user's own daemon's name by virt-ssh-helper only", async () => {
    // To root, libvirt's session is the system.
    expect(await oneSweep(sshd.uri({}, "/session"))).toEqual({ guest: "ok" });
  });

  it("carries thousands of records", async () => {
    await using test = await startTestDriver({ domains: 1_000, libvirtd });
    const file = /^test\+unix:\/\/([^?]+)/.exec(test.uri)![1]!;
    const found = await oneSweep(sshd.uri({}, file).replace(/^qemu/, "test"));
    expect(Object.keys(found)).toHaveLength(1_000);
    expect(new Set(Object.values(found))).toEqual(new Set(["ok"]));
  });

  it("leaves no process at either end when it is closed", async () => {
    for (const proxy of ["native", "netcat"]) {
      const driver = await LibvirtDriver.open(sshd.uri({ proxy }));
      expect(await sshProcesses()).toHaveLength(1);
      await driver.close();
      expect(await sshProcesses()).toEqual([]);
      await vi.waitFor(async () => expect(await sshd.sessions()).toEqual([]), PATIENCE);
    }
  });

  it("leaves nothing behind, at whatever moment it is given up", async () => {
    const reason = new Error("enough");
    const attempts = [0, 20, 50, 100, 150, 200, 250, 300, 400, 600].map(async (delay) => {
      const abort = new AbortController();
      const opening = LibvirtDriver.open(sshd.uri(), { signal: abort.signal });
      setTimeout(() => abort.abort(reason), delay);
      await opening.then(
        (driver) => driver.close(),
        (error) => expect(error).toBe(reason),
      );
    });
    await Promise.all(attempts);
    await vi.waitFor(async () => expect(await sshProcesses()).toEqual([]), PATIENCE);
    await vi.waitFor(async () => expect(await sshd.sessions()).toEqual([]), PATIENCE);
  });

  it("says that the connection is lost, with ssh's words, when its session dies in the middle, and connects again", async () => {
    await using driver = await LibvirtDriver.open(sshd.uri());
    expect(await sweepOf(driver)).toEqual({ guest: "ok" });
    guest.freeze();
    try {
      const sweep = expect(sweepOf(driver)).rejects.toMatchObject({
        code: "connection-lost",
        retryable: true,
        message: expect.stringMatching(/ssh -p \d+ root@127\.0\.0\.1 ended: .*(closed|reset|[Bb]roken)/),
      });
      await sleep(200);
      await sshd.drop();
      await sweep;
    } finally {
      guest.thaw();
    }
    await vi.waitFor(async () => expect(await sweepOf(driver)).toEqual({ guest: "ok" }), PATIENCE);
    await driver.close();
    expect(await sshProcesses()).toEqual([]);
  });

  it("passes over what a login shell says before the daemon's first byte", async () => {
    const key = await sshd.authorize("noisy", 'echo Welcome; printf "no newline"; eval "$SSH_ORIGINAL_COMMAND"');
    expect(await oneSweep(sshd.uri({ keyfile: key }))).toEqual({ guest: "ok" });
  });

  it("says what the login said instead, when it cannot run commands or runs another", async () => {
    const closed = await sshd.authorize("closed", "echo This account is currently not available.; exit 1");
    expect(await failure(sshd.uri({ keyfile: closed }))).toMatchObject({
      code: "connection-lost",
      message: expect.stringMatching(/This account is currently not available.*check that it can run a command there/),
    });
    const other = await sshd.authorize("other", "echo virstream: connected; echo 220 mail.example.com ESMTP; cat");
    expect(await failure(sshd.uri({ keyfile: other }))).toMatchObject({
      code: "protocol-error",
      message: expect.stringContaining("220 mail.example.com"),
    });
    const endless = await sshd.authorize("endless", "yes");
    expect(await failure(sshd.uri({ keyfile: endless }))).toMatchObject({ code: "protocol-error" });
  });

  it.each([
    [
      "a host key that is not known",
      { known_hosts: "/dev/null" },
      "unauthenticated",
      /host's key is not known.*no_verify=1/,
    ],
    ["no netcat", { netcat: "no-such-nc" }, "unsupported", /no no-such-nc .*netcat-openbsd/],
    ["a netcat that is none", { netcat: "false" }, "connection-lost", /it ended with the code 1/],
    ["no socket", { socket: "/nowhere/sock" }, "socket-missing", /no socket \/nowhere\/sock there/],
  ])("tells of %s, and what to do", async (_, parameters, code, message) => {
    expect(await failure(sshd.uri(parameters as Record<string, string>))).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("tells of a key that the host does not take, and of a key file that is not there", async () => {
    expect(await failure(sshd.uri({ keyfile: sshd.strangersKey, sshauth: "privkey" }))).toMatchObject({
      code: "unauthenticated",
      retryable: false,
      message: expect.stringMatching(
        /Permission denied \(publickey\).*ssh-copy-id -p \d+ root@127\.0\.0\.1.*keyfile=PATH/,
      ),
    });
    expect(await failure(sshd.uri({ keyfile: "/nowhere/key" }))).toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining("/nowhere/key cannot be read"),
    });
  });

  it("takes an unknown host key with no_verify, and refuses a changed one all the same", async () => {
    const fresh = join(libvirtd.directory, "ssh/fresh");
    expect(await oneSweep(sshd.uri({ known_hosts: fresh, no_verify: "1" }))).toEqual({ guest: "ok" });
    expect(await readFile(fresh, "utf8")).toContain("ssh-ed25519");
    const other = (await readFile(`${sshd.strangersKey}.pub`, "utf8")).split(" ").slice(0, 2).join(" ");
    await writeFile(fresh, `[127.0.0.1]:${sshd.port} ${other}\n`);
    expect(await failure(sshd.uri({ known_hosts: fresh, no_verify: "1" }))).toMatchObject({
      code: "unauthenticated",
      message: expect.stringMatching(/has changed.*ssh-keygen -R "\[127\.0\.0\.1\]:\d+"/),
    });
    expect(await oneSweep(sshd.uri({ known_hosts: fresh, known_hosts_verify: "ignore" }))).toEqual({ guest: "ok" });
  });

  it("tells of a daemon that has ended there, by either proxy", async () => {
    await libvirtd.kill();
    for (const proxy of ["native", "netcat"]) {
      expect(await failure(sshd.uri({ proxy }))).toMatchObject({
        code: "connection-refused",
        message: expect.stringContaining("systemctl restart libvirtd.socket there"),
      });
    }
    await libvirtd.restart();
  });
});

describeWith(["ssh"], "Connecting by ssh", () => {
  it("reports a port where no program listens, and an unknown name", async () => {
    await expect(LibvirtDriver.open(`qemu+ssh://127.0.0.1:${await freePort()}/system`)).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringMatching(/Connection refused.*is sshd running/),
    });
    await expect(LibvirtDriver.open("qemu+ssh://no-such-host.invalid/system")).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringMatching(/Could not resolve hostname.*correct the host/),
    });
  });

  it("is given up when the signal says so, and ssh with it, although a program accepts and says nothing", async () => {
    await using listener = await SilentListener.start();
    const uri = `qemu+ssh://127.0.0.1:${listener.port}/system`;
    const abort = new AbortController();
    const given = expect(LibvirtDriver.open(uri, { signal: abort.signal })).rejects.toThrow("enough");
    await vi.waitFor(() => expect(listener.open).toBe(1), PATIENCE);
    abort.abort(new Error("enough"));
    await given;
    await vi.waitFor(async () => expect([listener.open, await sshProcesses()]).toEqual([0, []]), PATIENCE);
    await expect(LibvirtDriver.open(uri, { connectTimeoutMs: 100 })).rejects.toMatchObject({ code: "connect-timeout" });
    await vi.waitFor(async () => expect(await sshProcesses()).toEqual([]), PATIENCE);
  });
});

describe("The ssh program", () => {
  afterEach(() => vi.unstubAllEnvs());

  it("is asked for, with the command that installs it, where there is none", async () => {
    vi.stubEnv("PATH", "/nowhere");
    await expect(LibvirtDriver.open("qemu+ssh://host/system")).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("apt-get install openssh-client"),
    });
  });

  it("that may not be run is named, with the system's own words", async () => {
    const folder = await mkdtemp(join(tmpdir(), "vs-ssh-"));
    await writeFile(join(folder, "ssh"), "", { mode: 0o644 });
    vi.stubEnv("PATH", folder);
    await expect(LibvirtDriver.open("qemu+ssh://host/system")).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining("ssh cannot be started: spawn ssh EACCES"),
    });
    await rm(folder, { recursive: true });
  });

  it("that cannot be started at present may be tried again", async () => {
    // The system refuses to start a program with an environment as large as this.
    vi.stubEnv("VIRSTREAM_TEST", "x".repeat(200_000));
    await expect(LibvirtDriver.open("qemu+ssh://host/system")).rejects.toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringContaining("ssh cannot be started: spawn E2BIG: try again"),
    });
  });

  it("that does not end when it is asked to is killed", async () => {
    // A program in ssh's place that hears no SIGTERM and never answers.
    const folder = await mkdtemp(join(tmpdir(), "vs-ssh-"));
    await writeFile(join(folder, "ssh"), '#!/bin/sh\ntrap "" TERM\nwhile :; do sleep 0.1; done\n', { mode: 0o755 });
    vi.stubEnv("PATH", `${folder}:${process.env.PATH}`);
    const opening = LibvirtDriver.open("qemu+ssh://host/system", { connectTimeoutMs: 300 });
    await expect(opening).rejects.toMatchObject({ code: "connect-timeout" });
    expect(await sshProcesses()).toHaveLength(1);
    await vi.waitFor(async () => expect(await sshProcesses()).toEqual([]), PATIENCE);
    await rm(folder, { recursive: true });
  });
});
