import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { openDriver } from "../../../src/driver/registry.ts";
import { LIBVIRT_SCHEMES, LibvirtDriver, openLibvirt } from "../../../src/drivers/libvirt/driver.ts";
import { PATIENCE } from "../../until.ts";
import { collect } from "./collect.ts";
import { domain, FakeDaemon, frame, RUNNING, remoteError, statsReply, text, uuidOf, words } from "./rpc/fake-daemon.ts";

describe("Opening the libvirt driver", () => {
  it("tells what to do where there is no socket", async () => {
    await expect(openLibvirt("qemu:///system?socket=/nowhere/libvirt-sock", {})).rejects.toMatchObject({
      code: "socket-missing",
      message: expect.stringContaining("/nowhere/libvirt-sock"),
    });
  });

  it.each([
    ["qemu+ext:///system?command=", "Use +ssh"],
    ["qemu+ssh://localhost/system?command=", "Leave it out"],
  ])("by a program that the URI names is refused, and it is not run: %s", async (uri, instead) => {
    const folder = await mkdtemp(join(tmpdir(), "vs-command-"));
    const program = join(folder, "program");
    await writeFile(program, `#!/bin/sh\ntouch ${folder}/ran\n`, { mode: 0o755 });
    await expect(openLibvirt(`${uri}${program}`, {})).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining(`runs any program that the URI names, which a service should not. ${instead}`),
    });
    expect(await readdir(folder)).toEqual(["program"]);
    await rm(folder, { recursive: true });
  });

  it("of a hypervisor whose driver the daemon lacks is refused with the package to install", async () => {
    await using daemon = await FakeDaemon.start();
    // As libvirtd 9 sends it.
    const refusal = "no connection driver available for bhyve:///system";
    daemon.answer = ({ procedure }) => (procedure === 1 ? { error: remoteError(5, 0, refusal) } : "default");
    await expect(LibvirtDriver.open(daemon.uri("bhyve:///system"))).rejects.toMatchObject({
      code: "unsupported",
      retryable: false,
      message: expect.stringMatching(/no driver for bhyve:\/\/\/system .*install libvirt-daemon-driver-bhyve /),
      libvirt: { code: 5 },
    });
  });

  it("follows libvirt's sequence, read-only, and takes the names that the daemon gives", async () => {
    await using daemon = await FakeDaemon.start();
    await using driver = await LibvirtDriver.open(daemon.uri());
    expect([driver.host, driver.hypervisor]).toEqual(["node1", "qemu"]);
    expect(daemon.requests.map(({ procedure }) => procedure)).toEqual([66, 60, 1, 59, 3, 4, 157]);
    expect(daemon.requests[2]!.payload.toString("hex")).toMatch(/00000001$/);
  });

  it("asks polkit where the daemon wants that", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.auth = [2];
    await using _ = await LibvirtDriver.open(daemon.uri());
    expect(daemon.requests.map(({ procedure }) => procedure).slice(0, 3)).toEqual([66, 70, 60]);
  });

  it("says that SASL is not supported, and hangs up", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.auth = [1];
    await expect(LibvirtDriver.open(daemon.uri())).rejects.toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining("SASL"),
    });
    await vi.waitFor(() => expect(daemon.open).toBe(0), PATIENCE);
  });

  it("gives up after the connect timeout, at whatever step the daemon falls silent", async () => {
    for (const silent of [66, 60, 1, 59]) {
      await using daemon = await FakeDaemon.start();
      daemon.answer = ({ procedure }) => (procedure === silent ? undefined : "default");
      const start = performance.now();
      await expect(LibvirtDriver.open(daemon.uri(), { connectTimeoutMs: 100 })).rejects.toMatchObject({
        code: "connect-timeout",
      });
      expect(performance.now() - start).toBeLessThan(1_000);
      await vi.waitFor(() => expect(daemon.open).toBe(0), PATIENCE);
    }
  });

  it("is given up when the signal says so", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = () => undefined;
    const abort = new AbortController();
    const opening = LibvirtDriver.open(daemon.uri(), { signal: abort.signal });
    const given = expect(opening).rejects.toThrow("enough");
    setTimeout(() => abort.abort(new Error("enough")), 20);
    await given;
    await vi.waitFor(() => expect(daemon.open).toBe(0), PATIENCE);
  });

  it("hands on what the daemon says to the opening", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = ({ procedure }) => (procedure === 1 ? { error: remoteError(88, 7, "access denied") } : "default");
    await expect(LibvirtDriver.open(daemon.uri())).rejects.toMatchObject({ code: "denied", message: "access denied" });
  });

  it("is registered for libvirt's schemes with all their transports", async () => {
    expect(LIBVIRT_SCHEMES).toEqual(
      expect.arrayContaining([
        "qemu",
        "qemu+unix",
        "test+unix",
        "xen",
        "lxc",
        "vz",
        "bhyve",
        "ch",
        "qemu+ssh",
        "xen+tls",
        "vz+tcp",
      ]),
    );
    expect(LIBVIRT_SCHEMES).not.toContain("test");
    await using daemon = await FakeDaemon.start();
    const driver = await openDriver(daemon.uri("qemu+unix:///system"));
    expect(driver.hypervisor).toBe("qemu");
    await driver.close();
  });
});

describe("A second connection", () => {
  it("is opened to a QEMU daemon when there are more domains than slots, and its failing does no harm", async () => {
    await using daemon = await FakeDaemon.start();
    let refuse = true;
    daemon.answer = ({ procedure, serial, payload }, socket) => {
      if (procedure === 1 && daemon.sockets.indexOf(socket) > 0 && refuse) socket.destroy();
      if (procedure === 273) {
        const domains = Array.from({ length: 40 }, (_, i) => domain(`vm${i}`, uuidOf(i), i + 1));
        return { ok: Buffer.concat([words(40), ...domains, words(40)]) };
      }
      if (procedure !== 344) return "default";
      const uuid = payload.subarray(8, 24).toString("hex");
      setTimeout(() => {
        // An answer for which the daemon had the guest's job has this key.
        const rss = Buffer.concat([text("balloon.rss"), words(4, 0, 1)]);
        socket.write(frame(344, serial, statsReply({ domain: domain("vm", uuid, 1), params: [RUNNING, rss] })));
      }, 5);
      return undefined;
    };
    await using driver = await LibvirtDriver.open(daemon.uri());
    expect((await collect(driver)).records).toHaveLength(40);
    await vi.waitFor(() => expect(daemon.open).toBe(1), PATIENCE);
    refuse = false;
    // It is not tried with every sweep, but soon.
    await vi.waitFor(async () => {
      expect((await collect(driver)).error).toBeUndefined();
      expect(daemon.open).toBe(2);
    }, PATIENCE);
    for (let i = 0; i < 3; i++) expect((await collect(driver)).error).toBeUndefined();
    const used = new Set(
      daemon.requests.filter(({ procedure }) => procedure === 344).map(({ connection }) => connection),
    );
    expect(used.size).toBe(2);
    await driver.close();
    await vi.waitFor(() => expect(daemon.open).toBe(0), PATIENCE);
  });
});
