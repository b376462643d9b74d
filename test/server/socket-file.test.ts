/** @module-tag any-node */

import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { lstatSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connect, connectAll, type OpenOptions } from "../../src/index.ts";
import { type ServeOptions, serve } from "../../src/server/index.ts";
import { answerAt } from "../answer.ts";
import { codeOf } from "../code-of.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

const GROUP = process.getgid!();
const isRoot = process.getuid!() === 0;

let root: string;
let folder: string;
let path: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "virstream-socket-"));
});
afterAll(() => rmSync(root, { recursive: true }));
beforeEach(() => {
  folder = mkdtempSync(join(root, "s"));
  path = join(folder, "api.sock");
});

async function served(options: ServeOptions = {}, domains = 3, host = "hv1") {
  const source = own(await connect(`test:///default?domains=${domains}&host=${host}`));
  return own(await serve(source, { socketPath: path, ...options }));
}

const open = async (url: string, options: OpenOptions = {}) => own(await connect(url, options));

/** The answer to a request for a page at the socket. */
const page = (address: string) => answerAt("http://localhost", { socketPath: path, path: address });

/** What a server leaves behind that is killed: a file on which nobody listens. */
async function leaveBehind(file: string): Promise<void> {
  const server = createServer().listen(`${file}.begun`);
  await once(server, "listening");
  renameSync(`${file}.begun`, file);
  await new Promise((resolve) => server.close(resolve));
}

describe("A server at a socket file", () => {
  it("serves sweeps, watches and pages there, needs no token, and removes the file at its end", async () => {
    const server = await served();
    expect(server.url).toBe(`ws+unix://${path}`);
    const connection = await open(server.url);
    expect(await connection.getAllDomainStats()).toHaveLength(3);
    for await (const { type } of connection.watch({}, { intervalMs: 1_000 }).events) if (type === "sync") break;
    expect((await page("/healthz")).status).toBe(200);
    expect((await page("/metrics")).text).toMatch(/libvirt_domain_/);
    await server.close();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("has its prefix after a colon in the URI", async () => {
    const server = await served({ prefix: "/vm" });
    expect([server.url, server.pageUrl]).toEqual([`ws+unix://${path}:/vm`, `http+unix://${path}:/vm/`]);
    expect(await (await open(server.url)).getAllDomainStats()).toHaveLength(3);
    expect(await codeOf(connect(`ws+unix://${path}`))).toBe("connection-refused");
    expect((await page("/vm/healthz")).status).toBe(200);
  });

  it("asks for a token if it has one", async () => {
    const { url } = await served({ token: "secret" });
    expect(await codeOf(connect(url))).toBe("unauthenticated");
    expect(await (await open(url, { token: "secret" })).getAllDomainStats()).toHaveLength(3);
  });

  it("refuses connections before the file has its permissions and its group", async () => {
    const umask = process.umask(0);
    const seen = new Set<string>();
    let looks = 0;
    let looking: NodeJS.Immediate;
    const look = (): void => {
      looks++;
      for (const name of readdirSync(folder)) {
        const stats = lstatSync(join(folder, name), { throwIfNoEntry: false });
        if (stats !== undefined) seen.add(`${stats.isSocket()} ${(stats.mode & 0o777).toString(8)} ${stats.gid}`);
      }
      looking = setImmediate(look);
    };
    look();
    try {
      await served({ socketMode: 0o640, socketGroup: isRoot ? 1 : GROUP });
    } finally {
      clearImmediate(looking!);
      process.umask(umask);
    }
    expect(looks).toBeGreaterThan(3);
    // A folder that only its owner can enter, and the file as it stays.
    const file = lstatSync(path);
    expect([file.mode & 0o777, file.gid]).toEqual([0o640, isRoot ? 1 : GROUP]);
    for (const each of seen) expect(each).toMatch(new RegExp(`^(false 700 .*|true 640 ${file.gid})$`));
  });

  it.runIf(isRoot)("is open to members of its group only", async () => {
    const { url } = await served({ socketMode: 0o660, socketGroup: "daemon" });
    const gid = lstatSync(path).gid;
    for (const each of [root, folder]) spawnSync("chmod", ["755", each]);
    const script = `
      import net from "node:net";
      const socket = net.connect(${JSON.stringify(path)});
      const end = (text) => { process.stdout.write(text); socket.destroy(); };
      socket.on("connect", () => end("connected")).on("error", ({ code }) => end(code));`;
    const as = (group: number) =>
      spawnSync(process.execPath, ["--input-type=module", "-e", script], {
        ...{ uid: 65_534, gid: group, cwd: "/" },
      }).stdout.toString();
    expect([as(gid), as(65_534)]).toEqual(["connected", "EACCES"]);
    expect(await (await open(url)).getAllDomainStats()).toHaveLength(3);
  });

  it("takes the place of a file that a killed server left behind", async () => {
    await leaveBehind(path);
    expect(await codeOf(connect(`ws+unix://${path}`))).toBe("connection-refused");
    const server = await served();
    expect(await (await open(server.url)).getAllDomainStats()).toHaveLength(3);
    expect(readdirSync(folder)).toEqual(["api.sock"]);
  });

  it("does not start where another server listens, which keeps its file and its clients", async () => {
    const first = await served();
    const connection = await open(first.url);
    await expect(served()).rejects.toMatchObject({
      code: "address-in-use",
      message: expect.stringMatching(/another program listens .*: choose another path/),
    });
    expect(await connection.getAllDomainStats()).toHaveLength(3);
    expect(await (await open(first.url)).getAllDomainStats()).toHaveLength(3);
    expect(readdirSync(folder)).toEqual(["api.sock"]);
  });

  it("does not replace a file that is no socket", async () => {
    writeFileSync(path, "precious");
    await expect(served()).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/is not a socket: choose another path/),
    });
    expect(readFileSync(path, "utf8")).toBe("precious");
  });

  it("leaves the file of its successor alone", async () => {
    const first = await served();
    rmSync(path);
    const second = await served({}, 5);
    await first.close();
    expect(await (await open(second.url)).getAllDomainStats()).toHaveLength(5);
  });

  it.each<[string, () => ServeOptions, RegExp]>([
    ["a folder that is not there", () => ({ socketPath: join(folder, "no", "api.sock") }), /ENOENT.*make the folder/],
    ["a path that a URI cannot have", () => ({ socketPath: join(folder, "a b:c") }), /cannot be written in a URI/],
    ["an empty path", () => ({ socketPath: "" }), /is not the path of a socket file/],
    ["a path longer than the system's", () => ({ socketPath: join(folder, "x".repeat(90)) }), /has at most 95 bytes/],
    ["an unknown group", () => ({ socketGroup: "no-such-group" }), /no group "no-such-group".*the group's number/],
    ["a mode that is none", () => ({ socketMode: 0o1660 }), /socketMode must be a whole number/],
    ["a port as well", () => ({ port: 0 }), /socketPath does not go with port/],
    ["TLS", () => ({ tls: { cert: "", key: "" } }), /socketPath does not go with tls/],
  ])("refuses %s, and leaves nothing behind", async (_, options, says) => {
    await expect(served(options())).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(says),
    });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe("A client of a socket file", () => {
  it("is told what is wrong with its URI or with the file", async () => {
    expect(await codeOf(connect(`ws+unix://${path}`))).toBe("socket-missing");
    await expect(connect(`ws+unix://${path}`)).rejects.toThrow(/virstream serve --listen unix:PATH/);
    // With two slashes, the first folder would be a host.
    for (const uri of ["ws+unix://run/api.sock", "ws+unix:run/api.sock", "ws+unix:", "ws+unix://"]) {
      await expect(connect(uri)).rejects.toMatchObject({
        code: "invalid-uri",
        message: expect.stringMatching(/ws\+unix:\/\/\/PATH/),
      });
    }
    expect(await codeOf(connect(`ws+unix://${path}?token=secret`))).toBe("invalid-uri");
  });

  it("can have it as one of several hosts, and goes on when its server is back", async () => {
    const other = join(folder, "other.sock");
    const first = await served({}, 2);
    await served({ socketPath: other }, 3, "hv2");
    const reconnect = { initialMs: 20, maxMs: 20 };
    const fleet = own(await connectAll([first.url, `ws+unix://${other}`], { reconnect }));
    expect(await fleet.getAllDomainStats()).toHaveLength(5);
    await first.close();
    await until(() => fleet.driver.absent?.length === 1);
    await served({}, 4);
    await until(() => fleet.driver.absent?.length === 0);
    expect(await fleet.getAllDomainStats()).toHaveLength(7);
  });
});
