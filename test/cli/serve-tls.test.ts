/** @module-tag any-node */

import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Authority, type Issued } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { start, virstream } from "./run.ts";

describeWith(["openssl"], "virstream serve with a certificate", () => {
  let folder: string;
  let authority: Authority;
  const issued: Record<string, Issued> = {};
  const file = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-tls-"));
    authority = await Authority.create(folder, "virstream test");
    const hosts = ["DNS:localhost", "IP:127.0.0.1"];
    for (const name of ["first", "second"]) issued[name] = await authority.issue({ name, hosts });
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  function install(name: string): void {
    copyFileSync(issued[name]!.certificate, file("cert.pem"));
    copyFileSync(issued[name]!.key, file("key.pem"));
  }

  it("reads it again at SIGHUP, for new connections, and keeps the one it has when the files are not valid", async () => {
    install("first");
    const tls = ["--tls-cert", file("cert.pem"), "--tls-key", file("key.pem")];
    const server = start(["serve", "test:///default?domains=2", "--listen", ":0", "--metrics", "0", ...tls]);
    let [stdout, stderr] = ["", ""];
    server.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    server.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
    try {
      await until(() => stdout.split("\n").length > 2);
      const [url, metrics] = stdout.split("\n") as [string, string];
      expect(url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/);
      expect(metrics).toMatch(/^https:\/\/127\.0\.0\.1:\d+\/metrics$/);
      const trusting = { NODE_EXTRA_CA_CERTS: authority.certificate };
      expect((await virstream(["get", url, "--format", "ndjson"], trusting)).stdout.split("\n")).toHaveLength(3);
      const untrusting = await virstream(["get", url]);
      expect([untrusting.code, untrusting.stderr]).toEqual([1, expect.stringMatching(/NODE_EXTRA_CA_CERTS=FILE/)]);
      const names = () => Promise.all([url, metrics].map((each) => nameAt(Number(new URL(each).port))));
      expect(await names()).toEqual(["first", "first"]);
      install("second");
      server.kill("SIGHUP");
      await until(() => stderr.includes("new connections get the certificate"));
      expect(await names()).toEqual(["second", "second"]);
      writeFileSync(file("cert.pem"), "not a certificate\n");
      server.kill("SIGHUP");
      await until(() =>
        /the certificate or the key of tls is not valid: .*the server keeps its certificate/.test(stderr),
      );
      expect(await names()).toEqual(["second", "second"]);
      expect(server.exitCode).toBe(null);
    } finally {
      server.kill();
      await once(server, "close");
    }
  });

  it("says which options go together, and which file cannot be read", async () => {
    const serve = (...args: string[]) => virstream(["serve", "test:///default", "--listen", ":0", ...args]);
    expect((await serve("--tls-cert", "cert.pem")).stderr).toMatch(/--tls-cert and --tls-key go together/);
    expect((await serve("--tls-client-ca", "ca.pem")).stderr).toMatch(/--tls-client-ca goes with --tls-cert/);
    const missing = await serve("--tls-cert", file("none.pem"), "--tls-key", file("none.pem"));
    expect(missing.stderr).toMatch(/the certificate .*none\.pem cannot be read \(ENOENT\)/);
    expect(missing.code).toBe(1);
  });

  /** The name in the certificate of what listens at a port. */
  async function nameAt(port: number): Promise<string> {
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { subject } = socket.getPeerCertificate();
    socket.destroy();
    return `${subject.CN}`;
  }
});
