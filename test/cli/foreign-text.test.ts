/** @module-tag any-node */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { Connection } from "../../src/client/connection.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { serve } from "../../src/server/server.ts";
import { describeWith } from "../lab/requirement.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import { PROGRAM, virstream } from "./run.ts";

/** Erases the screen, sets a title with a control character of ISO 8859-1, and turns the direction of text around. */
const EVIL = "evil\u001b[2J\u009b2J\u009d0;title\u0007\u202e";
const CONTROL = /(?!\n)[\p{Cc}\p{Bidi_Control}]/u;

const COLOUR = /\p{Cc}\[[\d;]*m/u;

/** A server whose domains, host and errors have evil texts. */
function evilServer(fails = true): ReturnType<typeof serve> {
  const driver = new ScriptedDriver(async function* (driver) {
    const { uuid } = driver.record(1).domain;
    const rest = { sampledAt: 1, tookMs: 1, index: 0 };
    const params = TypedParams.from([["block.0.path", "string", `/${EVIL}`]]);
    const domain = new Domain(uuid, EVIL, 1, EVIL, driver);
    const other = new Domain(driver.record(2).domain.uuid, "other", 1, EVIL, driver);
    const error = new VirstreamError("hypervisor-error", `no: ${EVIL}`);
    yield [
      new DomainStatsRecord({ ...rest, domain, params, status: "ok" }),
      new DomainStatsRecord({ ...rest, index: 1, domain: other, params, status: "failed", reason: "error", error }),
    ];
    if (fails) throw new VirstreamError("hypervisor-error", `it ended:\n ${EVIL}\n`);
  });
  return serve(new Connection(Object.assign(driver, { host: EVIL })), { port: 0 });
}

describe("Text from elsewhere", () => {
  let server: Awaited<ReturnType<typeof serve>>;
  beforeAll(async () => {
    server = await evilServer();
  });
  afterAll(() => server.close());

  it("has no control character in tables, in JSON and in messages", async () => {
    for (const format of ["table", "csv", "ndjson", "json"]) {
      const { stdout, stderr } = await virstream(["get", server.url, "--format", format]);
      expect([format, stdout]).toEqual([format, expect.stringContaining("evil")]);
      const lines = format === "csv" ? stdout.replaceAll("\r\n", "\n") : stdout;
      expect([format, CONTROL.exec(lines), CONTROL.exec(stderr)]).toEqual([format, null, null]);
      expect(stderr).toMatch(/^virstream: it ended: evil.* \[hypervisor-error\]\n$/);
      if (format !== "json") continue;
      expect(JSON.parse(stdout)[0]).toMatchObject({
        domain: { name: EVIL, host: EVIL },
        params: { "block.0.path": `/${EVIL}` },
      });
    }
    await using whole = await evilServer(false);
    const watched = await virstream(["watch", whole.url, "--count", "1"]);
    expect(watched.stdout).toContain("evil");
    expect([CONTROL.exec(watched.stdout), CONTROL.exec(watched.stderr)]).toEqual([null, null]);
  });

  it("is as virsh prints it, byte for byte, in virsh's format in a pipe", async () => {
    const { stdout, stderr } = await virstream(["get", server.url, "--format", "virsh"]);
    expect(stdout).toBe(`Domain: '${EVIL}'\n  block.0.path=/${EVIL}\n\n`);
    expect(CONTROL.exec(stderr)).toBeNull();
  });

  it("has no control character in the message about a server that hangs up with a reason", async () => {
    const http = createServer((_, response) => response.writeHead(400, EVIL.replaceAll(/[^ -~]/g, " ")).end(EVIL));
    const sockets = new WebSocketServer({ server: http, handleProtocols: (names) => [...names][0]! });
    sockets.on("connection", (socket) => socket.close(4_400, EVIL));
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    try {
      const { stderr, code } = await virstream(["get", `ws://127.0.0.1:${(http.address() as AddressInfo).port}`]);
      expect([code, CONTROL.exec(stderr)]).toEqual([1, null]);
      expect(stderr).toContain("evil");
    } finally {
      for (const socket of sockets.clients) socket.terminate();
      http.close();
    }
  });

  it("has no control character in the message about the command line", async () => {
    for (const args of [[EVIL], ["get", EVIL], ["get", "--format", EVIL], ["doctor", `${EVIL}:///`]]) {
      const { stderr } = await virstream(args);
      expect(CONTROL.exec(stderr)).toBeNull();
    }
  });
});

describeWith(["script"], "Text from elsewhere, on a terminal,", () => {
  async function onTerminal(args: string, env = {}): Promise<string> {
    const command = `${process.execPath} ${PROGRAM} ${args}`;
    const child = spawn("script", ["-qec", command, "/dev/null"], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, TERM: "xterm", SHELL: "/bin/sh", ...env },
    });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (chunk) => {
      text += chunk;
    });
    await once(child, "close");
    return text;
  }

  it("cannot change it in virsh's format either", async () => {
    await using server = await evilServer();
    const text = await onTerminal(`get ${server.url} --format virsh`);
    expect(text).toContain("Domain: 'evil\ufffd[2J\ufffd2J\ufffd0;title\ufffd\ufffd'");
    expect(text).toContain("  block.0.path=/evil\ufffd[2J");
  });

  it("is red in the line of a guest in trouble, unless NO_COLOR is set", async () => {
    const get = "get 'test:///default?domains=2&error=1' --state --no-rates";
    const got = await onTerminal(get);
    expect(got).toContain("\u001b[1;31mERROR    guest-00001");
    expect(got).toContain("\u001b[32mrunning\u001b[m  guest-00000");
    expect(await onTerminal(get, { NO_COLOR: "1" })).not.toMatch(COLOUR);
    const watch = "watch 'test:///default?domains=2&error=1' --state --count 1";
    expect(await onTerminal(watch)).toContain("\u001b[1;31mERROR         guest-00001");
    expect(await onTerminal(watch, { NO_COLOR: "1" })).not.toContain("\u001b[1;31m");
  });
});
