import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { cellsOf } from "../model/cells.ts";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import type { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { serve } from "../../src/server/server.ts";

describe("over the wire", () => {
  it("values of every type arrive as they left, at their extremes and above 2^53", async () => {
    await using local = await connect("test:///default?domains=2&paused=2&extremes=0-1");
    await using server = await serve(local, { port: 0 });
    await using remote = await connect(server.url);
    const here = await local.getAllDomainStats();
    const there = await remote.getAllDomainStats();
    for (const [i, record] of here.entries()) {
      expect([...there[i]!.params.list()]).toEqual([...record.params.list()]);
    }
    const values = new Map(there[0]!.params);
    expect([...values.values()]).toContain(2n ** 64n - 1n);
    expect([...values.values()]).toContain(-(2n ** 63n));
    expect(new Set([...there[0]!.params.list()].map((param) => param.type)).size).toBe(7);
  });

  it("a record of 200,000 parameters arrives whole, between its neighbours", async () => {
    await using local = await connect("test:///default?domains=3&paused=3&huge=1:200000");
    await using server = await serve(local, { port: 0 });
    await using remote = await connect(server.url);
    const here = await local.getAllDomainStats();
    const there = await remote.getAllDomainStats();
    expect(there.map((record) => record.params.size)).toEqual(here.map((record) => record.params.size));
    expect(there[1]!.params.size).toBe(200_000);
    expect(there[1]!.params.schema.keys).toEqual(here[1]!.params.schema.keys);
    expect(cellsOf(there[1]!.params)).toEqual(cellsOf(here[1]!.params));
  });

  it("the driver rests soon after a reader left the first of 100,000 records", async () => {
    await using local = await connect("test:///default?domains=100000");
    await using server = await serve(local, { port: 0 });
    await using remote = await connect(server.url);
    const driver = local.driver as SimulatedDriver;
    for await (const _ of remote.stats()) break;
    while (server.sweeps > 0) await turn();
    const produced = driver.simulation.produced;
    for (let i = 0; i < 100; i++) await turn();
    expect(driver.simulation.produced).toBe(produced);
    // A window of credit, a message that overdraws it, a frame that fills, and a chunk that was on its way.
    expect(produced).toBeLessThan(6_000);
  });
});

describe("without a wire", () => {
  it("a record becomes JSON with its state in words, and without losing a digit", async () => {
    await using local = await connect("test:///default?domains=1&extremes=0");
    const [record] = await local.getAllDomainStats();
    const json = JSON.parse(JSON.stringify(record));
    expect(json).toMatchObject({ status: "ok", reason: null, missing: [], index: 0, state: { state: "running" } });
    expect(json.domain.uuid).toBe(record!.domain.uuid);
    expect(Object.values(json.params)).toContain("18446744073709551615");
  });

  it("the driver computes no chunk more once a reader left the first of 100,000 records", async () => {
    await using local = await connect("test:///default?domains=100000");
    const driver = local.driver as SimulatedDriver;
    for await (const _ of local.stats()) break;
    const produced = driver.simulation.produced;
    for (let i = 0; i < 100; i++) await turn();
    expect(driver.simulation.produced).toBe(produced);
    expect(produced).toBeLessThanOrEqual(256);
  });
});
