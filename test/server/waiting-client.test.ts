import { once } from "node:events";
import { request } from "node:http";
import { connect as connectSocket, type Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { WebSocket } from "ws";
import type { VirstreamServer } from "../../src/server/server.ts";
import { CLOSE_CODES, LIMITS, SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { start } from "../cli/run.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";
import {
  closeOf,
  connectTo,
  HELLO,
  httpServerOf,
  plenty,
  rawClient,
  socketsOf,
  startServer,
  stuck,
} from "./serving.ts";

/** A socket to a server, which stays open until the other end destroys it. */
function socketTo(server: { readonly url: string }): Socket {
  const port = Number(new URL(server.url).port);
  const socket = connectSocket({ port, host: "127.0.0.1", allowHalfOpen: true });
  owned.push(() => socket.destroy());
  return socket.on("error", () => {}).resume();
}

const upgrade = (header: string) =>
  `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n${header}\r\n\r\n`;

const REFUSED = ["Origin: https://evil.example", "Sec-WebSocket-Protocol: graphql-ws", "Authorization: Bearer guess"];

async function untilSockets(server: VirstreamServer, count: number): Promise<void> {
  const http = await httpServerOf(server);
  http.closeIdleConnections();
  while ((await socketsOf(http)) > count) await turn();
}

describe("a client that was refused and keeps its socket open", () => {
  it("loses its socket soon after it has its answer", async () => {
    const server = await startServer(stuck(), { token: "secret" });
    for (const header of REFUSED) {
      const socket = socketTo(server);
      socket.write(upgrade(header));
      await once(socket, "end");
    }
    await untilSockets(server, 0);
  });

  it("does not delay the server's close()", async () => {
    const server = await startServer(stuck(), { token: "secret" });
    for (const header of REFUSED) {
      const socket = socketTo(server);
      socket.write(upgrade(header));
      await once(socket, "end");
    }
    await server.close();
  });

  it("does not hold up the end of `virstream serve`", async () => {
    const program = start(["serve", "test:///default", "--listen", "127.0.0.1:0"]);
    owned.push(() => program.kill("SIGKILL"));
    const [url] = (await once(program.stdout.setEncoding("utf8"), "data")) as [string];
    const socket = socketTo({ url: url.trim() });
    socket.write(upgrade(REFUSED[0]!));
    await once(socket, "end");
    program.kill("SIGTERM");
    await once(program, "close");
  });

  it("loses its socket too when it does not answer the server's close", async () => {
    const server = await startServer(stuck(), { limits: { helloTimeoutMs: 50 } });
    const { socket } = await rawClient(server);
    socket.pause();
    await untilSockets(server, 0);
  });
});

describe("what a client sends before it is greeted", () => {
  const fragments = (socket: WebSocket, count: number, text: string) => {
    for (let i = 0; i < count; i++) socket.send(text, { fin: false });
  };

  it("is one message of a bounded size, whole or in parts, and of few parts", async () => {
    const server = await startServer(stuck());
    const many = await rawClient(server);
    fragments(many.socket, 200, "x");
    expect((await closeOf(many))[0]).toBe(1008);
    const large = await rawClient(server);
    fragments(large.socket, 20, "x".repeat(1_000));
    expect(await closeOf(large)).toEqual([
      CLOSE_CODES["bad-message"],
      expect.stringMatching(/first message is too long/),
    ]);
  });

  it("is bounded however slowly its bytes come", async () => {
    const server = await startServer(stuck());
    const socket = socketTo(server).setNoDelay();
    socket.write(upgrade(`Sec-WebSocket-Protocol: ${SUBPROTOCOLS[0]}`));
    await once(socket, "data");
    // One frame, whose length is 65,535 bytes.
    socket.write(Buffer.from([0x81, 0xfe, 0xff, 0xff, 0, 0, 0, 0]));
    let sent = 0;
    let refused = false;
    socket.once("data", () => {
      refused = true;
    });
    for (; !refused && sent < 2 * LIMITS.hello; sent++) {
      socket.write("x");
      await turn();
    }
    await untilSockets(server, 0);
    expect(sent).toBeLessThan(2 * LIMITS.hello);
  });

  it("may be followed at once by requests of any allowed size", async () => {
    const driver = stuck();
    const { socket } = await rawClient(await startServer(driver));
    socket.send(HELLO);
    const domains = Array.from({ length: LIMITS.selectors }, (_, i) => ({ name: `a domain with the number ${i}` }));
    socket.send(JSON.stringify({ type: "get", id: 1, domains }));
    await until(() => driver.queries.length === 1);
    expect(driver.queries[0]!.domains).toHaveLength(LIMITS.selectors);
  });
});

describe("clients that connect and say nothing", () => {
  it("keep out no client that says hello, and hold no more than a bounded number of sockets", async () => {
    const server = await startServer(plenty(1), { token: "secret", limits: { clients: 1, waiting: 5 } });
    for (let i = 0; i < 10; i++) await once(socketTo(server), "connect");
    for (let i = 0; i < 10; i++) await rawClient(server);
    const connection = await connectTo(server.url, { token: "secret" });
    for (let i = 0; i < 10; i++) await rawClient(server);
    expect(await connection.getAllDomainStats()).toHaveLength(1);
    expect(server.clients).toBe(1);
    expect(await socketsOf(await httpServerOf(server))).toBeLessThanOrEqual(6);
  });

  it("lose their sockets, whether or not they have sent a request", async () => {
    const server = await startServer(stuck(), { limits: { helloTimeoutMs: 50 } });
    await once(socketTo(server), "connect");
    socketTo(server).write("GET / HTTP/1.1\r\n");
    socketTo(server).write(upgrade(`Sec-WebSocket-Protocol: ${SUBPROTOCOLS[0]}`));
    await untilSockets(server, 0);
  });
});

describe("a request for /stats.json", () => {
  const statusOf = async (server: VirstreamServer, host: string, headers: Record<string, string> = {}) => {
    const { port } = new URL(server.url);
    const sent = request({ port, host: "127.0.0.1", path: "/stats.json", headers: { host, ...headers } }).end();
    const [response] = await once(sent, "response");
    response.resume();
    return response.statusCode;
  };

  it("without a token needs a Host that no page can make resolve to this machine", async () => {
    const server = await startServer(stuck(), { origins: ["https://dashboard.example:8443"] });
    const { port } = new URL(server.url);
    for (const host of [
      "evil.example",
      `evil.example:${port}`,
      "127.0.0.1.evil.example",
      "localhost.evil.example",
      "a b",
    ]) {
      expect([host, await statusOf(server, host)]).toEqual([host, 403]);
    }
    for (const host of [`127.0.0.1:${port}`, "localhost", `[::1]:${port}`, "192.0.2.1", "dashboard.example"]) {
      expect([host, await statusOf(server, host)]).toEqual([host, 200]);
    }
  });

  it("with the token may come through any name", async () => {
    const server = own(await startServer(stuck(), { token: "secret" }));
    expect(await statusOf(server, "hv1.example", { authorization: "Bearer secret" })).toBe(200);
  });
});
