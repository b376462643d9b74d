import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { WebSocketServer } from "ws";
import { LIMITS } from "../../../src/wire/protocol.ts";
import { codeOf } from "../../code-of.ts";
import { owned } from "../../owned.ts";
import { connectTo, open, plainServer, plenty, proxyTo, startServer, stuck } from "../../server/serving.ts";

describe("the remote driver", () => {
  it("says when nothing listens, and what to do", async () => {
    await expect(open("ws://127.0.0.1:1", {})).rejects.toMatchObject({
      code: "connection-refused",
      retryable: true,
      message: expect.stringMatching(/virstream serve/),
    });
  });

  it("says when what listens is no virstream server", async () => {
    const { port } = await plainServer((socket) => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    expect(await codeOf(open(`ws://127.0.0.1:${port}`, {}))).toBe("connection-refused");
  });

  it("gives up on a server that never answers", async () => {
    const { port } = await plainServer(() => {});
    expect(await codeOf(open(`ws://127.0.0.1:${port}`, { connectTimeoutMs: 50 }))).toBe("connect-timeout");
  });

  it("gives up connecting when it is aborted, with the reason of the abort", async () => {
    const { port } = await plainServer(() => {});
    const reason = new Error("changed my mind");
    const abort = new AbortController();
    const opening = open(`ws://127.0.0.1:${port}`, { signal: abort.signal });
    setImmediate(() => abort.abort(reason));
    await expect(opening).rejects.toBe(reason);
  });

  it("ends every sweep with connection-lost when the way to the server breaks, and finds another for the next", async () => {
    const server = await startServer(stuck());
    const { port, sockets } = await proxyTo(Number(new URL(server.url).port));
    const connection = await connectTo(`ws://127.0.0.1:${port}`);
    const sweep = connection.stats()[Symbol.asyncIterator]();
    await sweep.next();
    const next = sweep.next();
    for (const socket of sockets) socket.destroy();
    await expect(next).rejects.toMatchObject({ code: "connection-lost", retryable: true });
    for await (const record of connection.stats()) {
      expect(record.domain.name).toBe("domain-0");
      break;
    }
  });

  it("refuses a query that is larger than the protocol carries, and lives on", async () => {
    const connection = await connectTo((await startServer(plenty(1))).url);
    const many = Array.from({ length: 40_000 }, (_, i) => `a rather long name of a domain, number ${i}`);
    await expect(connection.domainListGetStats(many)).rejects.toMatchObject({
      code: "message-too-big",
      message: expect.stringMatching(/40000 domains.*name fewer/),
    });
    expect(await connection.getAllDomainStats()).toHaveLength(1);
  });

  it("gives a server up that has gone silent, after two and a half of its beats", async () => {
    const server = await startServer(stuck(), { limits: { beatMs: 40 } });
    const { port, swallow } = await proxyTo(Number(new URL(server.url).port));
    const connection = await connectTo(`ws://127.0.0.1:${port}`);
    const sweep = connection.stats()[Symbol.asyncIterator]();
    await sweep.next();
    const next = sweep.next();
    swallow();
    await expect(next).rejects.toMatchObject({ code: "connection-lost", message: expect.stringMatching(/silent/) });
  });

  it("calls a message beyond the limit a violation of the protocol", async () => {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    owned.push(() => {
      for (const client of server.clients) client.terminate();
      server.close();
    });
    await once(server, "listening");
    server.on("connection", (socket) => socket.on("message", () => socket.send(Buffer.alloc(LIMITS.message + 1))));
    const { port } = server.address() as AddressInfo;
    expect(await codeOf(open(`ws://127.0.0.1:${port}`, {}))).toBe("protocol-error");
  });

  it("ends its sweeps with connection-closed when it is closed", async () => {
    const connection = await connectTo((await startServer(stuck())).url);
    const sweep = connection.stats()[Symbol.asyncIterator]();
    await sweep.next();
    const next = codeOf(sweep.next());
    await connection.close();
    expect(await next).toBe("connection-closed");
    expect(() => connection.stats()).toThrow(/was closed/);
  });
});
