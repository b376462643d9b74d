import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import type { Server as HttpServer } from "node:http";
import { type AddressInfo, connect as connectSocket, createServer, type Server, type Socket } from "node:net";
import { WebSocket } from "ws";
import { Connection } from "../../src/client/connection.ts";
import type { OpenOptions } from "../../src/driver/driver.ts";
import { openRemote } from "../../src/drivers/remote/node-driver.ts";
import { TypedParams } from "../../src/model/params.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/server.ts";
import { SUBPROTOCOLS } from "../../src/wire/protocol.ts";
import { own, owned } from "../owned.ts";
import { distinctText } from "./distinct-text.ts";
import { aborted, ScriptedDriver } from "./scripted-driver.ts";

/** Servers of scripted drivers, and clients of them. What a test opens here is closed after it. */

export const open = openRemote;
export async function startServer(driver: ScriptedDriver, options: ServeOptions = {}): Promise<VirstreamServer> {
  return own(await serve(new Connection(driver), { port: 0, ...options }));
}

export async function connectTo(url: string, options: OpenOptions = {}): Promise<Connection> {
  return own(new Connection(await open(url, options)));
}

/** A client that says what a test wants, and hears what comes. */
export async function rawClient(server: VirstreamServer, protocols: string | string[] = SUBPROTOCOLS[0]) {
  const socket = new WebSocket(server.url, protocols);
  owned.push(() => socket.terminate());
  const closed = once(socket, "close") as Promise<[code: number, reason: Buffer]>;
  await once(socket, "open");
  return { socket, closed };
}

export async function closeOf(client: { closed: Promise<[number, Buffer]> }): Promise<[code: number, reason: string]> {
  const [code, reason] = await client.closed;
  return [code, reason.toString()];
}

/** What listens below a server: Node says it with each request. */
export async function httpServerOf(server: VirstreamServer): Promise<HttpServer> {
  let http: HttpServer | undefined;
  const onRequest = (message: unknown): void => {
    http = (message as { server: HttpServer }).server;
  };
  subscribe("http.server.request.start", onRequest);
  await fetch(`${server.url.replace("ws:", "http:")}/healthz`);
  unsubscribe("http.server.request.start", onRequest);
  return http!;
}

/** How many sockets a server has open. */
export async function socketsOf(http: HttpServer): Promise<number> {
  return await new Promise((resolve, reject) =>
    http.getConnections((error, n) => (error ? reject(error) : resolve(n))),
  );
}

export const HELLO = JSON.stringify({ type: "hello" });
/** A kilobyte that no other record has: what all rows share is sent once. */
export const kilobyte = (i: number) => TypedParams.from([["block.0.path", "string", distinctText(i, 1_000)]]);

/** Yields `count` records, one a chunk, as fast as it is pulled. */
export function plenty(count: number): ScriptedDriver {
  return new ScriptedDriver(async function* (driver, context) {
    context.expect(count);
    for (let i = 0; i < count && !context.signal.aborted; i++) yield [driver.record(i, kilobyte(i))];
  });
}

/** Yields one record and then nothing until it is stopped. */
export function stuck(): ScriptedDriver {
  return new ScriptedDriver(async function* (driver, context) {
    yield [driver.record(0)];
    await aborted(context.signal);
  });
}

/** A TCP server that does with each connection what a test says. */
export async function plainServer(handle: (socket: Socket) => void): Promise<{ port: number; sockets: Set<Socket> }> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    handle(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  owned.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, sockets };
}

/** A way to a port that can break, and that can swallow everything without a word. */
export async function proxyTo(port: number): Promise<{ port: number; sockets: Set<Socket>; swallow: () => void }> {
  const upstreams = new Set<Socket>();
  const server = await plainServer((socket) => {
    const upstream = connectSocket(port, "127.0.0.1");
    upstreams.add(upstream);
    upstream.on("error", () => {});
    socket.pipe(upstream).pipe(socket);
    socket.on("close", () => upstream.destroy());
  });
  const swallow = (): void => {
    for (const socket of [...server.sockets, ...upstreams]) socket.unpipe().resume();
  };
  return { ...server, swallow };
}
