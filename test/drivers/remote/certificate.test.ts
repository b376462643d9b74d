import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type Server } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, connectAll } from "../../../src/index.ts";
import { serve, type VirstreamServer } from "../../../src/server/index.ts";
import { Authority, type Issued } from "../../lab/certificates.ts";
import { describeWith } from "../../lab/requirement.ts";

describeWith(["openssl"], "a server at a wss: address", () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-wss-"));
  let authority: Authority;
  let server: VirstreamServer;
  const proxies: Server[] = [];

  beforeAll(async () => {
    authority = await Authority.create(folder, "lab");
    server = await serve(await connect("test:///default?domains=3"), { port: 0 });
  });
  afterAll(async () => {
    for (const proxy of proxies) proxy.close();
    await server.close();
    rmSync(folder, { recursive: true });
  });

  /** The URL of a TLS proxy with this certificate. */
  async function proxyWith({ certificate, key }: Issued): Promise<string> {
    const proxy = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (client) => {
      const socket = connectSocket(Number(new URL(server.url).port), "127.0.0.1");
      client.on("error", () => socket.destroy()).on("close", () => socket.destroy());
      socket.on("error", () => client.destroy()).on("close", () => client.destroy());
      client.pipe(socket).pipe(client);
    });
    proxies.push(proxy.on("tlsClientError", () => {}));
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    return `wss://localhost:${(proxy.address() as AddressInfo).port}`;
  }

  it("is refused with a final error when its certificate is of an unknown authority, and accepted with the option ca", async () => {
    const url = await proxyWith(await authority.issue({ name: "good", hosts: ["DNS:localhost"] }));
    const refusal = {
      code: "unauthenticated",
      retryable: false,
      message: expect.stringMatching(/certificate.*option ca.*NODE_EXTRA_CA_CERTS/),
    };
    await expect(connect(url)).rejects.toMatchObject(refusal);
    await expect(connectAll([url])).rejects.toMatchObject(refusal);
    await using connection = await connect(url, { ca: readFileSync(authority.certificate, "utf8") });
    expect(await connection.getAllDomainStats()).toHaveLength(3);
  });

  it("that does not speak TLS is refused with an error that says so and proposes ws:", async () => {
    await expect(connect(server.url.replace("ws:", "wss:"))).rejects.toMatchObject({
      code: "connection-refused",
      message: expect.stringMatching(/does not speak TLS: use ws:/),
    });
  });

  it("is refused with a final error when its certificate has expired or is for another name, and the error says so", async () => {
    const ca = readFileSync(authority.certificate, "utf8");
    const faults = [
      [{ name: "old", hosts: ["DNS:localhost"], days: -1 }, /has expired: renew it/],
      [{ name: "other", hosts: ["DNS:other.example"] }, /for another name/],
    ] as const;
    for (const [options, message] of faults) {
      const url = await proxyWith(await authority.issue(options));
      await expect(connect(url, { ca })).rejects.toMatchObject({
        code: "unauthenticated",
        retryable: false,
        message: expect.stringMatching(message),
      });
    }
  });
});
