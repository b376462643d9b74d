/** @module-tag any-node */

import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readCredentials } from "../../src/cli/source.ts";
import type { VirstreamError } from "../../src/model/error.ts";
import { Authority, type Issued } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { until } from "../until.ts";
import { start, virstream } from "./run.ts";
import { served } from "./served.ts";

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

  const certified = (): string[] => ["--tls-cert", file("cert.pem"), "--tls-key", file("key.pem")];

  function install(name: string): void {
    copyFileSync(issued[name]!.certificate, file("cert.pem"));
    copyFileSync(issued[name]!.key, file("key.pem"));
  }

  it("reads it again at SIGHUP, for new connections, and keeps the one it has when the files are not valid", async () => {
    install("first");
    const server = start(["serve", "test:///default?domains=2", "--listen", ":0", "--metrics", "0", ...certified()]);
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
        /the certificate [^ ]+cert\.pem is not valid: it has nothing in PEM .*the server keeps its certificate/.test(
          stderr,
        ),
      );
      copyFileSync(issued["first"]!.certificate, file("cert.pem"));
      server.kill("SIGHUP");
      await until(() => /cert\.pem or the key [^ ]+key\.pem is not valid: the key is that of another/.test(stderr));
      expect(await names()).toEqual(["second", "second"]);
      expect(server.exitCode).toBe(null);
    } finally {
      server.kill();
      await once(server, "close");
    }
  });

  it("is trusted by each command with --ca, also where a server reads it, and where it says why", async () => {
    install("first");
    const ca = authority.certificate;
    await using server = await served(["test:///default?domains=2&error=1", ...certified()]);
    const commands = [
      ["get", server.url, "--format", "ndjson"],
      ["watch", server.url, "-n", "1"],
      ["top", server.url, "-b", "-n", "1"],
      ["check", server.url, "--over", "250ms"],
    ];
    const ended = await Promise.all(commands.map((command) => virstream([...command, "--ca", ca])));
    expect(ended.map(({ code }) => code)).toEqual([3, 3, 3, 2]);
    // The server is asked at https:. Only it knows that its host is a simulated one.
    const why = await virstream(["why", "guest-00001", server.url, "--ca", ca]);
    expect([why.code, why.stdout]).toEqual([0, expect.stringMatching(/its URI asks for this fault/)]);
    await using front = await served([server.url, "--ca", ca]);
    expect((await virstream(["get", front.url, "--format", "ndjson"])).stdout.trim().split("\n")).toHaveLength(2);
  });

  it("is refused with --ca of another authority, and --ca of a file that is none is named, also by serve --check", async () => {
    install("first");
    await using server = await served(["test:///default?domains=2", ...certified()]);
    const other = await Authority.create(mkdtempSync(join(folder, "other-")), "another authority");
    const get = async (ca: string) => (await virstream(["get", server.url, "--ca", ca])).stderr;
    expect(await get(other.certificate)).toMatch(
      /not of an authority that is trusted here: .* --ca FILE, .*\[unauthenticated\]/,
    );
    writeFileSync(file("text.pem"), "no certificate\n");
    writeFileSync(file("damaged.pem"), readFileSync(other.certificate, "utf8").replace(/^MII/m, "!!!"));
    const refusal = async (caFile: string) =>
      readCredentials({ tokenFile: undefined, caFile }, {}).catch((error: VirstreamError) => error.toJSON());
    for (const each of ["text.pem", "damaged.pem"]) {
      const message = expect.stringMatching(
        /^--ca takes a file with the certificates of authorities, in PEM, not .*\.pem \(.+\)$/,
      );
      expect(await refusal(file(each))).toMatchObject({ code: "invalid-argument", message });
    }
    const message = expect.stringMatching(/^the file of --ca .*none\.pem cannot be read: there is no such file$/);
    expect(await refusal(file("none.pem"))).toMatchObject({ code: "invalid-argument", message });
    const checked = await virstream(["serve", "--check", server.url, "--ca", file("text.pem")]);
    expect([checked.code, checked.stderr]).toEqual([
      1,
      expect.stringMatching(/^virstream: --ca takes .*\[invalid-argument\]/),
    ]);
  });

  it("prints URLs with a name of this machine if it listens at all addresses, with TLS one of the certificate", async () => {
    install("first");
    for (const [listen, more, name] of [
      ["0.0.0.0:0", certified(), "localhost"],
      ["[::]:0", ["--allow-plain"], hostname().toLowerCase()],
    ] as const) {
      const token = { VIRSTREAM_TOKEN: "a secret" };
      await using server = await served(["test:///default", "--metrics", listen, "--ui", ...more], token, listen);
      await until(() => server.of("serving").length > 0);
      const { urls, msg } = server.of("serving")[0]!;
      expect((urls as string[]).map((url) => new URL(url).hostname)).toEqual([name, name, name]);
      expect(msg).toContain(`a browser opens ${(urls as string[])[1]};`);
    }
  });

  it("says which options go together, and which file cannot be read", async () => {
    const serve = (...args: string[]) => virstream(["serve", "test:///default", "--listen", ":0", ...args]);
    expect((await serve("--tls-cert", "cert.pem")).stderr).toMatch(/--tls-cert and --tls-key go together/);
    expect((await serve("--tls-client-ca", "ca.pem")).stderr).toMatch(/--tls-client-ca goes with --tls-cert/);
    const missing = await serve("--tls-cert", file("none.pem"), "--tls-key", file("none.pem"));
    expect(missing.stderr).toMatch(/the certificate .*none\.pem cannot be read: there is no such file/);
    expect(missing.code).toBe(1);
    install("first");
    writeFileSync(file("text.pem"), "no certificate\n");
    const authorities = await serve(...certified(), "--tls-client-ca", file("text.pem"));
    expect(authorities.stderr).toMatch(
      /file of clients' authorities [^ ]+text\.pem is not valid: it has nothing in PEM/,
    );
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
