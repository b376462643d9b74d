import { realpathSync } from "node:fs";
import { chmod, chown, link, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  connectSocket,
  findLocalSocket,
  type SocketPlace,
  socketCandidates,
  socketPlace,
} from "../../../../src/drivers/libvirt/transport/unix.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";
import { runCommand } from "../../../lab/command.ts";
import { describeWith, labRequirements } from "../../../lab/requirement.ts";
import { SESSION_UID, startSessionLibvirtd } from "../../../lab/session-libvirtd.ts";
import { fillBacklog } from "./full-backlog.ts";

const system: SocketPlace = {
  uid: 0,
  systemFolders: ["/run/libvirt"],
  userFolder: "/home/me/run/libvirt",
  systemd: true,
};
const user: SocketPlace = { ...system, uid: 1_000 };

function candidates(uri: string, place = system) {
  return socketCandidates(parseLibvirtUri(uri), place);
}

describe("The sockets of a URI", () => {
  it("are the driver's own before libvirtd's, and the read-only ones before the others", () => {
    expect(candidates("qemu:///system")).toEqual([
      "/run/libvirt/virtqemud-sock-ro",
      "/run/libvirt/libvirt-sock-ro",
      "/run/libvirt/virtqemud-sock",
      "/run/libvirt/libvirt-sock",
    ]);
    expect(candidates("lxc:///")[0]).toBe("/run/libvirt/virtlxcd-sock-ro");
  });

  it("are of one daemon only where the mode says so", () => {
    expect(candidates("xen:///system?mode=direct")).toEqual([
      "/run/libvirt/virtxend-sock-ro",
      "/run/libvirt/virtxend-sock",
    ]);
    expect(candidates("xen:///system?mode=legacy")).toEqual([
      "/run/libvirt/libvirt-sock-ro",
      "/run/libvirt/libvirt-sock",
    ]);
  });

  it("are the user's own for a session and for the test driver, except for root", () => {
    const own = ["/home/me/run/libvirt/virtqemud-sock", "/home/me/run/libvirt/libvirt-sock"];
    expect(candidates("qemu:///session", user)).toEqual(own);
    expect(candidates("test+unix:///default", user)).toEqual(["/home/me/run/libvirt/libvirt-sock"]);
    expect(candidates("qemu:///session")).toEqual(candidates("qemu:///system"));
    expect(candidates("test+unix:///default")).toEqual(["/run/libvirt/libvirt-sock-ro", "/run/libvirt/libvirt-sock"]);
    expect(candidates("qemu:///system", user)).toEqual(candidates("qemu:///system"));
  });

  it("are the one that the URI names", () => {
    expect(candidates("qemu:///session?socket=/tmp/s", user)).toEqual(["/tmp/s"]);
  });
});

describe("The folders of the system's sockets", () => {
  it("are not searched twice where one is a link to the other", () => {
    const folders = socketPlace().systemFolders.map((folder) => realpathSync(dirname(folder)));
    expect(folders).toEqual([...new Set(folders)]);
    expect(socketPlace().systemFolders[0]).toBe("/run/libvirt");
  });
});

describe("Connecting to a socket", () => {
  let folder: string;
  let place: SocketPlace;
  const never = new AbortController().signal;
  const connect = (uri: string) => connectSocket(parseLibvirtUri(uri), never, place);

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-sock-"));
    place = {
      uid: 0,
      systemFolders: [join(folder, "run"), join(folder, "var")],
      userFolder: join(folder, "user"),
      systemd: true,
    };
    await mkdir(join(folder, "run"));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  async function listen(path: string) {
    const server = createServer((socket) => socket.on("error", () => {}));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    return {
      close: () => new Promise((resolve) => server.close(resolve)),
      [Symbol.asyncDispose]: async () => void server.close(),
    };
  }

  /** A daemon that was killed leaves its socket behind. Closing one removes it, so a second name keeps it. */
  async function abandonedSocket(path: string) {
    const killed = await listen(path);
    await link(path, `${path}.kept`);
    await killed.close();
    await link(`${path}.kept`, path);
  }

  it("names every path that was tried, and what to install and start, when there is none", async () => {
    const error = await connect("qemu:///system").catch((error) => error);
    expect(error).toMatchObject({ code: "socket-missing", retryable: true });
    for (const path of socketCandidates(parseLibvirtUri("qemu:///system"), place))
      expect(error.message).toContain(path);
    expect(error.message).toContain("apt-get install libvirt-daemon-system");
    expect(error.message).toContain("systemctl start libvirtd.socket");
    expect(error.message).toContain("virtqemud.socket");
    await expect(connect(`qemu:///system?socket=${folder}/none`)).rejects.toThrow(`${folder}/none`);
  });

  it("says of a user's own daemon how that is started", async () => {
    const own = connectSocket(parseLibvirtUri("qemu:///session"), never, { ...place, uid: 1_000 });
    await expect(own).rejects.toThrow(/libvirtd --daemon/);
  });

  it("passes by a socket on which no daemon listens, and says so when there is no other", async () => {
    await abandonedSocket(join(folder, "run/virtqemud-sock-ro"));
    await expect(connect("qemu:///system")).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringContaining("systemctl start virtqemud.socket"),
    });
    await using _ = await listen(join(folder, "run/libvirt-sock"));
    const socket = await connect("qemu:///system");
    socket.destroy();
  });

  it("says of a daemon that accepts no connections that it hangs, with how to restart it", async () => {
    await using full = await fillBacklog(join(folder, "run/libvirt-sock"));
    await expect(connect(`qemu:///system?socket=${full.path}`)).rejects.toMatchObject({
      code: "connection-refused",
      retryable: true,
      message: expect.stringMatching(/hangs or is overloaded.*systemctl restart libvirtd/),
    });
  });

  it("advises systemctl only where systemd runs", async () => {
    const bare = { ...place, systemd: false };
    const opening = (uri: string) => connectSocket(parseLibvirtUri(uri), never, bare);
    await expect(opening("qemu:///system")).rejects.toThrow(/start it \(libvirtd -d, or virtqemud -d\)/);
    await abandonedSocket(join(folder, "run/virtqemud-sock"));
    await expect(opening("qemu:///system")).rejects.toThrow(/its daemon has ended: virtqemud -d$/);
    await using full = await fillBacklog(join(folder, "run/libvirt-sock"));
    await expect(opening(`qemu:///system?socket=${full.path}`)).rejects.toThrow(
      /pkill -x libvirtd; sleep 2; libvirtd -d/,
    );
  });

  it("says of a user's own daemon that has ended how that is started", async () => {
    await mkdir(join(folder, "user"));
    await abandonedSocket(join(folder, "user/libvirt-sock"));
    const own = connectSocket(parseLibvirtUri("qemu:///session"), never, { ...place, uid: 1_000 });
    await expect(own).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringMatching(/libvirtd --daemon/),
    });
  });

  it("refuses a file that is no socket, and a path that is too long for one", async () => {
    await writeFile(join(folder, "file"), "");
    for (const other of [`${folder}/file`, folder]) {
      await expect(connect(`qemu:///system?socket=${other}`)).rejects.toMatchObject({
        code: "invalid-uri",
        message: expect.stringMatching(/ is not a socket: correct socket=/),
      });
    }
    await expect(connect(`qemu:///system?socket=/${"x".repeat(120)}`)).rejects.toMatchObject({
      code: "invalid-uri",
      message: expect.stringContaining("longer than 107 bytes"),
    });
  });

  it.runIf(process.getuid?.() === 0)("names the path and its group when permission is missing", async () => {
    const path = join(folder, "run/libvirt-sock");
    await using _ = await listen(path);
    await chmod(path, 0o660);
    await chown(path, 0, 100);
    await chmod(folder, 0o755);
    await chmod(join(folder, "run"), 0o755);
    process.seteuid!(65_534);
    try {
      const error = await connect("qemu:///system").catch((error) => error);
      expect(error).toMatchObject({ code: "socket-denied", retryable: false });
      expect(error.message).toContain(path);
      expect(error.message).toContain("usermod -aG users ");
    } finally {
      process.seteuid!(0);
    }
  });

  it("is found by the command line if it is there", async () => {
    expect(findLocalSocket(place)).toBeUndefined();
    const own = join(folder, "user/libvirt-sock");
    await mkdir(join(folder, "user"));
    await writeFile(own, "");
    expect(findLocalSocket({ ...place, uid: 1_000 })).toBe(own);
    await writeFile(join(folder, "run/libvirt-sock"), "");
    expect(findLocalSocket({ ...place, uid: 1_000 })).toBe(join(folder, "run/libvirt-sock"));
  });

  it("is given up when the signal says so", async () => {
    const reason = new Error("enough");
    await expect(connectSocket(parseLibvirtUri("qemu:///system"), AbortSignal.abort(reason), place)).rejects.toBe(
      reason,
    );
  });
});

/** Opens the built driver as the daemon's user, sweeps, and prints what was found. */
const SWEEP_AS = `
const { connect } = await import(process.argv[1]);
process.setgroups([]);
process.setgid(Number(process.argv[3]));
process.setuid(Number(process.argv[3]));
const connection = await connect(process.argv[2]);
const records = await connection.getAllDomainStats();
await connection.close();
console.log(JSON.stringify(records.map(({ domain, status }) => [domain.name, status])));
`;

describeWith([...labRequirements], "A user's own daemon", () => {
  it("is reached by that user's qemu:///session, where XDG_RUNTIME_DIR says", async () => {
    await using daemon = await startSessionLibvirtd();
    const xml = join(daemon.folder, "mine.xml");
    await writeFile(
      xml,
      '<domain type="qemu"><name>mine</name><memory>65536</memory><os><type arch="x86_64">hvm</type></os></domain>',
    );
    expect(await daemon.virsh("define", xml)).toMatchObject({ code: 0 });
    const built = join(import.meta.dirname, "../../../../dist/index.js");
    const sweep = (uri: string, env = daemon.environment) => {
      const words = ["--input-type=module", "-e", SWEEP_AS, built, uri, String(SESSION_UID)];
      return runCommand(process.execPath, words, { env, timeout: 20_000 });
    };
    expect(JSON.parse((await sweep("qemu:///session")).stdout)).toEqual([["mine", "ok"]]);
    expect(JSON.parse((await sweep("qemu:///session?mode=legacy")).stdout)).toEqual([["mine", "ok"]]);
    expect((await sweep("qemu:///session?mode=direct")).stderr).toContain("socket-missing");
    const elsewhere = { ...daemon.environment, XDG_RUNTIME_DIR: join(daemon.folder, "other") };
    expect((await sweep("qemu:///session", elsewhere)).stderr).toContain("libvirtd --daemon does");
  });
});
