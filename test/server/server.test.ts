import { once } from "node:events";
import { connect as connectSocket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { Connection } from "../../src/client/connection.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { serve } from "../../src/server/server.ts";
import { CLOSE_CODES, LIMITS, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { codeOf } from "../code-of.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";
import { decoderOf } from "../wire/decoding.ts";
import { ScriptedDriver } from "./scripted-driver.ts";
import { closeOf, connectTo, HELLO, httpServerOf, plenty, rawClient, startServer, stuck } from "./serving.ts";

describe("a server", () => {
  it("delivers a record while the driver still waits for the next", async () => {
    const server = await startServer(stuck());
    const connection = await connectTo(server.url);
    for await (const record of connection.stats()) {
      expect(record.domain.name).toBe("domain-0");
      break;
    }
  });

  it("has the same addresses after it was closed, so that a program can name them in its last message", async () => {
    const server = await startServer(plenty(1));
    const { url, pageUrl } = server;
    await server.close();
    expect([server.url, server.pageUrl]).toEqual([url, pageUrl]);
  });

  it("ends a sweep at the driver when the client breaks out", async () => {
    const driver = plenty(1_000_000);
    const server = await startServer(driver);
    const connection = await connectTo(server.url);
    for await (const _ of connection.stats()) break;
    await until(() => driver.running === 0);
    expect(driver.pulled).toBeLessThan(2_000);
    await until(() => server.sweeps === 0);
  });

  it("hands an error of the sweep on with its code, after the records before it", async () => {
    const driver = new ScriptedDriver(async function* (scripted) {
      for (let i = 0; i < 5; i++) yield [scripted.record(i)];
      throw new VirstreamError("hypervisor-error", "the host is on fire", { libvirt: { code: 1, domain: 10 } });
    });
    const connection = await connectTo((await startServer(driver)).url);
    const names: string[] = [];
    const failure = connection.stats().forEach((record) => void names.push(record.domain.name));
    await expect(failure).rejects.toMatchObject({
      code: "hypervisor-error",
      message: "the host is on fire",
      retryable: true,
      libvirt: { code: 1, domain: 10 },
    });
    expect(names).toEqual([0, 1, 2, 3, 4].map((i) => `domain-${i}`));
  });

  it("stops pulling the driver when a reader has used up its credit, and loses nothing", async () => {
    const driver = plenty(3_000);
    const server = await startServer(driver);
    const connection = await connectTo(server.url, { creditBytes: 100_000 });
    const seen: number[] = [];
    let pulledAtPause = 0;
    await connection.stats().forEach(async (record) => {
      seen.push(record.index);
      if (seen.length !== 1) return;
      // The credit is spent, one message may overdraw it, and one frame is being filled: then the driver rests.
      let before = -1;
      while (before !== driver.pulled) {
        before = driver.pulled;
        for (let i = 0; i < 50; i++) await turn();
      }
      pulledAtPause = driver.pulled;
    });
    expect(seen).toEqual(Array.from({ length: 3_000 }, (_, i) => i));
    expect(pulledAtPause).toBeLessThan(400);
  });

  it("ends a sweep without credit once all its records are sent", async () => {
    const driver = new ScriptedDriver(async function* (scripted) {
      yield [scripted.record(0)];
      for (let i = 0; i < 20; i++) await turn();
      yield [scripted.record(1)];
    });
    const server = await startServer(driver, { limits: { progressTimeoutMs: 60_000 } });
    const client = await rawClient(server);
    const decoder = decoderOf();
    const ends: (string | undefined)[] = [];
    let granted = false;
    client.socket.on("message", (data: Buffer) => {
      const message = decoder.decode(data);
      if (message.type === "end") ends.push(message.error?.code);
      if (message.type !== "records" || granted) return;
      granted = true;
      client.socket.send(JSON.stringify({ type: "credit", id: 1, bytes: message.bytes }));
    });
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1,"credit":1}');
    await until(() => ends.length > 0);
    expect(ends).toEqual([undefined]);
  });

  it("tells the number of domains, and the summary at the end", async () => {
    const connection = await connectTo((await startServer(plenty(3))).url);
    const events = await connection.stats().events.toArray();
    expect(events.map((event) => event.type)).toEqual(["expect", "record", "record", "record", "sync"]);
    expect(events[0]).toEqual({ type: "expect", domains: 3 });
    expect(events.at(-1)).toMatchObject({ summary: { domains: 3, ok: 3, partial: 0, failed: 0, gone: 0 } });
  });

  it("sends one begin for a sweep, also when the driver knows the number of domains only after its first records", async () => {
    const driver = new ScriptedDriver(async function* (scripted, { expect }) {
      yield [scripted.record(0)];
      await turn();
      expect(2);
      yield [scripted.record(1)];
    });
    const client = await rawClient(await startServer(driver));
    const types: string[] = [];
    const decoder = decoderOf();
    client.socket.on("message", (data: Buffer) => types.push(decoder.decode(data).type));
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1}');
    await until(() => types.includes("end"));
    expect(types.filter((type) => type === "begin")).toHaveLength(1);
  });

  it("says for each malformed message why it ends the connection", async () => {
    const server = await startServer(stuck());
    const cases: [message: string | Buffer, code: number, reason: RegExp][] = [
      ["", CLOSE_CODES["bad-message"], /not JSON/],
      ["[1]", CLOSE_CODES["bad-message"], /not an object/],
      ['{"type":"dance"}', CLOSE_CODES["bad-message"], /hello, get, watch, credit, cancel/],
      ['{"type":"hello"}', CLOSE_CODES["bad-message"], /second hello/],
      ['{"type":"get","id":0,"credit":1}', CLOSE_CODES["bad-message"], /id must be/],
      ['{"type":"get","id":1,"credit":null}', CLOSE_CODES["bad-message"], /credit must be/],
      ['{"type":"get","id":1,"credit":1e99}', CLOSE_CODES["bad-message"], /credit must be/],
      ['{"type":"credit","id":1,"bytes":-5}', CLOSE_CODES["bad-message"], /bytes must be/],
      [Buffer.from([0x91, 1]), CLOSE_CODES["bad-message"], /JSON text/],
      ["x".repeat(LIMITS.request + 1), CLOSE_CODES["too-big"], /^$/],
    ];
    for (const [message, code, reason] of cases) {
      const client = await rawClient(server);
      client.socket.send(HELLO);
      client.socket.send(message);
      const [seenCode, seenReason] = await closeOf(client);
      expect([String(message).slice(0, 40), seenCode]).toEqual([String(message).slice(0, 40), code]);
      expect(seenReason).toMatch(reason);
    }
    await until(() => server.clients === 0);
  });

  it("ends a sweep, and not the connection, for a query that is not valid", async () => {
    const server = await startServer(plenty(1));
    const client = await rawClient(server);
    const decoder = decoderOf();
    const ends: (string | undefined)[] = [];
    client.socket.on("message", (data: Buffer) => {
      const message = decoder.decode(data);
      if (message.type === "end") ends.push(message.error?.code);
    });
    client.socket.send(HELLO);
    const queries = [
      { groups: "all" },
      { flags: 0x100 },
      { deadlineMs: 0 },
      { domains: [] },
      { domains: [3] },
      { domains: [{ uuid: "web" }] },
      { domains: [{ name: "" }] },
      {},
    ];
    for (const [i, query] of queries.entries()) {
      client.socket.send(JSON.stringify({ type: "get", id: i + 1, credit: 1_000, ...query }));
    }
    await until(() => ends.length === queries.length);
    expect(ends.sort()).toEqual([
      "empty-domain-list",
      "invalid-argument",
      "invalid-argument",
      "invalid-argument",
      "invalid-argument",
      "unknown-flag",
      "unknown-group",
      undefined,
    ]);
  });

  it("wants a hello first, of bounded size, and in time", async () => {
    const server = await startServer(stuck());
    const early = await rawClient(server);
    early.socket.send('{"type":"get","id":1,"credit":1}');
    expect(await closeOf(early)).toEqual([CLOSE_CODES["bad-message"], expect.stringMatching(/must be a hello/)]);
    const long = await rawClient(server);
    long.socket.send(JSON.stringify({ type: "hello", client: "x".repeat(LIMITS.hello) }));
    expect(await closeOf(long)).toEqual([
      CLOSE_CODES["bad-message"],
      expect.stringMatching(/first message is too long/),
    ]);
    const silent = await rawClient(await startServer(stuck(), { limits: { helloTimeoutMs: 50 } }));
    expect(await closeOf(silent)).toEqual([CLOSE_CODES["hello-timeout"], "no hello in time"]);
  });

  it("refuses a second sweep of the same id, and more sweeps than its limit", async () => {
    const server = await startServer(stuck(), { limits: { sweepsPerClient: 2 } });
    const connection = await connectTo(server.url);
    const sweeps = [connection.stats(), connection.stats()].map((stream) => stream[Symbol.asyncIterator]());
    for (const sweep of sweeps) await sweep.next();
    expect(await codeOf(connection.getAllDomainStats())).toBe("limit-exceeded");
    for (const sweep of sweeps) await sweep.return?.();

    const client = await rawClient(server);
    client.socket.send(HELLO);
    for (let i = 0; i < 2; i++) client.socket.send('{"type":"get","id":7,"credit":1000}');
    expect(await closeOf(client)).toEqual([CLOSE_CODES["duplicate-id"], "sweep or watch 7 is still under way"]);

    const other = await rawClient(server);
    other.socket.send(HELLO);
    other.socket.send('{"type":"get","id":7,"credit":1000}');
    other.socket.send('{"type":"get","id":7,"credit":1000,"groups":"all"}');
    expect(await closeOf(other)).toEqual([CLOSE_CODES["duplicate-id"], "sweep or watch 7 is still under way"]);
  });

  it("refuses clients beyond its limit", async () => {
    const server = await startServer(stuck(), { limits: { clients: 1 } });
    await connectTo(server.url);
    expect(await codeOf(connectTo(server.url))).toBe("limit-exceeded");
  });

  it("speaks only its subprotocols", async () => {
    const server = await startServer(stuck());
    const other = new WebSocket(server.url, "graphql-ws");
    const [error] = (await once(other, "error")) as [Error];
    expect(error.message).toMatch(/400/);
    const none = await rawClient(server, []);
    expect(await closeOf(none)).toEqual([CLOSE_CODES["wrong-subprotocol"], expect.stringMatching(/virstream\.v1/)]);
  });

  it("admits only a client that shows its token, and tells any other first what is wrong with its token", async () => {
    const server = await startServer(plenty(1), { token: "a secret" });
    expect(await codeOf(connectTo(server.url))).toBe("unauthenticated");
    for (const [options, happened] of [
      [{}, "a token is needed"],
      [{ token: "a guess" }, "the token is wrong"],
    ] as const) {
      await expect(connectTo(server.url, options)).rejects.toMatchObject({
        code: "unauthenticated",
        message: `${server.url}: it refused us (${happened}): a valid one goes into the option token of connect()`,
      });
    }
    const connection = await connectTo(server.url, { token: "a secret" });
    expect(await connection.getAllDomainStats()).toHaveLength(1);

    const header = (token: string) =>
      new WebSocket(server.url, SUBPROTOCOLS[0], { headers: { authorization: `Bearer ${token}` } });
    const bearer = header("a secret");
    owned.push(() => bearer.terminate());
    await once(bearer, "open");
    bearer.send(HELLO);
    await once(bearer, "message");
    const [refused] = (await once(header("a guess"), "error")) as [Error];
    expect(refused.message).toMatch(/401/);
  });

  it("refuses web pages of origins that are not in its options, whatever the host they came from", async () => {
    const server = await startServer(stuck(), { origins: ["https://dashboard.example"] });
    const from = (origin: string) => {
      const socket = new WebSocket(server.url, SUBPROTOCOLS[0], { origin });
      owned.push(() => socket.terminate());
      return socket;
    };
    for (const host of ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "dashboard.example:444"]) {
      const [refused] = (await once(from(`https://${host}`), "error")) as [Error];
      expect(refused.message, host).toMatch(/403/);
    }
    await once(from("https://dashboard.example"), "open");
    await once(from("http://localhost:8080"), "open");
  });

  it("does not listen beyond loopback without a token unless anyone is allowed to connect", async () => {
    const connection = new Connection(stuck());
    expect(await codeOf(serve(connection, { host: "0.0.0.0", port: 0 }))).toBe("invalid-argument");
    const server = own(await serve(connection, { host: "0.0.0.0", port: 0, allowAnyone: true }));
    expect(server.url).toMatch(/^ws:\/\/0\.0\.0\.0:\d+$/);
  });

  it("refuses options that it does not have, and a port that is none", async () => {
    const connection = new Connection(stuck());
    expect(await codeOf(serve(connection, { port: 0, tokn: "a secret" } as never))).toBe("invalid-argument");
    expect(await codeOf(serve(connection, { port: 0, limits: { client: 1 } } as never))).toBe("invalid-argument");
    expect(await codeOf(serve(connection, { port: 70_000 }))).toBe("invalid-argument");
  });

  it("refuses limits that are no whole numbers, longer than a timer lasts, or intervals that no watch may have", async () => {
    const driver = new ScriptedDriver(async function* () {});
    for (const limits of [
      { progressTimeoutMs: Number.POSITIVE_INFINITY },
      { helloTimeoutMs: 2 ** 31 },
      { clients: Number.NaN },
      { beatMs: 0 },
      { beatMs: 3_600_001 },
      { minIntervalMs: 9 },
      { minIntervalMs: 3_600_001 },
    ]) {
      expect(await codeOf(startServer(driver, { limits }))).toBe("invalid-argument");
    }
  });

  it("names the port or the address at which it cannot listen, and the remedy", async () => {
    const server = await startServer(stuck());
    const port = Number(new URL(server.url).port);
    await expect(serve(new Connection(stuck()), { port })).rejects.toMatchObject({
      code: "address-in-use",
      message: expect.stringMatching(/EADDRINUSE.*choose another/),
    });
    await expect(
      serve(new Connection(stuck()), { host: "192.0.2.1", port, token: "t", allowPlain: true }),
    ).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(/EADDRNOTAVAIL.*address of this machine/),
    });
  });

  it("goes on listening and measuring, however often the system fails to accept a connection", async () => {
    const server = await startServer(stuck());
    const http = await httpServerOf(server);
    for (let i = 0; i < 3; i++) http.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE" }));
    const before = server.stats().eventLoopDelayMs;
    await connectTo(server.url);
    while (server.stats().eventLoopDelayMs.mean === before.mean) await turn();
  });

  it("ends a sweep whose reader gives no more credit in time, and frees the driver", async () => {
    const driver = plenty(100_000);
    const server = await startServer(driver, { limits: { progressTimeoutMs: 50 } });
    const client = await rawClient(server);
    const decoder = decoderOf();
    let end: string | undefined;
    client.socket.on("message", (data: Buffer) => {
      const message = decoder.decode(data);
      if (message.type === "end") end = message.error?.code;
    });
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1,"credit":1000}');
    await until(() => end !== undefined);
    expect(end).toBe("slow-consumer");
    await until(() => driver.running === 0);
  });

  it("ends a sweep that began after a change of the limits by the new timeout, and no earlier one", async () => {
    const driver = plenty(100_000);
    const server = await startServer(driver);
    const client = await rawClient(server);
    const decoder = decoderOf();
    const ends: unknown[] = [];
    client.socket.on("message", (data: Buffer) => {
      const message = decoder.decode(data);
      if (message.type === "end") ends.push([message.id, message.error?.code]);
    });
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1,"credit":1000}');
    await until(() => driver.running === 1);
    server.limit({ progressTimeoutMs: 50 });
    client.socket.send('{"type":"get","id":2,"credit":1000}');
    await until(() => ends.length > 0);
    await until(() => driver.running === 1);
    expect(ends).toEqual([[2, "slow-consumer"]]);
  });

  it("holds no more than its mark for a peer that stops reading, and ends the sweep", async () => {
    const driver = plenty(1_000_000);
    const server = await startServer(driver, { limits: { progressTimeoutMs: 300, bufferedBytes: 200_000 } });
    const client = await rawClient(server);
    client.socket.send(HELLO);
    client.socket.send(`{"type":"get","id":1,"credit":${LIMITS.credit}}`);
    await until(() => driver.pulled > 10);
    client.socket.pause();
    await until(() => driver.running === 0);
    // What the kernel's buffers took, and what the mark allows: a small part of the gigabyte that was asked for.
    expect(driver.pulled).toBeLessThan(20_000);
  });

  it("ends the connection of a client that asks on and on and reads no answer, and holds no more than twice its mark for it", async () => {
    const server = await startServer(new ScriptedDriver(async function* () {}), { limits: { bufferedBytes: 65_536 } });
    const { socket } = await rawClient(server);
    socket.on("error", () => {});
    socket.send('{"type":"hello"}');
    socket.pause();
    while (server.clients > 0) {
      for (let i = 0; i < 500; i++) socket.send('{"type":"get","id":1,"credit":1,"groups":-1}');
      await turn();
    }
    // What loopback's own buffers take, and not all that was asked meanwhile.
    expect(server.stats().bytesSent).toBeLessThan(32_000_000);
  });

  it("does not count a record that is larger than its mark against a client that reads it slowly", async () => {
    const huge = TypedParams.from(
      Array.from({ length: 8 }, (_, i) => [`block.${i}.path`, "string", "x".repeat(4_000_000)]),
    );
    const driver = new ScriptedDriver(async function* (host) {
      yield [host.record(0, huge)];
    });
    const server = await startServer(driver, { limits: { bufferedBytes: 65_536 } });
    const { socket } = await rawClient(server);
    socket.send(HELLO);
    await once(socket, "message");
    socket.pause();
    socket.send(`{"type":"get","id":1,"credit":${LIMITS.credit}}`);
    await until(() => server.stats().bytesSent > 1_000_000);
    socket.send(`{"type":"get","id":2,"credit":${LIMITS.credit}}`);
    await until(() => driver.queries.length === 2 || server.clients === 0);
    expect(server.clients).toBe(1);
  });

  it("ends connections that answer no ping", async () => {
    const driver = stuck();
    const server = await startServer(driver, { limits: { beatMs: 20 } });
    const client = await rawClient(server);
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1,"credit":1000}');
    await until(() => driver.running === 1);
    client.socket.pause();
    await until(() => server.clients === 0 && driver.running === 0);
  });

  it("ends the sweeps of a client that vanishes", async () => {
    const driver = stuck();
    const server = await startServer(driver);
    const client = await rawClient(server);
    client.socket.send(HELLO);
    client.socket.send('{"type":"get","id":1,"credit":1000}');
    await until(() => driver.running === 1);
    client.socket.terminate();
    await until(() => driver.running === 0 && server.clients === 0);
  });

  it("tells its clients when it shuts down, and leaves nothing behind", async () => {
    const driver = stuck();
    const server = await startServer(driver);
    const connection = await connectTo(server.url);
    const sweep = connection.stats()[Symbol.asyncIterator]();
    await sweep.next();
    const next = codeOf(sweep.next());
    await server.close();
    expect(await next).toBe("server-shutdown");
    expect(driver.running).toBe(0);
    expect(await codeOf(connection.getAllDomainStats({ deadlineMs: 50 }))).toBe("connection-lost");
    expect(driver.closed).toBe(false);
  });

  it("tells a client that connects at that very moment", async () => {
    const server = await startServer(stuck());
    const socket = connectSocket(Number(new URL(server.url).port), "127.0.0.1");
    owned.push(() => socket.destroy());
    socket.write("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
    // Its answer comes after the server has read what was written before it.
    await fetch(`${server.url.replace("ws:", "http:")}/healthz`);
    const closed = server.close();
    socket.write(
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: ${SUBPROTOCOLS[0]}\r\n\r\n`,
    );
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    await Promise.all([once(socket, "close"), closed]);
    const reply = Buffer.concat(chunks);
    expect(reply.toString("latin1")).toMatch(/^HTTP\/1\.1 101 /);
    expect(reply.includes(Buffer.from([0x03, 0xe9]))).toBe(true);
    expect(reply.toString("latin1")).toContain("the server is shutting down");
  });

  it("answers plain HTTP with what it is and whether it is well", async () => {
    const server = await startServer(stuck());
    const base = server.url.replace("ws:", "http:");
    const health = await fetch(`${base}/healthz`);
    expect([health.status, await health.json()]).toEqual([
      200,
      { status: "ok", clients: 0, watches: 0, sourcesAbsent: 0 },
    ]);
    const root = await fetch(base);
    expect([root.status, await root.text()]).toEqual([426, expect.stringMatching(/virstream\.v1/)]);
    expect((await fetch(`${base}/elsewhere`)).status).toBe(404);
    expect((await fetch(base, { method: "POST" })).status).toBe(405);
  });
});
