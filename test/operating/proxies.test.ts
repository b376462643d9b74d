/** @module-tag any-node */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect } from "../../src/index.ts";
import { answerAt, upgradeStatusAt } from "../answer.ts";
import { start, virstream } from "../cli/run.ts";
import { Authority, type Issued } from "../lab/certificates.ts";
import { accepts, freePort } from "../lab/port.ts";
import { describeWith } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { blocksOf, chapterOf, replaced } from "./document.ts";

const CHAPTER = "Behind a proxy";
const TICKS = 5;

describeWith(["openssl", "nginx", "caddy"], "The configurations for proxies in docs/operating.md", () => {
  let folder: string;
  let authority: Authority;
  let issued: Issued;
  let server: ChildProcess;
  let port: number;
  /** The events of the server's log. */
  let log = "";
  const tokens: Record<string, string> = {};
  const ports = { nginx: 0, caddy: 0 };
  /** Proxies, and other servers. */
  const others: ChildProcess[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-proxies-"));
    authority = await Authority.create(folder, "proxies");
    issued = await authority.issue({ name: "vm.example", hosts: ["DNS:localhost"] });
    [port, ports.nginx, ports.caddy] = [await freePort(), await freePort(), await freePort()];
    const list = join(folder, "tokens.json");
    for (const [name, role] of [
      ["ann", "stats"],
      ["prometheus", "metrics"],
    ] as const) {
      tokens[name] = (await virstream(["token", "create", name, "--tokens", list, "--role", role])).stdout.trim();
    }
    const [configuration] = blocksOf(CHAPTER, "toml");
    const file = join(folder, "virstream.toml");
    writeFileSync(
      file,
      replaced(configuration!, {
        ...{ "127.0.0.1:16580": `127.0.0.1:${port}`, "/etc/virstream/tokens.json": list },
        '"https://vm.example"': `"https://localhost:${ports.nginx}", "https://localhost:${ports.caddy}"`,
      }),
    );
    server = start(["serve", "test:///default?domains=3", "--config", file, "--min-interval", "100ms"]);
    server.stderr!.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    await once(server.stdout!, "data");
    await Promise.all([startNginx(ports.nginx), startCaddy(ports.caddy)]);
  });

  afterAll(async () => {
    for (const child of [...others, server]) {
      if (child.exitCode !== null) continue;
      child.kill("SIGTERM");
      await once(child, "close");
    }
    rmSync(folder, { recursive: true });
  });

  it.each(["nginx", "caddy"] as const)(
    "lead through %s to records with a token, the page, and metrics",
    async (proxy) => {
      const address = `localhost:${ports[proxy]}/virstream/`;
      const ca = readFileSync(authority.certificate);
      await using connection = await connect(`wss://${address}`, { token: tokens.ann!, ca });
      const watch = connection.watch({}, { intervalMs: 100 });
      const events: string[] = [];
      for await (const event of watch.events) {
        events.push(event.type);
        if (events.filter((type) => type === "sync").length === TICKS) break;
      }
      expect(events.filter((type) => type === "record")).toHaveLength(3 * TICKS);
      expect(new Set(events)).toEqual(new Set(["record", "sync"]));

      await expect(connect(`wss://${address}`, { token: "wrong", ca })).rejects.toMatchObject({
        code: "unauthenticated",
      });
      await expect(connect(`wss://${address.slice(0, -1)}`, { ca })).rejects.toThrow(/redirects .*a slash at its end/);

      const page = await get(`https://${address}`);
      expect(page).toMatchObject({ status: 200, text: expect.stringMatching(/<title>/) });
      for (const [, path] of page.text.matchAll(/(?:src|href)="([^"]+)"/g)) {
        expect((await get(new URL(path!, `https://${address}`).href)).status, path).toBe(200);
      }
      expect(await upgrade(`wss://${address}`, `https://localhost:${ports[proxy]}`)).toBe(101);
      expect(await upgrade(`wss://${address}`, "https://elsewhere.example")).toBe(403);

      expect((await get(`https://${address}metrics`)).status).toBe(401);
      const metrics = await get(`https://${address}metrics`, { authorization: `Bearer ${tokens.prometheus}` });
      expect(metrics).toMatchObject({ status: 200, text: expect.stringMatching(/^libvirt_/m) });
    },
  );

  it.each([
    ["nginx", "127.0.0.7"],
    ["caddy", "127.0.0.8"],
  ] as const)("name a client of %s by its own address, %s, whatever it claims", async (proxy, client) => {
    const headers = { authorization: "Bearer wrong", "x-forwarded-for": "192.0.2.1" };
    expect((await get(`https://localhost:${ports[proxy]}/virstream/metrics`, headers, client)).status).toBe(401);
    await until(() => log.includes("token-refused") && log.includes(client));
    expect(log).toMatch(new RegExp(`"event":"token-refused".*"address":"${client}"`));
    expect(log).not.toContain("192.0.2.1");
  });

  it("lead to a server at a socket file, too", async () => {
    const path = join(folder, "api.sock");
    const file = start(["serve", "test:///default?domains=3", "--listen", `unix:${path}`, "--trusted-proxy", "unix"]);
    others.push(file);
    await once(file.stdout, "data");
    const [nginx, caddy] = [await freePort(), await freePort()];
    const text = chapterOf(CHAPTER).replaceAll("/run/virstream/api.sock", path);
    const upstream = (directive: string) => new RegExp(`\`(${directive} [^\`]*)\``).exec(text)![1]!;
    await Promise.all([
      startNginx(nginx, { [`proxy_pass http://127.0.0.1:${port}/;`]: upstream("proxy_pass") }),
      startCaddy(caddy, { [`reverse_proxy 127.0.0.1:${port}`]: upstream("reverse_proxy") }),
    ]);
    for (const each of [nginx, caddy]) {
      const health = await get(`https://localhost:${each}/virstream/healthz`);
      expect(health).toMatchObject({ status: 200, text: expect.stringMatching(/"status":"ok"/) });
    }
  });

  /** The configuration of the document, for this machine. */
  function configurationOf(language: "nginx" | "caddy", more: Record<string, string>): string {
    return replaced(blocksOf(CHAPTER, language)[0]!, {
      ...{ "127.0.0.1:16580": `127.0.0.1:${port}`, ...more },
      ...{ "/etc/ssl/vm.example.pem": issued.certificate, "/etc/ssl/private/vm.example.key": issued.key },
    });
  }

  async function startNginx(listens: number, more: Record<string, string> = {}): Promise<void> {
    const site = configurationOf("nginx", {
      "443": String(listens),
      "server_name vm.example": "server_name localhost",
      ...more,
    });
    const folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder};`);
    const file = join(folder, `nginx-${listens}.conf`);
    const user = process.getuid?.() === 0 ? "user root;" : "";
    const own = `${user} daemon off; pid ${file}.pid; error_log stderr; events {}`;
    writeFileSync(file, `${own} http { access_log off; ${folders.join(" ")}\n${site}}`);
    await startProxy("nginx", ["-c", file, "-e", "stderr"], listens);
  }

  async function startCaddy(listens: number, more: Record<string, string> = {}): Promise<void> {
    const site = configurationOf("caddy", { "vm.example {": `localhost:${listens} {`, ...more });
    const file = join(folder, `Caddyfile-${listens}`);
    writeFileSync(file, `{\n  admin off\n  auto_https disable_redirects\n}\n${site}`);
    await startProxy("caddy", ["run", "--adapter", "caddyfile", "--config", file], listens);
  }

  async function startProxy(program: string, args: string[], listens: number): Promise<void> {
    const path = `${process.env.PATH}:/usr/sbin`;
    const child = spawn(program, args, { env: { PATH: path, HOME: folder }, stdio: ["ignore", "ignore", "pipe"] });
    others.push(child);
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    while (!(await accepts(listens))) {
      if (child.exitCode !== null) throw new Error(`${program} has ended: ${said}`);
    }
  }

  /** The answer to a request from an address of this machine. */
  const get = (url: string, headers: Record<string, string> = {}, localAddress = "127.0.0.1") =>
    answerAt(url, { ca: readFileSync(authority.certificate), family: 4, localAddress, headers });

  /** The status of the answer to a page of this origin. */
  const upgrade = (url: string, origin: string): Promise<number> =>
    upgradeStatusAt(url, "virstream.v1", { origin, ca: readFileSync(authority.certificate) });
});
