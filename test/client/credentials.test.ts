import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent, createServer as createHttpServer, type IncomingHttpHeaders } from "node:http";
import { type AddressInfo, connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer, type Server } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { remoteDriver } from "../../src/drivers/remote/driver.ts";
import { openNodeWatch } from "../../src/drivers/remote/node-driver.ts";
import { openBrowserSocket } from "../../src/drivers/remote/socket.ts";
import { connect, type OpenOptions } from "../../src/index.ts";
import { serve, type VirstreamServer } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { Authority, type Issued } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

async function startServer(token?: string, port = 0): Promise<VirstreamServer> {
  const source = own(await connect("test:///default?domains=2"));
  return own(await serve(source, { port, ...(token !== undefined && { token }) }));
}

const portOf = (server: VirstreamServer): number => Number(new URL(server.url).port);

describe("A token that is a function", () => {
  it("is called for each attempt to connect, so that a connection survives a change of the token", async () => {
    const server = await startServer("first");
    const tokens = ["first", "second"];
    let calls = 0;
    const token = async () => tokens[Math.min(calls++, 1)]!;
    const connection = own(await connect(server.url, { token, reconnect: { initialMs: 1 } }));
    const states: string[] = [];
    connection.status.subscribe(({ state }) => states.push(state));
    const port = portOf(server);
    await server.close();
    await startServer("second", port);
    await until(() => states.length === 3);
    expect(states).toEqual(["connected", "reconnecting", "connected"]);
    expect(calls).toBeGreaterThanOrEqual(2);
    expect(await connection.getAllDomainStats()).toHaveLength(2);
  });

  it("that fails, or has no answer in time, is unauthenticated", async () => {
    const server = await startServer("secret");
    const fault = new Error("the vault is closed");
    const failing: OpenOptions[] = [
      {
        token: () => {
          throw fault;
        },
      },
      { token: () => Promise.reject(fault) },
    ];
    for (const options of failing) {
      await expect(connect(server.url, options)).rejects.toMatchObject({
        ...{ code: "unauthenticated", retryable: true, cause: fault },
        message: expect.stringMatching(/the function token failed: the vault is closed/),
      });
    }
    const never = { token: () => new Promise<string>(() => {}), connectTimeoutMs: 20 };
    await expect(connect(server.url, never)).rejects.toMatchObject({
      code: "unauthenticated",
      message: expect.stringMatching(/had no answer within 20 ms/),
    });
    for (const token of ["", undefined, 5]) {
      expect(await codeOf(connect(server.url, { token: () => token as string }))).toBe("invalid-argument");
    }
    expect(await codeOf(connect(server.url, { token: 5 as never }))).toBe("invalid-argument");
    expect(server.stats().clientsAccepted).toBe(0);
  });

  it("that fails while the connection is lost is asked again", async () => {
    const server = await startServer("secret");
    let calls = 0;
    const token = () => {
      if (++calls === 2) throw new Error("the vault is closed");
      return "secret";
    };
    const connection = own(await connect(server.url, { token, reconnect: { initialMs: 1 } }));
    const states: string[] = [];
    connection.status.subscribe(({ state }) => states.push(state));
    const port = portOf(server);
    await server.close();
    await startServer("secret", port);
    await until(() => states.length === 3);
    expect(states.at(-1)).toBe("connected");
    expect(calls).toBeGreaterThanOrEqual(3);
  });

  it("is not waited for any longer when the program gives up", async () => {
    const server = await startServer("secret");
    const abort = new AbortController();
    const opening = connect(server.url, { token: () => new Promise<string>(() => {}), signal: abort.signal });
    const reason = new Error("enough");
    abort.abort(reason);
    await expect(opening).rejects.toBe(reason);
  });
});

describe("In Node, a connection", () => {
  it("sends the headers of the program, through its agent", async () => {
    const server = await startServer();
    const seen: IncomingHttpHeaders[] = [];
    const proxy = createHttpServer().on("upgrade", (request, socket, head) => {
      seen.push(request.headers);
      const upstream = connectSocket(portOf(server), "127.0.0.1");
      const lines = Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`);
      upstream.write(`GET / HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`);
      upstream.write(head);
      upstream.on("error", () => socket.destroy()).on("close", () => socket.destroy());
      socket.on("error", () => upstream.destroy()).on("close", () => upstream.destroy());
      socket.pipe(upstream).pipe(socket);
    });
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    own(proxy);
    const { port } = proxy.address() as AddressInfo;
    let created = 0;
    const agent = new Agent();
    const original = agent.createConnection.bind(agent);
    agent.createConnection = (...args) => {
      created++;
      return original(...args);
    };
    const options = { headers: { "x-tenant": "blue" }, agent };
    const connection = own(await connect(`ws://127.0.0.1:${port}`, options));
    expect(await connection.getAllDomainStats()).toHaveLength(2);
    expect([seen.map((headers) => headers["x-tenant"]), created]).toEqual([["blue"], 1]);
  });

  it("names an option that Node does not accept", async () => {
    const server = await startServer();
    const bad = connect(server.url, { headers: { "not a name": "x" } });
    await expect(bad).rejects.toMatchObject({ code: "invalid-argument", message: expect.stringMatching(/not a name/) });
  });
});

describe("In a browser, a connection", () => {
  it.each(["headers", "ca", "cert", "key", "rejectUnauthorized", "agent"])("refuses the option %s", async (option) => {
    const opening = remoteDriver({ openSocket: openBrowserSocket, openWatch: openNodeWatch })("ws://127.0.0.1:1", {
      [option]: {},
    });
    await expect(opening).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(`option ${option} is for Node`),
    });
  });
});

describeWith(["openssl"], "A server at a wss: address", () => {
  const folder = mkdtempSync(join(tmpdir(), "virstream-mtls-"));
  let authority: Authority;
  let url: string;
  let proxy: Server;
  let server: VirstreamServer;
  const pem = (file: string): string => readFileSync(file, "utf8");

  beforeAll(async () => {
    authority = await Authority.create(folder, "lab");
    server = await serve(await connect("test:///default?domains=2"), { port: 0 });
    const { certificate, key }: Issued = await authority.issue({ name: "server", hosts: ["DNS:localhost"] });
    const tls = { cert: pem(certificate), key: pem(key), ca: pem(authority.certificate), requestCert: true };
    proxy = createServer(tls, (client) => {
      const upstream = connectSocket(portOf(server), "127.0.0.1");
      client.on("error", () => upstream.destroy()).on("close", () => upstream.destroy());
      upstream.on("error", () => client.destroy()).on("close", () => client.destroy());
      client.pipe(upstream).pipe(client);
    }).on("tlsClientError", () => {});
    await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
    url = `wss://localhost:${(proxy.address() as AddressInfo).port}`;
  });
  afterAll(async () => {
    proxy.close();
    await server.close();
    rmSync(folder, { recursive: true });
  });

  it("that wants a certificate of the client accepts the options cert and key, and refuses for good without them", async () => {
    const { certificate, key } = await authority.issue({ name: "client" });
    const ca = readFileSync(authority.certificate);
    await using connection = await connect(url, { ca, cert: pem(certificate), key: readFileSync(key) });
    expect(await connection.getAllDomainStats()).toHaveLength(2);
    await expect(connect(url, { ca, waitForFirstConnection: true })).rejects.toMatchObject({
      code: "unauthenticated",
      message: expect.stringMatching(/options cert and key/),
    });
    expect(await codeOf(connect(url, { ca, cert: "nonsense", key: "nonsense" }))).toBe("invalid-argument");
  });

  it("is accepted with any certificate only if the program says so", async () => {
    const { certificate, key } = await authority.issue({ name: "other" });
    const own = { cert: pem(certificate), key: pem(key) };
    expect(await codeOf(connect(url, own))).toBe("unauthenticated");
    await using connection = await connect(url, { ...own, rejectUnauthorized: false });
    expect(await connection.getAllDomainStats()).toHaveLength(2);
  });
});
