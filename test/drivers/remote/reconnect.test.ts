import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Connection } from "../../../src/client/connection.ts";
import type { OpenOptions } from "../../../src/driver/driver.ts";
import { type RemoteDriver, remoteDriver } from "../../../src/drivers/remote/driver.ts";
import { openNodeWatch, openRemote } from "../../../src/drivers/remote/node-driver.ts";
import { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import type { VirstreamError } from "../../../src/model/error.ts";
import { checkQuery } from "../../../src/model/query.ts";
import { checkCadence, type WatchEvent } from "../../../src/model/watch.ts";
import type { ServerLimits } from "../../../src/server/limits.ts";
import { serve, type VirstreamServer } from "../../../src/server/server.ts";
import { codeOf } from "../../code-of.ts";
import { TcpProxy } from "../../lab/tcp-proxy.ts";
import { owned } from "../../owned.ts";
import { CollectingSink } from "../../sampling/collecting-sink.ts";
import { uncaughtDuring } from "../../uncaught.ts";
import { until } from "../../until.ts";

const open = openRemote;
/** A server of simulated domains on a port, by default a free one. */
async function startServer(uri: string, limits: Partial<ServerLimits> = {}, port = 0): Promise<VirstreamServer> {
  const connection = new Connection(new SimulatedDriver(uri));
  const server = await serve(connection, { port, limits: { minIntervalMs: 10, ...limits } });
  owned.push(async () => {
    await server.close();
    await connection.close();
  });
  return server;
}

const portOf = (server: VirstreamServer): number => Number(new URL(server.url).port);

/** A server, a way to it that can break, and a connection over that. */
async function setUp(uri = "test:///default?domains=5", limits?: Partial<ServerLimits>, options: OpenOptions = {}) {
  const server = await startServer(uri, limits);
  const proxy = await TcpProxy.start(portOf(server));
  owned.push(() => proxy[Symbol.asyncDispose]());
  const driver = await open(proxy.url, options);
  const connection = new Connection(driver);
  owned.push(() => connection.close());
  return { server, proxy, driver, connection };
}

/** Resolves when the driver is told of a loss, or of a connection. */
function told(driver: RemoteDriver, connected: boolean): Promise<void> {
  return new Promise((resolve) => {
    const unlisten = driver.onStatus(({ state }) => {
      if ((state === "connected") !== connected) return;
      unlisten();
      resolve();
    });
  });
}

/** A watch of a driver's, and what it has told so far. */
class Watching {
  readonly events: WatchEvent[];
  readonly end: Promise<string>;
  readonly stop: () => void;

  constructor(driver: RemoteDriver) {
    let ended: (code: string) => void;
    this.end = new Promise((resolve) => {
      ended = resolve;
    });
    const sink = Object.assign(new CollectingSink(), { end: ({ code }: VirstreamError) => ended(code) });
    this.events = sink.events;
    this.stop = driver.watch(checkQuery({ groups: ["cpu-total"] }), checkCadence({ intervalMs: 20 }), sink);
  }

  /** The ticks that it has told. */
  get ticks(): number[] {
    return this.events.flatMap((event) => (event.type === "sync" ? [event.tick] : []));
  }

  /** The domains that are there, by their uuids. */
  get domains(): Set<string> {
    const domains = new Set<string>();
    for (const event of this.events) {
      if (event.type === "record") domains.add(event.record.domain.uuid);
      else if (event.type === "gone") domains.delete(event.domain.uuid);
    }
    return domains;
  }

  /** Waits for so many ticks more. */
  async more(ticks: number): Promise<void> {
    const wanted = this.ticks.length + ticks;
    await until(() => this.ticks.length >= wanted);
  }

  ofType<T extends WatchEvent["type"]>(type: T): Extract<WatchEvent, { type: T }>[] {
    return this.events.filter((event): event is Extract<WatchEvent, { type: T }> => event.type === type);
  }
}

describe("A remote driver whose way to the server is cut", () => {
  it("ends sweeps under way with connection-lost, and serves the next ones over a new connection", async () => {
    const { proxy, driver, connection } = await setUp("test:///default?domains=5&freeze=3");
    const before = await connection.listDomains();
    const sweep = connection.stats({ deadlineMs: 60_000 })[Symbol.asyncIterator]();
    for (let i = 0; i < 4; i++) await sweep.next();
    const lost = told(driver, false);
    const cut = codeOf(sweep.next());
    proxy.cut();
    expect(await cut).toBe("connection-lost");
    await lost;
    const waiting = connection.domainListGetStats(before.slice(0, 2), { groups: ["state"], deadlineMs: 30_000 });
    proxy.restore();
    expect((await waiting).map(({ status, domain }) => [status, domain.uuid]).sort()).toEqual(
      before
        .slice(0, 2)
        .map(({ uuid }) => ["ok", uuid])
        .sort(),
    );
    expect(proxy.connections).toBeGreaterThan(1);
  });

  it("fails a sweep whose deadline is over before there is a connection", async () => {
    const { proxy, driver, connection } = await setUp();
    const lost = told(driver, false);
    proxy.cut();
    await lost;
    await expect(connection.getAllDomainStats({ deadlineMs: 50 })).rejects.toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringMatching(/cannot be reached/),
      cause: { code: "connection-lost" },
    });
  });

  it("ends a sweep that waits when it is closed, and leaves nothing behind", async () => {
    const { proxy, driver, connection } = await setUp();
    const lost = told(driver, false);
    proxy.cut();
    await lost;
    const waiting = codeOf(connection.getAllDomainStats({ deadlineMs: 60_000 }));
    await turn();
    await connection.close();
    expect(await waiting).toBe("connection-closed");
    const { connections } = proxy;
    proxy.restore();
    for (let i = 0; i < 50; i++) await turn();
    expect(proxy.connections).toBe(connections);
  });

  it("connects to a server that was started again, and has the domains of the new one", async () => {
    const { server, driver, connection } = await setUp();
    const port = portOf(server);
    const lost = told(driver, false);
    await server.close();
    await lost;
    const connected = told(driver, true);
    await startServer("test:///default?domains=7", {}, port);
    await connected;
    expect(await connection.getAllDomainStats()).toHaveLength(7);
  });

  it("gives up a connection on which nothing arrives any more, and connects again when the network is restored", async () => {
    const { proxy, driver, connection } = await setUp(undefined, { beatMs: 200 }, { connectTimeoutMs: 2_000 });
    const lost = told(driver, false);
    proxy.swallow();
    await lost;
    const connected = told(driver, true);
    proxy.restore();
    await connected;
    expect(await connection.getAllDomainStats()).toHaveLength(5);
  });

  it("connects again whatever its listeners throw, and calls them all", async () => {
    const { proxy, driver, connection } = await setUp();
    const faults: Error[] = [];
    driver.onStatus(({ state }) => {
      faults.push(new Error(`a fault in a listener of ${state}`));
      throw faults.at(-1);
    });
    const uncaught = await uncaughtDuring(async () => {
      const lost = told(driver, false);
      proxy.cut();
      await lost;
      const connected = told(driver, true);
      proxy.restore();
      await connected;
      expect(driver.absent).toEqual([]);
      expect(await connection.getAllDomainStats()).toHaveLength(5);
    });
    expect(faults).toHaveLength(2);
    expect(uncaught).toEqual(faults);
    expect((await uncaughtDuring(() => connection.close())).length).toBe(1);
  });

  it("lives on behind a slow way", async () => {
    const { proxy, connection } = await setUp();
    proxy.delay(30);
    expect(await connection.getAllDomainStats()).toHaveLength(5);
    proxy.delay(0);
    expect(await connection.getAllDomainStats()).toHaveLength(5);
  });

  it("does not try again at a server that wants another token since", async () => {
    const { server, driver, connection } = await setUp();
    const port = portOf(server);
    const lost = told(driver, false);
    await server.close();
    await lost;
    const stricter = new Connection(new SimulatedDriver("test:///default"));
    const other = await serve(stricter, { port, token: "a secret" });
    owned.push(async () => {
      await other.close();
      await stricter.close();
    });
    expect(await codeOf(connection.getAllDomainStats({ deadlineMs: 30_000 }))).toBe("unauthenticated");
    expect(await codeOf(connection.getAllDomainStats({ deadlineMs: 30_000 }))).toBe("unauthenticated");
    expect(await new Watching(driver).end).toBe("unauthenticated");
  });
});

describe("A watch over a way that breaks", () => {
  it("tells every tick once, or how many were skipped, through cuts", async () => {
    const { server, proxy, driver } = await setUp("test:///default?domains=20");
    // Somebody else watches the same, over a good way: the channel goes on however long an outage lasts.
    const neighbour = await open(server.url, {});
    owned.push(() => neighbour.close());
    const other = new Watching(neighbour);
    await other.more(1);
    const watch = new Watching(driver);
    await watch.more(3);
    for (let i = 0; i < 4; i++) {
      const connected = told(driver, true);
      proxy.cut();
      proxy.restore();
      await connected;
      await watch.more(3);
    }
    let last = watch.ticks[0]! - 1;
    let skipped = 0;
    for (const event of watch.events) {
      if (event.type === "gap") {
        expect(event.reason).toBe("reconnected");
        skipped += event.skipped!;
      }
      if (event.type !== "sync") continue;
      expect(event.tick).toBe(last + skipped + 1);
      last = event.tick;
      skipped = 0;
    }
    const states = watch.ofType("status").map(({ state }) => state);
    expect(states).toEqual(Array.from({ length: 4 }, () => ["reconnecting", "connected"]).flat());
    const end = Math.min(last, other.ticks.at(-1)!);
    expect(other.ticks).toEqual(Array.from(other.ticks, (_, i) => other.ticks[0]! + i));
    expect(watch.ticks.filter((tick) => tick <= end).every((tick) => other.ticks.includes(tick))).toBe(true);
    for (const each of [watch, other]) {
      each.stop();
    }
  });

  it("continues at a server that was started again, with a gap of an unknown number", async () => {
    const { server, driver } = await setUp("test:///default?domains=20");
    const watch = new Watching(driver);
    await watch.more(3);
    const port = portOf(server);
    await server.close();
    await startServer("test:///default?domains=10", {}, port);
    await until(() => watch.ofType("gap").length > 0);
    await watch.more(2);
    expect(watch.ofType("gap")).toEqual([{ type: "gap", reason: "reconnected", skipped: undefined, host: undefined }]);
    expect(watch.domains.size).toBe(10);
    const after = watch.events.slice(watch.events.findIndex(({ type }) => type === "gap"));
    const ticks = after.flatMap((event) => (event.type === "sync" ? [event.tick] : []));
    expect(ticks).toEqual(Array.from(ticks, (_, i) => ticks[0]! + i));
    watch.stop();
  });

  it("is stopped in the middle of an outage, and is not at the server afterwards", async () => {
    const { server, proxy, driver, connection } = await setUp(undefined);
    const watch = new Watching(driver);
    await watch.more(1);
    const lost = told(driver, false);
    proxy.cut();
    await lost;
    watch.stop();
    proxy.restore();
    expect(await connection.getAllDomainStats({ deadlineMs: 30_000 })).toHaveLength(5);
    expect(server.sweeps).toBe(0);
  });
});

describe("a platform that does not let a socket be opened", () => {
  it("fails the connection at once, with what it said, and leaves nothing behind", async () => {
    const openSocket = (): never => {
      throw new Error("an insecure connection may not be initiated from a secure page");
    };
    const refusing = remoteDriver({ openSocket, openWatch: openNodeWatch });
    const opened = refusing("ws://127.0.0.1:1", {});
    await expect(opened).rejects.toMatchObject({
      code: "denied",
      retryable: false,
      message: expect.stringMatching(/secure page$/),
    });
  });
});
