import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../src/index.ts";
import { upgradeStatusAt } from "../answer.ts";
import { served } from "../cli/served.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { until } from "../until.ts";

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

describe("A server with --ui", () => {
  let served: ServedProcess;
  beforeAll(async () => {
    served = await ServedProcess.start({ uri: "test:///default", args: ["--ui"] });
  });
  afterAll(() => served?.[Symbol.asyncDispose]());

  const ask = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    new Promise<Answer>((resolve, reject) => {
      const asked = request({ port: served.port, path, method, headers }, (response) => {
        let body = "";
        response.setEncoding("latin1").on("data", (text: string) => {
          body += text;
        });
        response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body }));
      });
      asked.on("error", reject).end();
    });

  it("serves its page with a policy that permits its own files and its own WebSocket only", async () => {
    const { status, headers, body } = await ask("/");
    expect(status).toBe(200);
    expect(headers["content-type"]).toBe("text/html; charset=utf-8");
    expect(headers["x-content-type-options"]).toBe("nosniff");
    const policy = `${headers["content-security-policy"]}`.split("; ");
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("connect-src 'self'");
    expect(policy.join()).not.toContain("unsafe");
    expect(body).not.toMatch(/<script>|<style|\s(style|on\w+)=|https?:/);
  });

  it("answers 304 to a browser that has the file, compresses, and has no body for HEAD", async () => {
    const { headers, body } = await ask("/page.js");
    expect(headers["content-type"]).toBe("text/javascript; charset=utf-8");
    const known = await ask("/page.js", { "if-none-match": `W/${headers["etag"]}` });
    expect([known.status, known.body]).toEqual([304, ""]);
    const compressed = await ask("/page.js", { "accept-encoding": "br, gzip" });
    expect(compressed.headers["content-encoding"]).toBe("gzip");
    expect(compressed.body.length).toBeLessThan(body.length / 2);
    expect((await ask("/page.js", { "accept-encoding": "gzip;q=0" })).headers["content-encoding"]).toBeUndefined();
    const head = await ask("/page.js", {}, "HEAD");
    expect([head.status, head.headers["content-length"], head.body]).toEqual([200, `${body.length}`, ""]);
  });

  it("refuses other methods, and paths outside of the page's files", async () => {
    expect((await ask("/", {}, "POST")).status).toBe(405);
    for (const path of ["/../package.json", "/%2e%2e/cli/main.js", "/page.js/", "/index.html"]) {
      expect((await ask(path)).status, path).toBe(404);
    }
    expect((await ask("/healthz")).status).toBe(200);
  });

  it("refuses its page under a name that may be another's, because that page could not connect", async () => {
    const { status, body } = await ask("/", { host: "attacker.example" });
    expect(status).toBe(403);
    expect(body).toContain("allow the name in the server's option origins");
  });

  it("accepts the WebSocket of a page that it serves under an address of the machine, and of no other", async () => {
    const upgrade = (host: string, origin: string) =>
      upgradeStatusAt(served.url, "virstream.v1", { origin, headers: { host } });
    const own = `192.0.2.7:${served.port}`;
    expect(await upgrade(own, `http://${own}`)).not.toBe(403);
    expect(await upgrade(own, "http://192.0.2.8")).toBe(403);
    expect(await upgrade("attacker.example", "http://attacker.example")).toBe(403);
  });
});

it("A server's page is the page of its start even if the package's files have changed, and learns the shortest interval after a change of the limits", async () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-page-"));
  const config = join(folder, "serve.toml");
  const configure = (minIntervalMs: number): void =>
    writeFileSync(config, `sources = ["test:///default"]\nui = true\n[limits]\nminIntervalMs = ${minIntervalMs}\n`);
  configure(250);
  const checkout = fileURLToPath(new URL("../../", import.meta.url));
  for (const part of ["bin", "dist", "package.json"]) {
    cpSync(join(checkout, part), join(folder, part), { recursive: true });
  }
  symlinkSync(join(checkout, "node_modules"), join(folder, "node_modules"));
  try {
    await using server = await served(["--config", config], {}, ":0", join(folder, "bin/virstream.js"));
    const textOf = async (path: string) => (await fetch(new URL(path, server.url.replace("ws:", "http:")))).text();
    const shortest = async () => {
      await using connection = await connect(server.url);
      return connection.driver.minIntervalMs;
    };
    const before = [await textOf(""), await textOf("page.js")];
    expect(await shortest()).toBe(250);
    rmSync(join(folder, "dist/page"), { recursive: true });
    configure(5_000);
    server.child.kill("SIGHUP");
    await until(() => server.of("limits-read").length === 1);
    expect(server.of("limits-read")).toMatchObject([{ level: "info", limits: { minIntervalMs: 5_000 } }]);
    expect(await shortest()).toBe(5_000);
    expect([await textOf(""), await textOf("page.js")]).toEqual(before);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
