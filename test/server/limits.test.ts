import { once } from "node:events";
import { connect as connectSocket, type Socket } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import type { Feed } from "../../src/sampling/feed.ts";
import { ClientAddresses } from "../../src/server/bounds/client-address.ts";
import { sharedBounds } from "../../src/server/bounds/shared-bounds.ts";
import { SharedMemory } from "../../src/server/bounds/shared-memory.ts";
import { SweepPace, WHOLE_LOAD } from "../../src/server/bounds/sweep-pace.ts";
import { ChannelRing } from "../../src/server/channel-ring.ts";
import { DEFAULT_SERVER_LIMITS, type ServerLimits } from "../../src/server/limits.ts";
import { markOf, Outbound } from "../../src/server/outbound.ts";
import type { ServeOptions, VirstreamServer } from "../../src/server/server.ts";
import { Snapshots } from "../../src/server/snapshot.ts";
import { codeOf } from "../code-of.ts";
import { own, owned } from "../owned.ts";
import { until } from "../until.ts";
import { JsonClient } from "./json-client.ts";
import { connectTo, startServer, stuck } from "./serving.ts";

/** What one more unit of a limit gets: nothing, if it is served, or the code of an error. */
type Use = (server: VirstreamServer, i: number) => Promise<string | undefined>;

/** A limit that counts what clients have at a time. */
interface Counted {
  readonly most: number;
  readonly options?: ServeOptions;
  readonly use: Use;
  /** How many units the clients have. */
  readonly held: (server: VirstreamServer) => number;
}

const clients = new WeakMap<VirstreamServer, JsonClient[]>();

/** The i-th client of a server. */
async function clientOf(server: VirstreamServer, i = 0): Promise<JsonClient> {
  const all = clients.get(server) ?? [];
  clients.set(server, all);
  if (all[i] === undefined) {
    const client = await JsonClient.connect(server);
    own({ close: () => client.socket.terminate() });
    all[i] = client;
  }
  return all[i];
}

/** Sends a request, and returns the error with which it ended already. */
async function ask(
  client: JsonClient,
  request: { readonly id: number; readonly [member: string]: unknown },
): Promise<string | undefined> {
  client.send({ intervalMs: 1_000, ...request });
  await client.settled();
  const end = client.ofType("end").find(({ id }) => id === request.id);
  return (end?.["error"] as { code: string } | undefined)?.code;
}

const named = (i: number) => Array.from({ length: 10 }, (_, each) => ({ name: `no-${i}-${each}` }));
const oneClient = (request: (i: number) => object): Use => {
  return async (server, i) => ask(await clientOf(server), { id: i + 1, ...request(i) });
};
const manyClients = (request: (i: number) => object): Use => {
  return async (server, i) => ask(await clientOf(server, i), { id: 1, ...request(i) });
};
const tokens: ServeOptions = { authenticate: (_, token) => ({ name: token!, domains: [token!] }) };
/** Loopback itself has no limits per address. */
const behindProxy: ServeOptions = { trustedProxies: ["127.0.0.1"] };
const from = (address: string) => ({ headers: { "x-forwarded-for": `198.51.100.9, ${address}` } });

const COUNTED = {
  clients: {
    most: 2,
    use: ({ url }) => codeIfAny(connectTo(url)),
    held: ({ clients }) => clients,
  },
  clientsPerAddress: {
    most: 2,
    options: behindProxy,
    use: ({ url }, i) => codeIfAny(connectTo(url, from(`2001:db8:1:2::${i}`))),
    held: ({ clients }) => clients,
  },
  views: {
    most: 2,
    options: tokens,
    use: ({ url }, i) => codeIfAny(connectTo(url, { token: `token-${i}` })),
    held: ({ clients }) => clients,
  },
  sweepsPerClient: { most: 3, use: oneClient(() => ({ type: "get" })), held: ({ sweeps }) => sweeps },
  sweeps: { most: 3, use: manyClients(() => ({ type: "get" })), held: ({ sweeps }) => sweeps },
  queriesPerClient: {
    most: 3,
    use: oneClient((i) => ({ type: "watch", deadlineMs: i + 1 })),
    held: ({ watches }) => watches,
  },
  queries: {
    most: 3,
    use: manyClients((i) => ({ type: "watch", deadlineMs: i + 1 })),
    held: ({ watches }) => watches,
  },
  channels: {
    most: 3,
    use: oneClient((i) => ({ type: "watch", intervalMs: 1_000 + i })),
    held: ({ watches }) => watches,
  },
  // Of ten domains each.
  selectorsPerClient: {
    most: 30,
    use: oneClient((i) => ({ type: "get", domains: named(i) })),
    held: ({ sweeps }) => 10 * sweeps,
  },
  selectors: {
    most: 30,
    use: manyClients((i) => ({ type: "get", domains: named(i) })),
    held: ({ sweeps }) => 10 * sweeps,
  },
} satisfies Partial<Record<keyof ServerLimits, Counted>>;

/** Limits that do not count what clients have at a time, each with its own test below or elsewhere. */
const OTHERS = {
  waiting: "connections that wait",
  waitingPerAddress: "connections that wait",
  requestsPerSecond: "requests per second",
  sweepsPerSecond: "sweeps per second",
  bufferedBytes: "bytes in flight",
  bufferedBytesInAll: "bytes in flight",
  ringBytes: "bytes of rings",
  snapshotRecords: "records of snapshots",
  minIntervalMs: "the shortest interval",
  helloTimeoutMs: "test/server/waiting-client.test.ts, test/server/paused-process.test.ts",
  progressTimeoutMs: "test/server/server.test.ts, test/server/slow-reader.test.ts, test/server/paused-process.test.ts",
  beatMs: "test/server/server.test.ts, test/drivers/remote/driver.test.ts",
} satisfies Partial<Record<keyof ServerLimits, string>>;

async function codeIfAny(work: Promise<unknown>): Promise<string | undefined> {
  return work.then(
    () => undefined,
    () => codeOf(work),
  );
}

const upgrade = (address: string) =>
  `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Forwarded-For: ${address}\r\n\r\n`;

/** A connection without a hello, of an address behind the proxy. */
async function waiting(server: VirstreamServer, address: string): Promise<Socket> {
  const socket = connectSocket({ port: Number(new URL(server.url).port), host: "127.0.0.1" }).on("error", () => {});
  owned.push(() => socket.destroy());
  socket.write(upgrade(address));
  await once(socket, "data");
  return socket.resume();
}

afterEach(() => vi.useRealTimers());

it("Every limit of a server has a test", () => {
  expect([...Object.keys(COUNTED), ...Object.keys(OTHERS)].sort()).toEqual(Object.keys(DEFAULT_SERVER_LIMITS).sort());
});

describe("The limit", () => {
  const rows = Object.entries<Counted>(COUNTED).map(([name, row]) => ({ name, ...row }));
  it.each(rows)("$name serves what is under it and at it, and refuses only what is over it", async (row) => {
    const { name, most, options, use, held } = row;
    const server = await startServer(stuck(), { ...options, limits: { [name]: most } });
    const unit = most >= 10 ? 10 : 1;
    for (let used = unit; used <= most; used += unit) {
      expect([used, await use(server, used / unit - 1)]).toEqual([used, undefined]);
    }
    expect(await use(server, most / unit)).toBe("limit-exceeded");
    expect(await use(server, most / unit + 1)).toBe("limit-exceeded");
    // All others have what they had.
    expect(held(server)).toBe(most);
  });

  it.each(rows)(
    "$name may change while the server serves: the next one gets the new limit, and nothing ends",
    async (row) => {
      const { name, most, options, use, held } = row;
      const server = await startServer(stuck(), options);
      const unit = most >= 10 ? 10 : 1;
      for (let i = 0; i < most / unit; i++) expect(await use(server, i)).toBe(undefined);
      server.limit({ [name]: most - unit });
      expect([await use(server, most / unit), held(server)]).toEqual(["limit-exceeded", most]);
      server.limit({ [name]: most + unit });
      expect([await use(server, most / unit + 1), held(server)]).toEqual([undefined, most + unit]);
      expect(await use(server, most / unit + 2)).toBe("limit-exceeded");
    },
  );

  it("of waiting connections, bytes, beats and intervals may change, too; that of the hello stays, and so do all if one is not valid", async () => {
    const limits = { beatMs: 4_000, helloTimeoutMs: 600_000 };
    const server = await startServer(stuck(), { ...behindProxy, limits });
    const first = await clientOf(server);
    server.limit({ beatMs: 50, minIntervalMs: 5_000, waiting: 2, helloTimeoutMs: 1 });
    expect(() => server.limit({ beatMs: 0 })).toThrow(/beatMs/);
    const second = await clientOf(server, 1);
    const saysOf = (client: JsonClient) =>
      client.ofType("welcome").map(({ beatMs, minIntervalMs }) => [beatMs, minIntervalMs]);
    expect([saysOf(first), saysOf(second)]).toEqual([[[4_000, 1_000]], [[50, 5_000]]]);
    await until(() => second.ofType("beat").length > 1);
    expect(await ask(first, { id: 1, type: "watch", intervalMs: 4_999 })).toBe("invalid-argument");
    expect(await ask(first, { id: 2, type: "watch", intervalMs: 5_000 })).toBe(undefined);
    const sockets = [await waiting(server, "192.0.2.1"), await waiting(server, "192.0.2.2")];
    sockets.push(await waiting(server, "192.0.2.3"));
    await until(() => sockets[0]!.destroyed);
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([true, false, false]);
    server.limit({ waiting: 1 });
    sockets.push(await waiting(server, "192.0.2.4"));
    await until(() => sockets[1]!.destroyed && sockets[2]!.destroyed);
    expect([sockets[3]!.destroyed, server.clients]).toEqual([false, 2]);

    let most = 1_000;
    const memory = new SharedMemory(() => most);
    const ring = new ChannelRing(memory);
    const push = (sequence: number) =>
      ring.push({ sequence, size: 300, messages: [], bytes: 300, schemas: [], tick: undefined });
    for (let i = 1; i <= 3; i++) push(i);
    most = 700;
    push(4);
    expect([memory.used, ring.get(2), ring.get(3)?.sequence]).toEqual([600, undefined, 3]);
  });
});

describe("Limits per address", () => {
  it("count addresses for themselves, those behind a trusted proxy by the last one that it names", async () => {
    const limits = { clientsPerAddress: 1 };
    const server = await startServer(stuck(), { ...behindProxy, limits });
    await connectTo(server.url, from("192.0.2.1"));
    expect(await codeOf(connectTo(server.url, from("192.0.2.1")))).toBe("limit-exceeded");
    await connectTo(server.url, from("192.0.2.2"));
    await connectTo(server.url, from("2001:db8:1:2::1"));
    await connectTo(server.url, from("2001:db8:1:3::1"));
    // A client's own invention before it counts for nothing.
    expect(await codeOf(connectTo(server.url, { headers: { "x-forwarded-for": "203.0.113.5, 192.0.2.1" } }))).toBe(
      "limit-exceeded",
    );
    expect(server.clients).toBe(4);
  });

  it("count no clients of this machine, and believe no header of a client that is no trusted proxy", async () => {
    const server = await startServer(stuck(), { limits: { clientsPerAddress: 1, waitingPerAddress: 1 } });
    for (let i = 0; i < 3; i++) await connectTo(server.url, from("192.0.2.1"));
    expect(server.clients).toBe(3);
  });

  it("count a client again when another one of its address has left", async () => {
    const server = await startServer(stuck(), { ...behindProxy, limits: { clientsPerAddress: 1 } });
    const first = await connectTo(server.url, from("192.0.2.1"));
    await first.close();
    await until(() => server.clients === 0);
    await connectTo(server.url, from("192.0.2.1"));
  });

  it.each<[string[], string | undefined, string | undefined, string | undefined]>([
    [[], "192.0.2.1", undefined, "192.0.2.1"],
    [[], "::ffff:192.0.2.1", undefined, "192.0.2.1"],
    [[], "2001:db8::1", undefined, "2001:db8:0:0::/64"],
    [[], "2001:db8:0:0:ffff::1", undefined, "2001:db8:0:0::/64"],
    [[], "fe80::1%eth0", undefined, "fe80:0:0:0::/64"],
    [[], "127.0.0.1", undefined, undefined],
    [[], "::ffff:127.0.0.1", undefined, undefined],
    [[], "::1", undefined, undefined],
    [[], undefined, undefined, undefined],
    [[], undefined, "192.0.2.1", undefined],
    [["unix"], undefined, "192.0.2.1", "192.0.2.1"],
    [["unix"], undefined, undefined, undefined],
    [["10.0.0.0/8"], "10.1.2.3", "192.0.2.1", "192.0.2.1"],
    [["10.0.0.0/8"], "::ffff:10.1.2.3", "192.0.2.1", "192.0.2.1"],
    [["10.0.0.0/8"], "10.1.2.3", "203.0.113.5, 192.0.2.1, 10.9.9.9", "192.0.2.1"],
    [["10.0.0.0/8"], "10.1.2.3", "192.0.2.1, not-an-address", undefined],
    [["10.0.0.0/8"], "10.1.2.3", undefined, undefined],
    [["10.0.0.0/8"], "11.1.2.3", "192.0.2.1", "11.1.2.3"],
    [["2001:db8::/32"], "2001:db8::5", "::ffff:192.0.2.1", "192.0.2.1"],
    [["192.0.2.7"], "192.0.2.7", "192.0.2.8", "192.0.2.8"],
    [["192.0.2.7"], "192.0.2.8", "192.0.2.9", "192.0.2.8"],
  ])("trusting %j, a peer at %s that names %s counts for %s", (proxies, remoteAddress, header, key) => {
    const headers = header === undefined ? {} : { "x-forwarded-for": header };
    expect(new ClientAddresses(proxies).limitKeyOf({ socket: { remoteAddress }, headers })).toBe(key);
  });

  it.each(["10.0.0.0/33", "::/129", "host.example", "10.0.0.0/8/8", "", "10.0.0.0/-1"])(
    "take no proxy %j",
    async (proxy) => {
      expect(await codeOf(startServer(stuck(), { trustedProxies: [proxy] }))).toBe("invalid-argument");
    },
  );
});

describe("Connections that wait for their hello", () => {
  it.each([
    ["waiting", (i: number) => `192.0.2.${i}`],
    ["waitingPerAddress", () => "192.0.2.1"],
  ] as const)("may be as many as %s, and one more replaces the oldest of them only", async (limit, addressOf) => {
    const limits = { [limit]: 3, helloTimeoutMs: 600_000 };
    const server = await startServer(stuck(), { ...behindProxy, limits });
    const sockets: Socket[] = [];
    const other = limit === "waitingPerAddress" ? [await waiting(server, "192.0.2.99")] : [];
    for (let i = 0; i < 3; i++) sockets.push(await waiting(server, addressOf(i)));
    expect(sockets.map(({ destroyed }) => destroyed)).toEqual([false, false, false]);
    sockets.push(await waiting(server, addressOf(3)));
    await until(() => sockets[0]!.destroyed);
    expect([...sockets, ...other].filter(({ destroyed }) => destroyed)).toEqual([sockets[0]]);
  });
});

/** Waits until a figure is this large, and checks that it is no larger when the server has answered a client after that. */
async function comesTo(count: number, figure: () => number, client: JsonClient): Promise<void> {
  await until(() => figure() >= count);
  await client.settled();
  expect(figure()).toBe(count);
}

describe("Requests per second of a connection", () => {
  it("are handled up to the limit at once, and one more for each share of a second; other clients do not wait", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const server = await startServer(stuck(), { limits: { requestsPerSecond: 5 } });
    const [other, client] = [await clientOf(server, 0), await clientOf(server, 1)];
    // Both have sent a hello and a ping.
    vi.advanceTimersByTime(1_000);
    for (let id = 1; id <= 8; id++) client.send({ type: "get", id, groups: -1 });
    const handled = (count: number) => comesTo(count, () => client.ofType("end").length, other);
    await handled(5);
    vi.advanceTimersByTime(199);
    await handled(5);
    vi.advanceTimersByTime(1);
    await handled(6);
    vi.advanceTimersByTime(1_000);
    await handled(8);
    // A connection that is open gets a changed limit, too.
    server.limit({ requestsPerSecond: 10 });
    vi.advanceTimersByTime(1_000);
    for (let id = 9; id <= 20; id++) client.send({ type: "get", id, groups: -1 });
    await handled(18);
    vi.advanceTimersByTime(99);
    await handled(18);
    vi.advanceTimersByTime(1);
    await handled(19);
  });
});

describe("Sweeps per second", () => {
  it("begin up to the limit at once, and the next after a share of a second", () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const pace = new SweepPace(() => 4);
    let begun = 0;
    for (let i = 0; i < 6; i++) pace.enter({}, WHOLE_LOAD, () => begun++);
    expect(begun).toBe(4);
    vi.advanceTimersByTime(249);
    expect(begun).toBe(4);
    vi.advanceTimersByTime(1);
    expect(begun).toBe(5);
    pace.close();
  });

  it("may change while the server serves, also for sweeps that wait already", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    const driver = stuck();
    const server = await startServer(driver, { limits: { sweepsPerSecond: 2 } });
    const client = await clientOf(server);
    const running = (count: number) => comesTo(count, () => driver.running, client);
    for (let id = 1; id <= 6; id++) client.send({ type: "get", id });
    await running(2);
    server.limit({ sweepsPerSecond: 4 });
    vi.advanceTimersByTime(499);
    await running(2);
    vi.advanceTimersByTime(1);
    await running(4);
    vi.advanceTimersByTime(250);
    await running(5);
  });
});

describe("Bytes in flight", () => {
  it.each([
    ["bufferedBytes, for one client", { bufferedBytes: 1_000, bufferedBytesInAll: 10_000 }, 10],
    ["its share of bufferedBytesInAll, for one of many", { bufferedBytes: 1_000_000, bufferedBytesInAll: 10_000 }, 10],
  ])("may be as many as %s; above it, sweeps and watches pause", (_, limits, clients) => {
    const socket = { OPEN: 1, readyState: 1, bufferedAmount: 0 };
    const traffic = { messages: 0, bytes: 0 };
    const outbound = new Outbound(socket as unknown as WebSocket, () => markOf(limits, clients), traffic);
    const writable = [999, 1_000, 1_001].map((bufferedAmount) => {
      socket.bufferedAmount = bufferedAmount;
      return outbound.writable;
    });
    expect(writable).toEqual([true, true, false]);
  });

  it.each(["bufferedBytes", "bufferedBytesInAll"] as const)("may change by %s while a client is connected", (name) => {
    const socket = { OPEN: 1, readyState: 1, bufferedAmount: 1_000 };
    const limits = { bufferedBytes: 1_000, bufferedBytesInAll: 1_000 };
    const traffic = { messages: 0, bytes: 0 };
    const outbound = new Outbound(socket as unknown as WebSocket, () => markOf(limits, 1), traffic);
    expect(outbound.writable).toBe(true);
    limits[name] = 999;
    expect(outbound.writable).toBe(false);
    limits[name] = 1_000;
    expect(outbound.writable).toBe(true);
  });
});

describe("Bytes of rings", () => {
  const message = (sequence: number, size: number) => ({ sequence, size, messages: [], bytes: size, schemas: [] });

  it("are kept up to the limit; beyond it the largest ring loses its oldest message, and no other ring any", () => {
    const memory = new SharedMemory(() => 1_000);
    const [large, small] = [new ChannelRing(memory), new ChannelRing(memory)];
    const push = (ring: ChannelRing, sequence: number, size: number) =>
      ring.push({ ...message(sequence, size), tick: undefined });
    for (let i = 1; i <= 8; i++) push(large, i, 100);
    push(small, 1, 199);
    push(small, 2, 1);
    expect([memory.used, large.size, small.size]).toEqual([1_000, 800, 200]);
    push(small, 3, 1);
    expect([memory.used, large.size, small.size]).toEqual([901, 700, 201]);
    expect([large.get(1), large.get(2)?.sequence, small.get(1)?.sequence]).toEqual([undefined, 2, 1]);
    large.clear();
    expect(memory.used).toBe(201);
  });
});

describe("Records of snapshots", () => {
  const feedOf = (size: number) => ({ size, statuses: [], records: () => [] }) as unknown as Feed;

  it("are kept up to the limit; beyond it the channel with most of them loses its oldest snapshot, but never its newest", () => {
    const memory = new SharedMemory(() => 1_000);
    const [many, few] = [new Snapshots(memory), new Snapshots(memory)];
    const old = [1, 2, 3].map((sequence) => many.open(sequence, feedOf(300)));
    const other = few.open(1, feedOf(100));
    expect([memory.used, old.map(({ records }) => records !== undefined)]).toEqual([1_000, [true, true, true]]);
    const next = few.open(2, feedOf(1));
    expect([memory.used, old.map(({ records }) => records !== undefined)]).toEqual([701, [false, true, true]]);
    expect([other.records, next.records]).toEqual([[], []]);
    // One snapshot of a host that is larger than the limit is sent all the same.
    const huge = new Snapshots(memory);
    expect(huge.open(1, feedOf(5_000)).records).toEqual([]);
    for (const snapshots of [many, few, huge]) snapshots.clear();
    expect(memory.used).toBe(0);
  });

  it("may change: the next snapshot gets the new limit", () => {
    const limits: { -readonly [Name in keyof ServerLimits]: number } = {
      ...DEFAULT_SERVER_LIMITS,
      snapshotRecords: 900,
    };
    const { snapshots: memory } = sharedBounds(limits).memory;
    const snapshots = new Snapshots(memory);
    const old = [1, 2, 3].map((sequence) => snapshots.open(sequence, feedOf(300)));
    const kept = () => old.map(({ records }) => records !== undefined);
    limits.snapshotRecords = 600;
    expect([memory.used, kept()]).toEqual([900, [true, true, true]]);
    old.push(snapshots.open(4, feedOf(300)));
    expect([memory.used, kept()]).toEqual([600, [false, false, true, true]]);
    limits.snapshotRecords = 900;
    old.push(snapshots.open(5, feedOf(300)));
    expect([memory.used, kept()]).toEqual([900, [false, false, true, true, true]]);
  });
});

describe("The shortest interval", () => {
  it.each([
    [1_999, "invalid-argument"],
    [2_000, undefined],
    [2_001, undefined],
  ])("of 2,000 ms: a watch of %i ms ends with %s", async (intervalMs, code) => {
    const server = await startServer(stuck(), { limits: { minIntervalMs: 2_000 } });
    expect(await ask(await clientOf(server), { type: "watch", id: 1, intervalMs })).toBe(code);
  });
});
