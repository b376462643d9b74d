import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import { serve } from "../../src/server/server.ts";
import { CLOSE_CODES, LIMITS } from "../../src/wire/protocol.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";
import { JsonClient } from "./json-client.ts";
import { RecordingDriver } from "./recording-driver.ts";
import { ScriptedDriver } from "./scripted-driver.ts";
import { startServer, stuck } from "./serving.ts";

const names = (count: number, prefix = "no") => Array.from({ length: count }, (_, i) => ({ name: `${prefix}-${i}` }));

async function jsonClient(server: Parameters<typeof JsonClient.connect>[0]): Promise<JsonClient> {
  const client = await JsonClient.connect(server);
  own({ close: () => client.socket.terminate() });
  return client;
}

/** A driver that watches by itself, and counts how often it is asked to. */
class WatchedDriver extends ScriptedDriver {
  watches = 0;

  constructor() {
    super(async function* () {});
  }

  watch(): () => void {
    this.watches++;
    return () => {};
  }
}

/** The error codes with which sweeps and watches ended, by id. */
const endsOf = (client: JsonClient) =>
  Object.fromEntries(
    client.ofType("end").map(({ id, ...rest }) => [id, (rest["error"] as { code: string } | undefined)?.code]),
  );

describe("a client that names very many domains", () => {
  it("is refused a query beyond the bound of a query, and a name longer than names are", async () => {
    const client = await jsonClient(await startServer(stuck()));
    client.send({ type: "get", id: 1, domains: names(LIMITS.selectors + 1) });
    client.watch(2, { domains: names(LIMITS.selectors + 1) });
    client.watch(3, { domains: [{ name: "x".repeat(LIMITS.name + 1) }] });
    await client.settled();
    expect(endsOf(client)).toEqual({ 1: "limit-exceeded", 2: "limit-exceeded", 3: "invalid-argument" });
    expect(client.ofType("end")[0]).toMatchObject({ error: { retryable: false } });
  });

  it("is refused more patterns than a query may have, longer ones, malformed ones, and patterns beside names", async () => {
    const client = await jsonClient(await startServer(stuck()));
    const many = Array.from({ length: LIMITS.patterns + 1 }, (_, i) => `web-${i}-*`);
    client.send({ type: "get", id: 1, names: many });
    client.watch(2, { hosts: many });
    client.watch(3, { names: ["x".repeat(LIMITS.pattern + 1)] });
    client.watch(4, { names: ["a["] });
    client.send({ type: "get", id: 5, names: [] });
    client.send({ type: "get", id: 6, names: null });
    client.send({ type: "get", id: 7, names: ["web-*"], domains: [{ name: "web-1" }] });
    client.send({ type: "get", id: 8, hosts: ["hv1"], domains: [{ name: "web-1" }] });
    await client.settled();
    const invalid = [3, 4, 5, 6, 7, 8].map((id) => [id, "invalid-argument"]);
    expect(endsOf(client)).toEqual({ 1: "limit-exceeded", 2: "limit-exceeded", ...Object.fromEntries(invalid) });
    expect(client.ofType("end")[0]).toMatchObject({ error: { retryable: false } });
  });

  it("is refused sweeps and watches that together name more domains than a connection may, until one of them ends", async () => {
    const driver = stuck();
    const client = await jsonClient(await startServer(driver, { limits: { selectorsPerClient: 100 } }));
    client.watch(1, { domains: names(60) });
    client.send({ type: "get", id: 2, domains: names(40) });
    client.send({ type: "get", id: 3, domains: names(1) });
    client.watch(4, { domains: names(41) });
    await client.settled();
    expect(endsOf(client)).toEqual({ 3: "limit-exceeded", 4: "limit-exceeded" });
    client.send({ type: "cancel", id: 1 });
    client.watch(5, { domains: names(60) });
    client.send({ type: "cancel", id: 2 });
    await until(() => client.ofType("end").length === 4);
    client.send({ type: "get", id: 6, domains: names(40) });
    await until(() => driver.queries.some(({ domains }) => domains?.length === 40 && driver.running === 2));
    expect(Object.keys(endsOf(client))).toEqual(["1", "2", "3", "4"]);
  });

  it("leaves the other clients a bounded number, also for channels that outlive its connection, and shared watches count once", async () => {
    const server = await startServer(stuck(), { limits: { selectors: 100 } });
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    one.watch(1, { domains: names(60) });
    await one.settled();
    other.watch(1, { domains: names(60) });
    other.watch(2, { domains: names(41, "other") });
    await other.settled();
    expect(endsOf(other)).toEqual({ 2: "limit-exceeded" });
    other.send({ type: "cancel", id: 1 });
    await other.settled();
    one.socket.terminate();
    await until(() => server.clients === 1);
    other.watch(3, { domains: names(41, "other") });
    await other.settled();
    // The channel of the lost client waits for it to come back.
    expect([server.stats().channels, endsOf(other)[3]]).toEqual([1, "limit-exceeded"]);
  });
});

describe("a client that asks for very many sweeps", () => {
  it("is refused more than a few watches with different queries, also if only the deadline differs, and may join others' watches", async () => {
    const driver = new RecordingDriver(1);
    const connection = own(new Connection(driver));
    const limits = { queriesPerClient: 3, queries: 5, sweepsPerSecond: 1_000 };
    const server = own(await serve(connection, { port: 0, limits }));
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    const watches = (client: JsonClient, from: number, to: number) => {
      for (let i = from; i <= to; i++) client.watch(i, { deadlineMs: 2_000 + i });
    };
    watches(one, 1, 4);
    await one.settled();
    watches(other, 3, 6);
    await other.settled();
    expect([endsOf(one), endsOf(other)]).toEqual([{ 4: "limit-exceeded" }, { 6: "limit-exceeded" }]);
    expect(server.stats().sampling).toMatchObject({ samplers: 5, feeds: 5 });
    one.send({ type: "cancel", id: 1 });
    one.watch(7, { domains: names(50) });
    await one.settled();
    expect(endsOf(one)).toMatchObject({ 1: undefined, 4: "limit-exceeded" });
    expect(server.stats().sampling.samplers).toBe(5);
  });

  it("may watch queries of named domains up to exactly the bound, in which each domain counts a hundredth", async () => {
    const limits = { queriesPerClient: 8, queries: 16, sweepsPerSecond: 1_000 };
    const server = await startServer(stuck(), { limits });
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    for (let id = 1; id <= 21; id++) {
      one.watch(id, { domains: names(40, `one-${id}`) });
      other.watch(id, { domains: names(40, `other-${id}`) });
    }
    for (const client of [one, other]) {
      await client.settled();
      expect(endsOf(client)).toEqual({ 21: "limit-exceeded" });
    }
  });

  it("may watch many queries with patterns, each of which counts by the domains that match once it was swept", async () => {
    const limits = { queriesPerClient: 2, queries: 3, sweepsPerSecond: 1_000, minIntervalMs: 10 };
    const unswept = await jsonClient(await startServer(stuck(), { limits }));
    // A quarter each.
    for (let id = 1; id <= 9; id++) unswept.watch(id, { names: [`guest-0000${id}`] });
    await unswept.settled();
    expect(endsOf(unswept)).toEqual({ 9: "limit-exceeded" });
    const server = own(await serve(own(new Connection(new RecordingDriver(120))), { port: 0, limits }));
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    // Two hundredths each.
    for (let id = 1; id <= 20; id++) {
      one.watch(id, { names: [`guest-000${id + 10}`] });
      await until(() => new Set(one.ofType("sync").map(({ channel }) => channel)).size === id);
    }
    expect(endsOf(one)).toEqual({});
    // What matches everything counts as a whole.
    other.watch(1, { names: ["guest-*"] });
    await until(() => other.ofType("sync").length > 0);
    other.watch(2, { names: ["*"] });
    await until(() => other.ofType("sync").some(({ channel }) => channel !== other.ofType("sync")[0]!.channel));
    other.watch(3, { names: ["guest-00099"] });
    await other.settled();
    expect(endsOf(other)).toEqual({ 3: "limit-exceeded" });
  });

  it("waits for its turn, and the sweeps that it cancels before are never begun", async () => {
    const driver = new ScriptedDriver(async function* () {});
    const server = await startServer(driver, { limits: { sweepsPerSecond: 1 } });
    const client = await jsonClient(server);
    client.send({ type: "get", id: 1 });
    await until(() => client.ofType("end").length === 1);
    for (let id = 2; id <= 401; id += 2) {
      client.watch(id, { deadlineMs: id });
      client.send({ type: "get", id: id + 1, deadlineMs: id });
      for (const one of [id, id + 1]) client.send({ type: "cancel", id: one });
    }
    await until(() => client.ofType("end").length === 401);
    // At most one for each second that a slow machine takes for the 400 requests.
    expect(driver.queries.length).toBeLessThan(40);
  });

  it("waits for its turn also where its watches are the driver's own, as those of several hosts are", async () => {
    const driver = new WatchedDriver();
    const client = await jsonClient(await startServer(driver, { limits: { sweepsPerSecond: 1 } }));
    for (let id = 1; id <= 200; id++) {
      client.watch(id, { deadlineMs: id });
      client.send({ type: "cancel", id });
    }
    await until(() => client.ofType("end").length === 200);
    expect(driver.watches).toBeGreaterThan(0);
    // At most one for each second that a slow machine takes for the 200 requests.
    expect(driver.watches).toBeLessThan(40);
  });

  it("does not keep the program's own watch of the same query waiting when the server closes", async () => {
    const connection = own(new Connection(new RecordingDriver(1)));
    const server = own(await serve(connection, { port: 0, limits: { sweepsPerSecond: 1 } }));
    const client = await jsonClient(server);
    for (let id = 1; id <= 5; id++) client.watch(id, { deadlineMs: 2_000 + id });
    await client.settled();
    const records = connection.watch({ deadlineMs: 2_005 }, { intervalMs: 1_000 })[Symbol.asyncIterator]();
    const first = records.next();
    const asked = performance.now();
    await server.close();
    expect((await first).value.status).toBe("ok");
    expect(performance.now() - asked).toBeLessThan(3_000);
  });

  it("takes turns with other clients", async () => {
    const driver = new ScriptedDriver(async function* () {});
    const server = await startServer(driver, { limits: { sweepsPerSecond: 5 } });
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    for (let id = 1; id <= 30; id++) one.send({ type: "get", id });
    await one.settled();
    other.send({ type: "get", id: 1 });
    await until(() => other.ofType("end").length === 1);
    expect(one.ofType("end").length).toBeLessThan(15);
  });

  it("has one request handled for each request of another client", async () => {
    const driver = new ScriptedDriver(async function* () {});
    const server = await startServer(driver, { limits: { sweepsPerSecond: 1_000_000 } });
    const [one, other] = [await jsonClient(server), await jsonClient(server)];
    for (let id = 1; id <= 5_000; id++) one.send({ type: "get", id, groups: -1 });
    await until(() => one.ofType("end").length > 0);
    const before = one.ofType("end").length;
    other.send({ type: "get", id: 1 });
    await until(() => other.ofType("end").length === 1);
    expect(one.ofType("end").length - before).toBeLessThan(1_000);
    await until(() => one.ofType("end").length === 5_000);
  });
});

describe("a client that sends values of any type and size", () => {
  const nested = `${"[".repeat(10_000)}${"]".repeat(10_000)}`;
  const members = ["groups", "flags", "deadlineMs", "domains", "names", "hosts", "intervalMs", "mode", "heartbeatMs"];
  const watchOf = (id: number, member: string, json: string) => {
    const rest = { intervalMs: 1_000, mode: "on-change", [member]: undefined };
    return `${JSON.stringify({ type: "watch", id, ...rest }).slice(0, -1)},"${member}":${json}}`;
  };

  it.each([
    ["nested", nested],
    ["a list of what is nested", `[${nested}]`],
    ["long", JSON.stringify("x".repeat(500_000))],
    ["a list of what is long", `["${"x".repeat(500_000)}"]`],
    ["null", "null"],
  ])("gets a short error for each member that is %s, and keeps its connection", async (_, json) => {
    const client = await jsonClient(await startServer(stuck()));
    for (const [i, member] of members.entries()) client.socket.send(watchOf(i + 1, member, json));
    await client.settled();
    const errors = client.ofType("end").map(({ error }) => error as { code: string; message: string });
    expect(errors.map(({ code }) => code)).toEqual([
      "unknown-group",
      "unknown-flag",
      ...Array.from({ length: 7 }, () => "invalid-argument"),
    ]);
    for (const { message } of errors) expect(message.length).toBeLessThan(400);
  });

  it.each(["id", "credit", "since"])(
    "loses its connection as for any malformed message when its %s is nested",
    async (member) => {
      const server = await startServer(stuck());
      const client = await jsonClient(server);
      const closed = once(client.socket, "close");
      client.socket.send(watchOf(1, member, nested));
      expect((await closed)[0]).toBe(CLOSE_CODES["bad-message"]);
    },
  );
});
