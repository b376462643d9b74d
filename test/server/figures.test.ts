import { describe, expect, it } from "vitest";
import { EventLoopDelay } from "../../src/server/server-metrics.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { TickingHost } from "./ticking-host.ts";
import { WatchClient } from "./watch-client.ts";

describe("a server's figures", () => {
  it("are what its clients know: connections, watches, channels, messages and bytes", async () => {
    const host = new TickingHost(5, 500);
    owned.push(() => host.close());
    const server = await host.serve();
    const clients: WatchClient[] = [];
    for (let i = 0; i < 3; i++) {
      const client = await WatchClient.connect(server);
      owned.push(() => client.socket.terminate());
      clients.push(client);
    }
    const watches = clients.map((client) => client.watch(1));
    const other = clients[0]!.watch(2, { intervalMs: 2_000 });
    for (const client of clients) await client.settled();
    await host.tick(4);
    await until(() => watches.every(({ ticks }) => ticks.length === 4) && other.ticks.length === 2);
    await clients[2]!.close();
    await until(() => server.clients === 2);
    expect(server.stats()).toMatchObject({
      host: "script",
      hypervisor: "scripted",
      epoch: clients[0]!.epoch,
      clients: 2,
      clientsAccepted: 3,
      sweepsServed: 0,
      watches: 3,
      channels: 2,
      messagesSent: clients.reduce((sum, { messages }) => sum + messages.length, 0),
      bytesSent: clients.reduce((sum, { bytes }) => sum + bytes, 0),
      sampling: {
        samplers: 1,
        feeds: 2,
        subscribers: 2,
        sweeps: 4,
        sweepsFailed: 0,
        sweepsStopped: 0,
        sweepsInFlight: 0,
        sweepsOverrun: 0,
        ticksConflated: 0,
        records: { ok: 20, partial: 0, failed: 0, gone: 0 },
      },
    });
  });

  it("count single sweeps beside watches", async () => {
    const host = new TickingHost();
    owned.push(() => host.close());
    const server = await host.serve();
    const client = await WatchClient.connect(server);
    owned.push(() => client.socket.terminate());
    let stalled = 0;
    host.stall = () => stalled++;
    client.watch(1);
    client.send({ type: "get", id: 2, credit: 1_000 });
    await client.settled();
    expect(stalled).toBe(1);
    expect(server.stats()).toMatchObject({ sweepsServed: 1, watches: 1, sampling: { sweepsInFlight: 1 } });
    client.send({ type: "cancel", id: 2 });
    await until(() => server.stats().sweepsServed === 0);
    expect(server.stats().sampling).toMatchObject({ sweepsInFlight: 0, sweepsStopped: 1 });
  });

  it("are shown to everybody as health without names, and to those with the token, if there is one, in full", async () => {
    const host = new TickingHost();
    owned.push(() => host.close());
    const server = await host.serve({ token: "a secret" });
    const base = server.url.replace("ws:", "http:");
    const get = (path: string, headers: Record<string, string> = {}) => fetch(`${base}${path}`, { headers });
    const health = await get("/healthz");
    expect([health.status, await health.json()]).toEqual([
      200,
      { status: "ok", clients: 0, watches: 0, sourcesAbsent: 0 },
    ]);
    expect((await get("/stats.json")).status).toBe(401);
    expect((await get("/stats.json", { authorization: "Bearer a guess" })).status).toBe(401);
    const stats = await get("/stats.json", { authorization: "Bearer a secret" });
    const { uptimeSeconds, eventLoopDelayMs, memoryBytes, ...rest } = server.stats();
    expect([stats.status, await stats.json()]).toEqual([200, expect.objectContaining(rest)]);
    expect(uptimeSeconds).toBeGreaterThan(0);
    expect(Object.keys(eventLoopDelayMs)).toEqual(["mean", "p99", "max"]);
    expect(memoryBytes.rss).toBeGreaterThan(memoryBytes.heapUsed);
  });

  it("are shown to everybody when there is no token", async () => {
    const host = new TickingHost();
    owned.push(() => host.close());
    const server = await host.serve();
    const stats = await fetch(`${server.url.replace("ws:", "http:")}/stats.json`);
    expect([stats.status, stats.headers.get("cache-control")]).toEqual([200, "no-store"]);
    expect(await stats.json()).toMatchObject({ epoch: server.stats().epoch, channels: 0 });
  });
});

describe("the delay of the event loop", () => {
  it("is reported to all clients that ask, and forgotten after two rotations", async () => {
    const delay = new EventLoopDelay();
    owned.push(() => delay.close());
    const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    await wait(20);
    const busyUntil = performance.now() + 400;
    while (performance.now() < busyUntil);
    await until(() => delay.figures.max >= 300);
    expect(delay.figures.max).toBeGreaterThanOrEqual(300);
    delay.rotate();
    expect(delay.figures.max).toBeGreaterThanOrEqual(300);
    delay.rotate();
    expect(delay.figures).toEqual({ mean: 0, p99: 0, max: 0 });
  });
});
