import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import fastify from "fastify";
import { describe, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { connect } from "../../src/index.ts";
import { createHandler, type HandlerOptions, serve, type VirstreamHandler } from "../../src/server/index.ts";
import { CLOSE_CODES, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { codeOf } from "../code-of.ts";
import { Authority } from "../lab/certificates.ts";
import { describeWith } from "../lab/requirement.ts";
import { own, owned } from "../owned.ts";

/** A handler of a host with this many domains. */
async function handlerOf(domains: number, options: HandlerOptions = { allowAnyone: true }): Promise<VirstreamHandler> {
  const connection = own(await connect(`test:///default?domains=${domains}&host=hv${domains}`));
  return own(createHandler(connection, options));
}

/** Lets a server listen; gives its port. */
async function listen(server: Server): Promise<number> {
  await once(server.listen(0, "127.0.0.1"), "listening");
  owned.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** How many domains a client sees at a URL. */
async function domainsAt(url: string, token?: string): Promise<number> {
  await using connection = await connect(url, token === undefined ? {} : { token });
  return (await connection.getAllDomainStats()).length;
}

/** What plain HTTP answers at a URL. */
async function answerOf(url: string): Promise<[status: number, text: string]> {
  const response = await fetch(url);
  return [response.status, await response.text()];
}

describe("a handler in an HTTP server of the application", () => {
  it("serves one of several connections below its prefix, and leaves the other paths to the application", async () => {
    const [one, two] = [
      await handlerOf(1, { allowAnyone: true, prefix: "/vm" }),
      await handlerOf(2, { token: "t", prefix: "/vm2" }),
    ];
    const application: RequestListener = (_, response) => void response.end("the application's own page");
    const sockets = new WebSocketServer({ noServer: true });
    sockets.on("connection", (socket) => socket.close(4000));
    const http = createServer((request, response) =>
      one.request(request, response, () => two.request(request, response, () => application(request, response))),
    );
    http.on("upgrade", (request, socket, head) =>
      one.upgrade(request, socket, head, () =>
        two.upgrade(request, socket, head, () => {
          sockets.handleUpgrade(request, socket, head, (webSocket) => sockets.emit("connection", webSocket));
        }),
      ),
    );
    const port = await listen(http);
    expect(await domainsAt(`ws://127.0.0.1:${port}/vm`)).toBe(1);
    expect(await domainsAt(`ws://127.0.0.1:${port}/vm/`)).toBe(1);
    expect(await domainsAt(`ws://127.0.0.1:${port}/vm2`, "t")).toBe(2);
    expect(await codeOf(domainsAt(`ws://127.0.0.1:${port}/vm2`))).toBe("unauthenticated");
    const [closed] = await once(new WebSocket(`ws://127.0.0.1:${port}/vm3`), "close");
    expect(closed).toBe(4000);
    const base = `http://127.0.0.1:${port}`;
    expect((await answerOf(`${base}/vm/healthz?x=1`))[1]).toContain('"status":"ok"');
    expect(JSON.parse((await answerOf(`${base}/vm/stats.json`))[1])).toMatchObject({ host: "hv1", clientsAccepted: 2 });
    expect((await answerOf(`${base}/vm2/stats.json`))[0]).toBe(401);
    expect((await answerOf(`${base}/vm`))[0]).toBe(426);
    for (const path of ["/", "/healthz", "/vmx/healthz", "/stats.json"]) {
      expect(await answerOf(base + path)).toEqual([200, "the application's own page"]);
    }
  });

  it("has its prefix in the URL of a server of its own", async () => {
    const connection = own(await connect("test:///default?domains=6"));
    const server = own(await serve(connection, { port: 0, prefix: "/vm" }));
    expect(server.url).toMatch(/:\d+\/vm$/);
    expect(await domainsAt(server.url)).toBe(6);
    expect((await answerOf(`${server.url.replace("ws:", "http:")}/readyz`))[0]).toBe(200);
    expect((await answerOf(`${new URL(server.url.replace("ws:", "http:")).origin}/readyz`))[0]).toBe(404);
  });

  it("answers 404 outside its prefix where the application passes it no other way", async () => {
    const handler = await handlerOf(1, { allowAnyone: true, prefix: "/vm" });
    const port = await listen(createServer(handler.request).on("upgrade", handler.upgrade));
    expect((await answerOf(`http://127.0.0.1:${port}/healthz`))[0]).toBe(404);
    expect(await codeOf(domainsAt(`ws://127.0.0.1:${port}/`))).toBe("connection-refused");
    expect(handler.stats().clientsAccepted).toBe(0);
  });

  it("has the same paths in Express, mounted at its prefix or not", async () => {
    const handler = await handlerOf(3, { allowAnyone: true, prefix: "/vm" });
    for (const mounted of [false, true]) {
      const app = express();
      if (mounted) app.use("/vm", handler.request);
      else app.use(handler.request);
      app.get("/page", (_, response) => void response.send("Express's own"));
      const port = await listen(createServer(app).on("upgrade", handler.upgrade));
      expect(await domainsAt(`ws://127.0.0.1:${port}/vm`)).toBe(3);
      expect((await answerOf(`http://127.0.0.1:${port}/vm/readyz`))[0]).toBe(200);
      expect(await answerOf(`http://127.0.0.1:${port}/page`)).toEqual([200, "Express's own"]);
    }
  });

  it("answers without a prefix below the path at which Express mounts it", async () => {
    const handler = await handlerOf(1);
    const app = express().use("/hosts/hv1", handler.request);
    const port = await listen(createServer(app).on("upgrade", handler.upgrade));
    expect((await answerOf(`http://127.0.0.1:${port}/hosts/hv1/healthz`))[0]).toBe(200);
    expect(await domainsAt(`ws://127.0.0.1:${port}/hosts/hv1`)).toBe(1);
  });

  it("serves in Fastify", async () => {
    const app = own(fastify());
    const handler = await handlerOf(4, { allowAnyone: true, prefix: "/vm", log: app.log });
    app.all("/vm/*", (request, reply) => {
      reply.hijack();
      handler.request(request.raw, reply.raw);
    });
    app.addHook("preClose", () => handler.close());
    app.get("/page", async () => "Fastify's own");
    app.server.on("upgrade", handler.upgrade);
    const url = await app.listen({ port: 0, host: "127.0.0.1" });
    expect(await domainsAt(`${url.replace("http:", "ws:")}/vm`)).toBe(4);
    expect((await answerOf(`${url}/vm/healthz`))[1]).toContain('"status":"ok"');
    expect(await answerOf(`${url}/page`)).toEqual([200, "Fastify's own"]);
  });

  it("ends its own clients when it closes, and refuses later ones; the rest of the server continues", async () => {
    const [one, two] = [
      await handlerOf(1, { allowAnyone: true, prefix: "/1" }),
      await handlerOf(2, { allowAnyone: true, prefix: "/2" }),
    ];
    const http = createServer((request, response) =>
      one.request(request, response, () => two.request(request, response)),
    );
    http.on("upgrade", (request, socket, head) =>
      one.upgrade(request, socket, head, () => two.upgrade(request, socket, head)),
    );
    const port = await listen(http);
    const sockets = ["/1", "/2"].map((path) => new WebSocket(`ws://127.0.0.1:${port}${path}`, SUBPROTOCOLS[1]));
    owned.push(() => sockets[1]!.terminate());
    await Promise.all(sockets.map((socket) => once(socket, "open")));
    for (const socket of sockets) socket.send('{"type":"hello"}');
    await Promise.all(sockets.map((socket) => once(socket, "message")));
    const closed = once(sockets[0]!, "close");
    await Promise.all([one.close(), one.close()]);
    expect((await closed)[0]).toBe(CLOSE_CODES["going-away"]);
    expect([one.clients, two.clients]).toEqual([0, 1]);
    expect(await codeOf(domainsAt(`ws://127.0.0.1:${port}/1`))).toBe("server-shutdown");
    expect((await answerOf(`http://127.0.0.1:${port}/1/readyz`))[0]).toBe(503);
    expect(await domainsAt(`ws://127.0.0.1:${port}/2`)).toBe(2);
  });

  it("bounds the clients that say no hello, from their upgrade request on, and no other socket of the server", async () => {
    const handler = await handlerOf(1, { allowAnyone: true, limits: { waiting: 3, helloTimeoutMs: 600_000 } });
    const http = createServer((_, response) => void response.writeHead(200).flushHeaders());
    const port = await listen(http.on("upgrade", handler.upgrade));
    // A response of the application that does not end.
    const stream = await fetch(`http://127.0.0.1:${port}/`);
    const silent = Array.from({ length: 10 }, () => new WebSocket(`ws://127.0.0.1:${port}`, SUBPROTOCOLS[0]));
    let closed = 0;
    for (const socket of silent) socket.on("error", () => {}).on("close", () => closed++);
    await expect.poll(() => closed, { timeout: 20_000 }).toBe(7);
    expect(await domainsAt(`ws://127.0.0.1:${port}`)).toBe(1);
    await handler.close();
    await expect.poll(() => closed, { timeout: 20_000 }).toBe(10);
    const reader = stream.body!.getReader();
    const pending = reader.read();
    expect(await Promise.race([pending, new Promise((resolve) => setImmediate(resolve, "open"))])).toBe("open");
    await reader.cancel();
  });

  it.each<[complaint: RegExp, options: object]>([
    [/set authenticate, a token or viewers, or allowAnyone/, {}],
    [/set authenticate, a token or viewers, or allowAnyone/, { allowAnyone: false, prefix: "/vm" }],
    [/has no member "port"/, { token: "t", port: 1 }],
    [/the token is empty/, { token: "" }],
    [/authenticate does not go with token and viewers/, { token: "t", authenticate: () => undefined }],
    [/authenticate must be a function/, { authenticate: "t" }],
    [/prefix must be a path such as \/vm/, { token: "t", prefix: "vm" }],
    [/prefix must be a path such as \/vm/, { token: "t", prefix: "/vm/" }],
    [/prefix must be a path such as \/vm/, { token: "t", prefix: "/vm?x" }],
    [/prefix must be a path such as \/vm/, { token: "t", prefix: 5 }],
    [/clients must be a whole number/, { token: "t", limits: { clients: 0 } }],
  ])("is refused when it is set up wrongly: %s", async (message, options) => {
    await expect(handlerOf(1, options as HandlerOptions)).rejects.toMatchObject({
      code: "invalid-argument",
      message: expect.stringMatching(message),
    });
  });
});

describeWith(["openssl"], "a handler in an HTTPS server of the application", () => {
  it("serves at a wss: address", async () => {
    const folder = mkdtempSync(join(tmpdir(), "virstream-embedded-"));
    owned.push(() => rmSync(folder, { recursive: true }));
    const authority = await Authority.create(folder, "lab");
    const { certificate, key } = await authority.issue({ name: "good", hosts: ["DNS:localhost"] });
    const handler = await handlerOf(5, { token: "t", prefix: "/vm" });
    const https = createTlsServer({ cert: readFileSync(certificate), key: readFileSync(key) }, handler.request);
    const port = await listen(https.on("upgrade", handler.upgrade) as Server);
    const ca = readFileSync(authority.certificate, "utf8");
    await using connection = await connect(`wss://localhost:${port}/vm`, { ca, token: "t" });
    expect(await connection.getAllDomainStats()).toHaveLength(5);
  });
});
