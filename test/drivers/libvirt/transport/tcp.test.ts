import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LibvirtDriver } from "../../../../src/drivers/libvirt/driver.ts";
import { parseLibvirtUri } from "../../../../src/drivers/libvirt/transport/uri.ts";
import { createGuest } from "../../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../../lab/libvirtd.ts";
import { freePort } from "../../../lab/port.ts";
import { describeWith, labRequirements } from "../../../lab/requirement.ts";
import { PATIENCE } from "../../../until.ts";
import { oneSweep, sweepOf } from "./one-sweep.ts";
import { SilentListener } from "./silent-listener.ts";

describeWith(labRequirements, "libvirt over TCP", () => {
  let libvirtd: Libvirtd;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    libvirtd = await startLibvirtd({
      listen: true,
      conf: [
        "listen_tls = 0",
        "listen_tcp = 1",
        'listen_addr = "127.0.0.1"',
        `tcp_port = "${port}"`,
        'auth_tcp = "none"',
      ],
    });
    await createGuest(libvirtd, { name: "guest", paused: true });
  });

  afterAll(() => libvirtd?.stop());

  it("opens, sweeps and closes", async () => {
    expect(await oneSweep(`qemu+tcp://127.0.0.1:${port}/system`)).toEqual({ guest: "ok" });
    expect(await oneSweep(`qemu+tcp://localhost:${port}/system`)).toEqual({ guest: "ok" });
    expect(await oneSweep(`test+tcp://localhost:${port}/default`)).toEqual({ test: "ok" });
  });

  it("says that the connection is lost when the daemon is killed, and connects again when it is back", async () => {
    await using driver = await LibvirtDriver.open(`qemu+tcp://127.0.0.1:${port}/system`);
    await libvirtd.kill();
    await vi.waitFor(
      () => expect(sweepOf(driver, 200)).rejects.toMatchObject({ code: "connection-lost", retryable: true }),
      PATIENCE,
    );
    await libvirtd.restart();
    await vi.waitFor(async () => expect(await sweepOf(driver)).toEqual({ guest: "ok" }), PATIENCE);
  });
});

describe("Connecting over TCP", () => {
  it("says what to start where no program listens", async () => {
    const port = await freePort();
    await expect(LibvirtDriver.open(`qemu+tcp://127.0.0.1:${port}/system`)).rejects.toMatchObject({
      code: "connection-refused",
      retryable: true,
      message: expect.stringMatching(new RegExp(`^127.0.0.1:${port} cannot be reached.*listen_tcp = 1.*qemu\\+ssh:`)),
    });
  });

  it.each([
    ["[::1]", "::1"],
    ["[fe80::1%25lo]", "fe80::1%lo"],
  ])("advises a URI that can be opened, also for the address %s", async (host, address) => {
    const port = await freePort();
    const error = await LibvirtDriver.open(`qemu+tcp://${host}:${port}/system`).catch((thrown) => thrown);
    const [advised] = /qemu\+ssh:[^,]+/.exec(error.message)!;
    expect(parseLibvirtUri(advised)).toMatchObject({ transport: "ssh", host: address, path: "/system" });
  });

  it("says that a host's name is unknown", async () => {
    await expect(LibvirtDriver.open("qemu+tcp://no-such-host.invalid/system")).rejects.toMatchObject({
      code: expect.stringMatching(/^connection-refused$/),
      message: expect.stringContaining("no-such-host.invalid:16509 cannot be reached"),
    });
  });

  it("is given up when the signal says so, although a program accepts and says nothing, and leaves no connection", async () => {
    await using listener = await SilentListener.start();
    const abort = new AbortController();
    const opening = LibvirtDriver.open(`qemu+tcp://127.0.0.1:${listener.port}/system`, { signal: abort.signal });
    const given = expect(opening).rejects.toThrow("enough");
    await vi.waitFor(() => expect(listener.open).toBe(1), PATIENCE);
    abort.abort(new Error("enough"));
    await given;
    await vi.waitFor(() => expect(listener.open).toBe(0), PATIENCE);
    await expect(
      LibvirtDriver.open(`qemu+tcp://127.0.0.1:${listener.port}/system`, { connectTimeoutMs: 50 }),
    ).rejects.toMatchObject({ code: "connect-timeout" });
    await vi.waitFor(() => expect(listener.open).toBe(0), PATIENCE);
  });

  it("is not begun when the signal has spoken before", async () => {
    await using listener = await SilentListener.start();
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(LibvirtDriver.open(`qemu+tcp://127.0.0.1:${listener.port}/system`, { signal })).rejects.toThrow(
      "enough",
    );
    expect(listener.sockets).toEqual([]);
  });
});
