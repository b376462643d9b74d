import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:https";
import { connect as connectSocket, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls, type PeerCertificate, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect, type OpenOptions } from "../../src/index.ts";
import { type ServeOptions, serve, type TlsOptions } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { Authority, type Issued } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

const HOSTS = ["DNS:localhost", "IP:127.0.0.1"];

describeWith(["openssl"], "A server with a certificate", () => {
  let folder: string;
  let authority: Authority;
  let first: TlsOptions;
  let second: TlsOptions;
  let client: Issued;
  let stranger: Issued;
  let ca: string;
  let otherCa: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "virstream-tls-"));
    authority = await Authority.create(join(folder, "ours"), "virstream test");
    const other = await Authority.create(join(folder, "other"), "another");
    first = pemOf(await authority.issue({ name: "first", hosts: HOSTS }));
    second = pemOf(await authority.issue({ name: "second", hosts: HOSTS }));
    client = await authority.issue({ name: "client" });
    stranger = await other.issue({ name: "stranger" });
    ca = readFileSync(authority.certificate, "utf8");
    otherCa = readFileSync(other.certificate, "utf8");
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  async function served(options: ServeOptions = {}, domains = 3) {
    const source = own(await connect(`test:///default?domains=${domains}`));
    return own(await serve(source, { port: 0, tls: first, ...options }));
  }

  const open = async (url: string, options: OpenOptions = {}) => own(await connect(url, { ca, ...options }));

  it("serves sweeps, watches and pages at its wss: and https: addresses, and nothing without TLS", async () => {
    const server = await served({ token: "secret" });
    expect(server.url).toMatch(/^wss:\/\/127\.0\.0\.1:\d+$/);
    const connection = await open(server.url, { token: "secret" });
    expect(await connection.getAllDomainStats()).toHaveLength(3);
    let syncs = 0;
    for await (const event of connection.watch({}, { intervalMs: 1_000 }).events) {
      if (event.type === "sync" && ++syncs === 2) break;
    }
    expect(await statusOf(`${server.url.replace("wss:", "https:")}/healthz`, ca)).toBe(200);
    expect(await statusOf(`${server.url.replace("wss:", "https:")}/metrics`, ca)).toBe(401);
    expect(await codeOf(connect(server.url.replace("wss:", "ws:")))).toBe("connection-lost");
    expect(await codeOf(connect(server.url, { token: "secret" }))).toBe("unauthenticated");
  });

  it("may listen beyond loopback with a token, which it may not without TLS unless it is told to", async () => {
    const source = own(await connect("test:///default?domains=1"));
    const options = { host: "0.0.0.0", port: 0, token: "secret" };
    await expect(serve(source, options)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/without TLS .* set the option tls, or the option allowPlain/),
    });
    own(await serve(source, { ...options, allowPlain: true }));
    own(await serve(source, { ...options, tls: first }));
    // The certificate does not say who may read.
    expect(await codeOf(serve(source, { host: "0.0.0.0", port: 0, tls: first }))).toBe("invalid-argument");
  });

  it("asks clients for certificates of an authority, and refuses all others", async () => {
    const server = await served({ tls: { ...first, clientCa: ca } });
    const connection = await open(server.url, pemOf(client));
    expect(await connection.getAllDomainStats()).toHaveLength(3);
    // A close can overtake the alert that says why.
    const refused = /^(unauthenticated|connection-lost)$/;
    expect(await codeOf(open(server.url))).toMatch(refused);
    expect(await codeOf(open(server.url, pemOf(stranger)))).toMatch(refused);
    expect(server.clients).toBe(1);
  });

  it("refuses clients of an authority that was replaced, also those that resume a TLS session of before", async () => {
    const server = await served({ tls: { ...first, clientCa: ca } });
    const port = Number(new URL(server.url).port);
    /** How the server answers a request; `closed` for none. */
    const ask = async (session?: Buffer): Promise<[answer: string, session: Buffer | undefined]> => {
      const options = { host: "127.0.0.1", port, ca, ...pemOf(client), ...(session !== undefined && { session }) };
      const socket = connectTls(options);
      let answer = "";
      let given: Buffer | undefined;
      socket.on("session", (kept) => {
        given = kept;
      });
      socket.on("error", () => {});
      socket.setEncoding("latin1").on("data", (text: string) => {
        answer += text;
      });
      socket.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      await once(socket, "close");
      return [answer.split("\r\n")[0] || "closed", given];
    };
    const [before, session] = await ask();
    expect([before, session]).toEqual(["HTTP/1.1 200 OK", expect.any(Buffer)]);
    expect((await ask(session))[0]).toBe("HTTP/1.1 200 OK");
    server.renew({ ...first, clientCa: otherCa });
    expect((await ask())[0]).toBe("closed");
    expect((await ask(session))[0]).toBe("closed");
  });

  it("takes another certificate while it serves: no client loses a tick, and new connections get the new one", async () => {
    const server = await served({ limits: { minIntervalMs: 100 } });
    const connections = await Promise.all(Array.from({ length: 20 }, () => open(server.url)));
    const seen = connections.map((): string[] => []);
    const watches = connections.map((connection, i) =>
      connection
        .watch({}, { intervalMs: 100 })
        .events.subscribe((event) => seen[i]!.push(event.type === "sync" ? `${event.tick}` : event.type)),
    );
    await until(() => seen.every((words) => words.filter((word) => word !== "record").length >= 3));
    expect((await certificateOf(server.url, ca)).subject.CN).toBe("first");
    server.renew(second);
    await expect(async () => server.renew({ ...second, key: first.key })).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/certificate of tls or the key of tls is not valid: the key is that of another/),
    });
    const before = seen.map((words) => words.length);
    await until(() => seen.every((words, i) => words.length >= before[i]! + 12));
    for (const watch of watches) watch.unsubscribe();
    expect((await certificateOf(server.url, ca)).subject.CN).toBe("second");
    for (const words of seen) {
      const ticks = words.filter((word) => word !== "record").map(Number);
      expect(ticks).toEqual(ticks.map((_, i) => ticks[0]! + i));
    }
    expect(server.stats().clientsAccepted).toBe(20);
  });

  it("logs whom it refuses during the handshake and why, and not those who leave by themselves", async () => {
    const said: string[] = [];
    const take = ({ event }: { event: string }, message: string) => said.push(`${event}: ${message}`);
    const log = { trace: take, debug: take, info: take, warn: take, error: take };
    const server = await served({ tls: { ...first, clientCa: ca }, limits: { helloTimeoutMs: 2_000 }, log });
    const { port } = new URL(server.url);
    const ended = async (socket: Socket, text?: string) => {
      socket.on("error", () => {}).resume();
      if (text !== undefined) socket.write(text);
      await new Promise((resolve) => socket.once("close", resolve));
    };
    const tls = { host: "127.0.0.1", port: Number(port), ca };
    const plain = () => connectSocket(Number(port), "127.0.0.1");
    await ended(connectTls(tls));
    await ended(connectTls({ ...tls, ...pemOf(stranger) }));
    await ended(plain(), "GET / HTTP/1.1\r\n\r\n");
    await ended(plain(), "What is this?\r\n");
    const left = plain();
    await once(left, "connect");
    left.destroy();
    await ended(plain());
    await until(() => said.length >= 5);
    expect(said).toEqual(
      [
        "it shows no certificate, and this server asks each client for one",
        "its certificate is not of an authority that this server trusts (UNABLE_TO_VERIFY_LEAF_SIGNATURE)",
        "it speaks HTTP without TLS at a port with TLS: use https: or wss:",
        "it does not speak TLS",
        "no TLS handshake in time",
      ].map((why) => `client-refused: 127.0.0.1 is refused: ${why}`),
    );
  });

  it("ends handshakes that do not go on, and does not keep their sockets", async () => {
    const server = await served({ limits: { helloTimeoutMs: 200, waiting: 8 } });
    const port = Number(new URL(server.url).port);
    const sockets = Array.from({ length: 20 }, () => connectSocket(port, "127.0.0.1"));
    for (const socket of sockets) socket.on("error", () => {}).resume();
    // Some say nothing, some speak something else.
    for (const socket of sockets.slice(0, 10)) socket.write("GET / HTTP/1.1\r\n\r\n");
    await Promise.all(sockets.map((socket) => socket.closed || once(socket, "close")));
    const connection = await open(server.url);
    expect(await connection.getAllDomainStats()).toHaveLength(3);
    expect(server.stats().clientsAccepted).toBe(1);
  });

  it("does not start with a certificate or a key that is not valid", async () => {
    const source = own(await connect("test:///default?domains=1"));
    const bad: unknown[] = [
      { cert: first.cert },
      { cert: "no certificate", key: first.key },
      { ...first, cert: second.cert },
      { ...first, ca },
      { cert: 1, key: first.key },
      "a path",
    ];
    for (const tls of bad) {
      expect(await codeOf(serve(source, { port: 0, tls } as ServeOptions)), JSON.stringify(tls)).toBe(
        "invalid-argument",
      );
    }
    const plain = own(await serve(source, { port: 0 }));
    expect(() => plain.renew(first)).toThrow(/without the option tls/);
    // A server that does not ask for certificates would seem to check them from then on.
    const open = await served();
    expect(() => open.renew({ ...first, clientCa: ca })).toThrow(/does not ask clients for certificates/);
    const strict = await served({ tls: { ...first, clientCa: ca } });
    expect(() => strict.renew(first)).toThrow(/asks clients for certificates/);
  });
});

function pemOf({ certificate, key }: Issued): { cert: string; key: string } {
  return { cert: readFileSync(certificate, "utf8"), key: readFileSync(key, "utf8") };
}

async function certificateOf(url: string, ca: string): Promise<PeerCertificate> {
  const { port } = new URL(url);
  const socket: TLSSocket = connectTls({ port: Number(port), host: "127.0.0.1", ca });
  await once(socket, "secureConnect");
  const certificate = socket.getPeerCertificate();
  socket.destroy();
  return certificate;
}

async function statusOf(url: string, ca: string): Promise<number | undefined> {
  const asked = request(url, { ca, agent: false }).end();
  const [response] = await once(asked, "response");
  response.resume();
  await once(response, "close");
  return response.statusCode;
}
