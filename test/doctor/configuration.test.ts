import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEFAULTS, parseConfiguration, readConfiguration } from "../../src/doctor/configuration.ts";

describe("A daemon's configuration", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vs-conf-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const sockets = { uid: 0, systemFolders: ["/run/libvirt"], userFolder: "/home/me/run/libvirt", systemd: true };
  const read = (socket: string) =>
    readConfiguration(socket, sockets, { systemFolder: folder, userFolder: join(folder, "own") });

  it("is what the file sets last; what is commented out or missing has libvirt's default", () => {
    const text = `
# max_client_requests = 1
max_client_requests = 3
 max_workers=40 # as many as there are guests
max_workers_of_mine = 7
keepalive_interval = -1
unix_sock_group = "libvirt"
max_client_requests = 4
`;
    expect(parseConfiguration(text)).toEqual({
      max_client_requests: 4,
      max_workers: 40,
      max_clients: 5_000,
      keepalive_interval: -1,
    });
    expect(parseConfiguration("# max_client_requests = 1\n").max_client_requests).toBe(5);
  });

  it("is that of the daemon that owns the socket", async () => {
    await writeFile(join(folder, "virtqemud.conf"), "max_clients = 9\n");
    expect(await read("/run/libvirt/virtqemud-sock-ro")).toEqual({
      path: join(folder, "virtqemud.conf"),
      settings: { ...DEFAULTS, max_clients: 9 },
    });
  });

  it("has libvirt's defaults when there is no file", async () => {
    expect(await read("/home/me/run/libvirt/libvirt-sock")).toEqual({
      path: join(folder, "own/libvirtd.conf"),
      settings: DEFAULTS,
    });
  });

  it("is not known when the file cannot be read, or when the socket is in none of libvirt's folders", async () => {
    // Not even root can read a folder as a file.
    await mkdir(join(folder, "libvirtd.conf"));
    expect(await read("/run/libvirt/libvirt-sock")).toEqual({
      path: join(folder, "libvirtd.conf"),
      settings: undefined,
    });
    expect(await read("/srv/elsewhere/libvirt-sock")).toBeUndefined();
  });
});
