import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { READY, sshArguments } from "../../../../src/drivers/libvirt/transport/ssh-command.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";
import { runCommand } from "../../../lab/command.ts";
import { findProgram } from "../../../lab/requirement.ts";

const argumentsOf = (uri: string) => sshArguments(parseLibvirtUri(uri));
const options = (uri: string) => argumentsOf(uri).filter((_, index, all) => all[index - 1] === "-o");

describe("The arguments of ssh", () => {
  it("are those of libvirt, and never let ssh ask anybody", () => {
    const args = argumentsOf("qemu+ssh://me@host:2222/system?keyfile=/dev/null");
    expect(args.slice(0, 9)).toEqual(["-p", "2222", "-l", "me", "-i", "/dev/null", "-T", "-e", "none"]);
    expect(args.slice(-3, -1)).toEqual(["--", "host"]);
    expect(options("qemu+ssh:///system")).toContain("BatchMode=yes");
    expect(argumentsOf("qemu+ssh:///system").at(-2)).toBe("localhost");
    expect(argumentsOf("qemu+ssh://[fe80::1%25eth0]/system").at(-2)).toBe("fe80::1%eth0");
  });

  it.each([
    ["", undefined],
    ["known_hosts_verify=normal", "StrictHostKeyChecking=yes"],
    ["known_hosts_verify=auto", "StrictHostKeyChecking=accept-new"],
    ["no_verify=1", "StrictHostKeyChecking=accept-new"],
    ["no_verify=0", undefined],
    ["known_hosts_verify=ignore", "StrictHostKeyChecking=no"],
  ])("check host keys as %j says", (query, option) => {
    const checks = options(`qemu+ssh://host/system?${query}`).filter((text) => text.startsWith("StrictHostKey"));
    expect(checks).toEqual(option === undefined ? [] : [option]);
  });

  it("name the known hosts and the ways to authenticate", () => {
    expect(options("qemu+ssh://host/system?known_hosts=/a%20b")).toContain('UserKnownHostsFile="/a b"');
    expect(options("qemu+libssh://host/system?sshauth=agent")).toEqual(
      expect.arrayContaining(["PreferredAuthentications=publickey", "IdentityFile=none"]),
    );
    expect(options("qemu+libssh://host/system?sshauth=privkey,password")).toContain("IdentityAgent=none");
  });

  it.each([
    ["qemu+ssh://-oProxyCommand=touch%20x/system", "invalid-uri", "not a libvirt URI"],
    ["qemu+ssh://a;reboot/system", "invalid-uri", "no name and no address"],
    ["qemu+ssh://$(reboot)/system", "invalid-uri", "no name and no address"],
    ["qemu+ssh://`reboot`/system", "invalid-uri", "no name and no address"],
    ["qemu+ssh://-oProxyCommand=x@host/system", "invalid-uri", "as a user's name"],
    ["qemu+ssh://a'b@host/system", "invalid-uri", "as a user's name"],
    ["qemu+ssh://a%24(x)@host/system", "invalid-uri", "as a user's name"],
    ["qemu+ssh://a%0Ab@host/system", "invalid-uri", "as a user's name"],
    ["qemu+ssh://host/system?known_hosts=-x", "invalid-uri", "known_hosts=-x"],
    ["qemu+ssh://host/system?known_hosts=/a%22%20-oProxyCommand=x", "invalid-uri", "ssh cannot be given this path"],
    ["qemu+ssh://host/system?keyfile=/a%25h", "invalid-uri", "ssh cannot be given this path"],
    ["qemu+ssh://host/system?socket=/a%0Ab", "invalid-uri", "through every shell"],
    ["qemu+ssh://host/system?socket=/a%5C", "invalid-uri", "through every shell"],
    ["qemu+ssh://host/system?netcat=!x", "invalid-uri", "through every shell"],
    ["qemu+ssh://host/system?netcat=-x", "invalid-uri", "begins with a dash"],
    ["qemu+ssh://host/system?proxy=native&netcat=nc", "invalid-uri", "netcat= is for netcat"],
    ["qemu+ssh://host/system?proxy=native&socket=/a", "invalid-uri", "socket= is for netcat"],
    ["qemu+ssh://host/system?proxy=both", "invalid-uri", "proxy is one of auto, netcat, native"],
    ["qemu+ssh://host/session?proxy=netcat", "invalid-uri", "add socket=PATH"],
    ["qemu+ssh://host/session?mode=direct", "invalid-uri", "add socket=PATH"],
    ["qemu+ssh://host/system?known_hosts_verify=maybe", "invalid-uri", "known_hosts_verify is one of"],
    ["qemu+ssh://host/system?sshauth=agent,magic", "invalid-uri", "not magic"],
    ["qemu+ssh://host/system?sshauth=password", "unsupported", "a service cannot type a password"],
    ["qemu+ssh://host/system?keyfile=/nowhere/key", "unauthenticated", "/nowhere/key cannot be read"],
  ])("are not made of %s", (uri, code, why) => {
    expect(() => argumentsOf(uri)).toThrow(expect.objectContaining({ code }));
    expect(() => argumentsOf(uri)).toThrow(why);
  });
});

describe("The command on the far side", () => {
  let folder: string;
  const shells = ["sh", "bash", "zsh", "fish", "tcsh"].filter((name) => findProgram(name) !== undefined);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-far-"));
    for (const [place, name] of [
      ["both", "virt-ssh-helper"],
      ["both", "nc"],
      ["netcat", "nc"],
      ["netcat", `n"c'$(touch pwned)`],
    ]) {
      await mkdir(join(folder, place!), { recursive: true });
      const path = join(folder, place!, name!);
      await writeFile(path, '#!/bin/sh\nprintf "<%s>" "$@"\n');
      await chmod(path, 0o755);
    }
  });

  afterAll(() => rm(folder, { recursive: true }));

  /** Runs it as sshd does: the login shell is given the words. */
  async function run(shell: string, uri: string, place: string) {
    const env = { PATH: `${join(folder, place)}:/usr/bin:/bin`, HOME: folder };
    const words = argumentsOf(uri).at(-1)!;
    // What is installed on this machine is not to be found.
    const own = place === "netcat" ? words.replaceAll("virt-ssh-helper", "no-such-helper") : words;
    return runCommand("env", ["-C", folder, findProgram(shell)!, "-c", own], { env });
  }

  it.each(shells)(
    "asks virt-ssh-helper for a read-only socket, and else netcat for one that is there, by %s",
    async (shell) => {
      expect(await run(shell, "qemu+ssh://host/system", "both")).toMatchObject({
        stdout: `${READY}<-r><qemu:///system>`,
        code: 0,
      });
      const missing = await run(shell, "qemu+ssh://host/system?socket=/nowhere/sock", "netcat");
      expect(missing).toMatchObject({ stdout: "", stderr: "virstream: trouble: no socket\n", code: 64 });
      const native = await run(shell, "qemu+ssh://host/system?proxy=native", "netcat");
      expect(native).toMatchObject({ stderr: "virstream: trouble: no helper\n", code: 64 });
      const neither = await run(shell, "qemu+ssh://host/system?netcat=no-such-nc", "netcat");
      expect(neither).toMatchObject({ stderr: "virstream: trouble: no netcat\n", code: 64 });
    },
  );

  it.each(shells)("passes any socket, netcat and path as one word, and runs nothing of them, by %s", async (shell) => {
    const socket = join(folder, `a'b "c" $(touch pwned) \`touch pwned\` ; touch pwned; é`);
    const server = createServer().listen(socket);
    await new Promise((resolve) => server.once("listening", resolve));
    try {
      const netcat = `n"c'$(touch pwned)`;
      const query = `socket=${encodeURIComponent(socket)}&netcat=${encodeURIComponent(netcat)}`;
      const found = await run(shell, `qemu+ssh://host/system?${query}`, "netcat");
      expect(found).toMatchObject({ stdout: `${READY}<-U><${socket}>`, stderr: "", code: 0 });
      const spliced = "qemu+ssh://host/'$(touch pwned)'\"`touch pwned`;touch$IFS-pwned";
      const path = await run(shell, spliced, "both");
      expect(path.stdout).toBe(`${READY}<-r><qemu:///'$(touch pwned)'"\`touch pwned\`;touch$IFS-pwned>`);
      expect(await readdir(folder)).not.toContain("pwned");
    } finally {
      await new Promise((resolve) => server.close(resolve));
    }
  });
});
