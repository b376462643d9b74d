/** @module-tag any-node */

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { describeWith } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { PROGRAM, start, virstream } from "./run.ts";
import { served } from "./served.ts";

const UNIT = readFileSync(new URL("../../packaging/virstream.service", import.meta.url), "utf8");

/** Prints each datagram that systemd would get, a line each. Node cannot receive them. */
const RECEIVER = `
import socket, sys
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.bind(sys.argv[1])
print("listening", flush=True)
while True:
    print(" ".join(manager.recv(4096).decode().split("\\n")), flush=True)
`;

describeWith(["systemd"], "virstream serve as a service of systemd", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "virstream-service-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("says when it is ready, that it lives, when it reloads, and that it ends", async () => {
    const socket = join(folder, "notify");
    const manager = spawn("python3", ["-c", RECEIVER, socket], { stdio: ["ignore", "pipe", "inherit"] });
    const received: string[] = [];
    manager.stdout.setEncoding("utf8").on("data", (text: string) => received.push(...text.trimEnd().split("\n")));
    try {
      await until(() => received.includes("listening"));
      const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "400000" };
      const server = start(["serve", "test:///default?domains=2&host=hv7", "--listen", ":0"], env);
      await once(server.stdout, "data");
      await until(() => received.includes("READY=1 STATUS=serving hv7"));
      await until(() => received.filter((line) => line === "WATCHDOG=1").length >= 3);
      server.kill("SIGHUP");
      await until(() => received.filter((line) => line.startsWith("READY=1")).length === 2);
      const order = received.filter((line) => /^(READY|RELOADING)/.test(line)).map((line) => line.split("=")[0]);
      expect(order).toEqual(["READY", "RELOADING", "READY"]);
      server.kill("SIGTERM");
      await once(server, "close");
      await until(() => received.includes("STOPPING=1"));
    } finally {
      manager.kill();
      await once(manager, "close");
    }
  });

  it("says once that it cannot tell systemd what it does, and serves all the same", async () => {
    await using server = await served(["test:///default"], {
      NOTIFY_SOCKET: join(folder, "nobody"),
      WATCHDOG_USEC: "400000",
    });
    await until(() => server.of("systemd-unreachable").length > 0);
    server.child.kill("SIGHUP");
    await until(() => server.of("reloading").length > 0);
    expect((await fetch(`${server.url.replace("ws:", "http:")}/readyz`)).status).toBe(200);
    expect((await server.end()).code).toBe(0);
    const msg = expect.stringMatching(/^cannot tell systemd what this process does: .*systemd-notify READY=1/);
    expect(server.of("systemd-unreachable")).toMatchObject([{ level: "warn", msg }]);
  });

  it("has a configuration that is valid as it is installed", async () => {
    const file = fileURLToPath(new URL("../../packaging/virstream.toml", import.meta.url));
    const { code, stderr } = await virstream(["serve", "--config", file, "--check"]);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/is valid/)]);
  });

  it("has a unit that systemd accepts, and that gives it next to no rights", async () => {
    const unit = join(folder, "virstream.service");
    writeFileSync(
      unit,
      UNIT.replace("/usr/bin/virstream", PROGRAM).replaceAll(/^(User|Group)=virstream$/gm, "$1=daemon"),
    );
    const analyze = async (...args: string[]): Promise<string> => {
      const { stdout, stderr } = await promisify(execFile)("systemd-analyze", [...args, unit]);
      return `${stdout}${stderr}`;
    };
    const complaints = (await analyze("verify", "--man=no")).split("\n").filter((line) => line.includes("virstream"));
    expect(complaints).toEqual([]);
    const report = await analyze("security", "--offline=true", "--no-pager");
    const exposure = Number(/Overall exposure level for virstream\.service: ([\d.]+)/.exec(report)?.[1]);
    // Of 10: a service without any restriction has 9.6.
    expect(exposure).toBeLessThanOrEqual(1.5);
  });
});
