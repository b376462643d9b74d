import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { serve, type VirstreamServer } from "../../src/server/server.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { JsonClient } from "./json-client.ts";
import { ScriptedDriver } from "./scripted-driver.ts";
import { TickingHost } from "./ticking-host.ts";

async function served(driver: ScriptedDriver | string): Promise<{ connection: Connection; server: VirstreamServer }> {
  const connection = typeof driver === "string" ? await connect(driver) : new Connection(driver);
  const server = await serve(connection, { port: 0 });
  owned.push(
    () => connection.close(),
    () => server.close(),
  );
  return { connection, server };
}

async function clientOf(server: VirstreamServer): Promise<JsonClient> {
  const client = await JsonClient.connect(server);
  owned.push(() => client.socket.terminate());
  return client;
}

describe("a client of the JSON profile", () => {
  it("has in a sweep each record as the library makes JSON of it, without the types, and the summary at the end", async () => {
    const uri = "test:///default?domains=30&paused=30&extremes=0-1&seed=7";
    const { connection, server } = await served(uri);
    const client = await clientOf(server);
    client.send({ type: "get", id: 3 });
    await until(() => client.ofType("end").length === 1);
    expect(client.ofType("begin")).toEqual([{ type: "begin", id: 3, domains: 30 }]);
    const timeless = (record: object): object => ({ ...record, sampledAt: 0, steadyAt: 0, tookMs: 0 });
    const byIndex = (one: { index?: unknown }, other: { index?: unknown }): number =>
      Number(one.index) - Number(other.index);
    const there = client.ofType("record").map((message) => {
      expect(message.id).toBe(3);
      return message["record"] as { index?: unknown };
    });
    const here = (await connection.getAllDomainStats()).map((record) => {
      const { types: _, ...rest } = JSON.parse(JSON.stringify(record));
      return rest;
    });
    expect(there.sort(byIndex).map(timeless)).toEqual(here.map(timeless));
    expect(client.ofType("end")).toEqual([
      { type: "end", id: 3, summary: expect.objectContaining({ domains: 30, ok: 30, failed: 0 }) },
    ]);
  });

  it("may name groups, and asks for what it names", async () => {
    const { server } = await served("test:///default?domains=2");
    const client = await clientOf(server);
    client.send({ type: "get", id: 1, groups: ["state"] });
    client.send({ type: "get", id: 2, groups: ["odd"] });
    await until(() => client.ofType("end").length === 2);
    const params = client.ofType("record").map((message) => (message["record"] as { params: object }).params);
    expect(params).toHaveLength(2);
    for (const each of params) expect(Object.keys(each)).toEqual(["state.state", "state.reason"]);
    expect(client.ofType("end").find(({ id }) => id === 2)).toMatchObject({ error: { code: "unknown-group" } });
  });

  it("has an error of the sweep with its code, after the records before it", async () => {
    const driver = new ScriptedDriver(async function* (scripted) {
      yield [scripted.record(0)];
      throw new VirstreamError("hypervisor-error", "the host is on fire", { libvirt: { code: 1, domain: 10 } });
    });
    const client = await clientOf((await served(driver)).server);
    client.send({ type: "get", id: 1 });
    await until(() => client.ofType("end").length === 1);
    expect(client.messages.map(({ type }) => type)).toEqual(["welcome", "begin", "record", "end"]);
    const error = {
      code: "hypervisor-error",
      message: "the host is on fire",
      retryable: true,
      libvirt: { code: 1, domain: 10 },
    };
    expect(client.ofType("end")[0]).toMatchObject({ error });
  });

  it("is sent no more records than its credit allows, and one message over it", async () => {
    const driver = new ScriptedDriver(async function* (scripted, context) {
      for (let i = 0; i < 50 && !context.signal.aborted; i++) {
        yield [scripted.record(i)];
        for (let k = 0; k < 3; k++) await turn();
      }
    });
    const client = await clientOf((await served(driver)).server);
    client.send({ type: "get", id: 1, credit: 1 });
    await until(() => client.ofType("record").length > 0);
    for (let i = 0; i < 50; i++) await client.settled();
    const { length } = client.ofType("record");
    expect(length).toBeLessThan(50);
    client.send({ type: "credit", id: 1, bytes: 1_000_000 });
    await until(() => client.ofType("end").length === 1);
    expect(client.ofType("record")).toHaveLength(50);
  });

  it("knows in a watch what the host has, in whole records, from a snapshot on, with every tick", async () => {
    const host = new TickingHost();
    owned.push(() => host.close());
    const server = await host.serve();
    const early = await clientOf(server);
    early.watch(1);
    await early.settled();
    await host.tick(2);
    const late = await clientOf(server);
    late.watch(9, { groups: 0 });
    await until(() => late.ofType("record").length === 3);
    expect(late.ofType("begin")[0]).toMatchObject({
      id: 9,
      domains: 3,
      resumed: false,
      complete: true,
      sync: { tick: 2 },
    });
    const { channel } = late.ofType("begin")[0]!;
    host.domains = 2;
    await host.tick(2);
    await until(() => late.ofType("sync").length === 2 && early.ofType("sync").length === 4);
    for (const client of [early, late]) {
      expect([...client.domains.values()].map(({ domain }) => domain.name).sort()).toEqual(["domain-0", "domain-1"]);
      for (const { params } of client.domains.values()) expect(Object.keys(params!).length).toBeGreaterThan(0);
    }
    expect(late.ofType("sync").map(({ tick, channel: number }) => [tick, number])).toEqual([
      [3, channel],
      [4, channel],
    ]);
    const left = late.ofType("record").filter((message) => (message["record"] as { status: string }).status === "gone");
    expect(left.map((message) => message["record"])).toEqual([
      { domain: expect.objectContaining({ name: "domain-2" }), status: "gone" },
    ]);
  });

  it("of several hosts gets `complete` only when the slowest host was swept", async () => {
    const connection = await connectAll([
      "test:///default?domains=2&host=b",
      "test:///default?domains=3&host=a&latency=100",
    ]);
    const server = await serve(connection, { port: 0 });
    owned.push(
      () => connection.close(),
      () => server.close(),
    );
    const client = await clientOf(server);
    client.watch(1);
    await until(() => client.ofType("sync").length >= 2);
    const [first, second] = client.ofType("sync");
    expect([first!["host"], first!["complete"], second!["host"], second!["complete"]]).toEqual(["b", false, "a", true]);
    expect(client.ofType("status")).toEqual([]);
    expect(client.domains.size).toBe(5);
  });

  it("that reads slowly skips ticks, and then knows the newest state again", async () => {
    const host = new TickingHost(3, 200_000);
    owned.push(() => host.close());
    const server = await host.serve();
    const slow = await clientOf(server);
    slow.watch(1, { credit: 1 });
    await slow.settled();
    await host.tick(12);
    await slow.settled();
    const skippedTo = slow.ofType("sync").length;
    expect(skippedTo).toBeLessThan(12);
    host.domains = 2;
    await host.tick(1);
    slow.send({ type: "credit", id: 1, bytes: 1_000_000_000 });
    await until(() => slow.domains.size === 2 && slow.ofType("begin").length > 1);
    expect(slow.ofType("begin").at(-1)).toMatchObject({ id: 1, domains: 2, sync: { tick: 13 } });
    expect([...slow.domains.values()].map(({ domain }) => domain.name).sort()).toEqual(["domain-0", "domain-1"]);
  });
});
