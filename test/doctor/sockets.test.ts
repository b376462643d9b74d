import { chmod, chown, link, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { examineLocal } from "../../src/doctor/examination.ts";
import { examineSockets, socketFindings } from "../../src/doctor/sockets.ts";
import { TimeLimit } from "../../src/doctor/time-limit.ts";
import type { SocketPlace } from "../../src/drivers/libvirt/transport/unix.ts";
import { parseLibvirtUri } from "../../src/drivers/libvirt/transport/uri.ts";
import { fillBacklog } from "../drivers/libvirt/transport/full-backlog.ts";

describe("The sockets", () => {
  let folder: string;
  let place: SocketPlace;
  const never = new AbortController().signal;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-doc-"));
    await chmod(folder, 0o755);
    await mkdir(join(folder, "run"));
    place = { uid: 0, systemFolders: [join(folder, "run")], userFolder: join(folder, "user"), systemd: true };
  });
  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function examine(text = "qemu:///system") {
    const uri = parseLibvirtUri(text);
    const facts = await examineSockets(uri, place, new TimeLimit(10_000, never));
    const short = facts.map(
      ({ path, state, used }) => `${path.slice(folder.length + 1)} ${state}${used ? " used" : ""}`,
    );
    return { facts: short, findings: socketFindings(facts, uri, place) };
  }

  async function listen(name: string) {
    const path = join(folder, name);
    const server = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return { path, [Symbol.asyncDispose]: async () => void (await new Promise((resolve) => server.close(resolve))) };
  }

  /** A socket whose daemon was killed: the file stays. */
  async function leave(name: string): Promise<void> {
    {
      await using server = await listen(name);
      await link(server.path, `${server.path}.kept`);
    }
    await link(join(folder, `${name}.kept`), join(folder, name));
  }

  it("are all listed, in the order in which virstream tries them, with the one that is used", async () => {
    await using _first = await listen("run/libvirt-sock-ro");
    await using _second = await listen("run/libvirt-sock");
    expect(await examine()).toEqual({
      facts: [
        "run/virtqemud-sock-ro missing",
        "run/libvirt-sock-ro open used",
        "run/virtqemud-sock missing",
        "run/libvirt-sock open",
      ],
      findings: [],
    });
  });

  it("are a problem when none is there, with how to get a daemon", async () => {
    const { facts, findings } = await examine();
    expect(facts.every((fact) => fact.endsWith(" missing"))).toBe(true);
    expect(findings).toMatchObject([
      { id: "socket-missing", severity: "problem", fix: [expect.stringContaining("apt-get install")] },
    ]);
  });

  it("are a problem when no daemon listens, with how to start it", async () => {
    await leave("run/virtqemud-sock-ro");
    expect((await examine()).findings).toMatchObject([
      { id: "socket-dead", severity: "problem", fix: ["systemctl start virtqemud.socket"] },
    ]);
  });

  it("are unusable when a plain file or a folder is at the path, and the doctor says that it is not a socket", async () => {
    await writeFile(join(folder, "run/plain"), "");
    for (const path of [join(folder, "run/plain"), folder]) {
      const uri = parseLibvirtUri(`qemu:///system?socket=${path}`);
      const facts = await examineSockets(uri, place, new TimeLimit(10_000, never));
      expect(facts).toEqual([{ path, state: "unusable", used: false, error: "ENOTSOCK" }]);
      expect(socketFindings(facts, uri, place)).toMatchObject([
        { id: "connection-failed", what: `${path} is not a socket.`, fix: ["correct socket= in the URI"] },
      ]);
    }
  });

  it("are a problem when the daemon accepts no connections, with how to restart it", async () => {
    await using full = await fillBacklog(join(folder, "run/virtqemud-sock-ro"));
    const [finding] = (await examine(`qemu:///system?socket=${full.path}`)).findings;
    expect(finding).toMatchObject({ id: "socket-dead", fix: [expect.stringContaining("systemctl restart virtqemud")] });
  });

  it("are a problem when this process may open no more files, with the limit to raise", () => {
    const facts = [{ path: "/run/libvirt/libvirt-sock", state: "unusable", used: false, error: "EMFILE" }] as const;
    expect(socketFindings(facts, parseLibvirtUri("qemu:///system"), place)).toMatchObject([
      { id: "connection-failed", severity: "problem", fix: [expect.stringContaining("LimitNOFILE=")] },
    ]);
  });

  it("of the user's own daemon are not started by systemd", async () => {
    place = { ...place, uid: 1_000 };
    await mkdir(join(folder, "user"));
    await leave("user/libvirt-sock");
    expect((await examine("qemu:///session")).findings).toMatchObject([
      { id: "socket-dead", fix: [expect.stringContaining("libvirtd --daemon")] },
    ]);
  });

  it("are a note when a dead one is skipped, and no finding when a dead one is not needed", async () => {
    await leave("run/virtqemud-sock-ro");
    await using _ = await listen("run/libvirt-sock-ro");
    await leave("run/libvirt-sock");
    const { findings } = await examine();
    expect(findings).toMatchObject([{ id: "socket-dead", severity: "note" }]);
    expect(findings[0]!.what).toContain(`virstream uses ${join(folder, "run/libvirt-sock-ro")} instead`);
  });

  it.runIf(process.getuid?.() === 0)(
    "are a problem when the user has no permission, with the group to join",
    async () => {
      await using server = await listen("run/libvirt-sock");
      await chmod(server.path, 0o660);
      await chown(server.path, 0, 100);
      process.seteuid!(65_534);
      try {
        const { facts, findings } = await examine();
        expect(facts.at(-1)).toBe("run/libvirt-sock denied");
        expect(findings).toMatchObject([
          { id: "socket-denied", severity: "problem", fix: [expect.stringMatching(/^usermod -aG users /)] },
        ]);
      } finally {
        process.seteuid!(0);
      }
    },
  );

  it("are a problem when they are not sockets", async () => {
    await writeFile(join(folder, "file"), "");
    expect((await examine(`qemu:///system?socket=${folder}/file`)).findings).toMatchObject([
      { id: "connection-failed" },
    ]);
    expect((await examine(`qemu:///system?socket=/${"x".repeat(120)}`)).findings).toMatchObject([
      { id: "connection-failed" },
    ]);
  });

  it("of a user are those of the system and the user's own, and of root only those of the system", async () => {
    const user = { ...place, uid: 1_000 };
    expect((await examineLocal({ place })).map(({ uri }) => uri)).toEqual(["qemu:///system"]);
    const missing = await examineLocal({ place: user });
    expect(missing.map(({ uri }) => uri)).toEqual(["qemu:///system", "qemu:///session"]);
    expect(missing.flatMap(({ findings }) => findings)).toMatchObject([
      { severity: "problem" },
      { severity: "problem" },
    ]);
    await leave("run/libvirt-sock");
    const [system, session] = await examineLocal({ place: user });
    expect(system!.findings).toMatchObject([{ id: "socket-dead", severity: "problem" }]);
    expect(session!.findings).toMatchObject([{ id: "socket-missing", severity: "note" }]);
    expect(session!.sockets.map(({ path }) => path)).toEqual([
      join(folder, "user/virtqemud-sock"),
      join(folder, "user/libvirt-sock"),
    ]);
  });
});
