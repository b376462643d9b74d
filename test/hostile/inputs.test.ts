/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { serve } from "../../src/server/server.ts";
import { connectTo, httpServerOf, own, socketsOf } from "../server/serving.ts";
import { uncaughtDuring } from "../uncaught.ts";
import { until } from "../until.ts";
import { MIN_INTERVAL_MS, sendAll, TOKEN } from "./input.ts";
import { INPUTS } from "./inputs.ts";
import { liveHeap } from "./mutation-run.ts";

/** How many clients attack at a time. */
const AT_ONCE = 8;
/** Channels of lost clients are kept for 30 s. */
const GROWTH_MIB = 16;

describe("a server that clients send hundreds of hostile inputs to", () => {
  it("reacts to each by its code, keeps nothing of them, and a good subscriber misses no tick meanwhile", async () => {
    expect(new Set(INPUTS.map(({ name }) => name)).size).toBe(INPUTS.length);
    expect(INPUTS.length).toBeGreaterThan(300);
    const host = own(new Connection(new SimulatedDriver("test:///default?domains=20")));
    const limits = { minIntervalMs: MIN_INTERVAL_MS };
    const server = own(await serve(host, { port: 0, token: TOKEN, limits }));
    const port = Number(new URL(server.url).port);
    const ticks: number[] = [];
    const gaps: string[] = [];
    const connection = await connectTo(server.url, { token: TOKEN });
    const events = connection.watch({}, { intervalMs: MIN_INTERVAL_MS }).events;
    const watching = events.forEach((event) => {
      if (event.type === "sync") ticks.push(event.tick);
      else if (event.type === "gap" || event.type === "status") gaps.push(event.type);
    });
    await until(() => ticks.length > 0);

    const uncaught = await uncaughtDuring(async () => {
      expect(await sendAll(INPUTS, port, AT_ONCE)).toEqual([]);
    });
    expect(uncaught).toEqual([]);
    const heap = liveHeap();
    const before = ticks.length;
    const quick = INPUTS.filter(({ silent }) => !silent);
    expect(await sendAll(quick, port, AT_ONCE)).toEqual([]);
    await until(() => ticks.length > before);

    const http = await httpServerOf(server);
    http.closeIdleConnections();
    await until(() => server.clients === 1 && server.sweeps === 0 && server.watches === 1);
    for (let sockets = 0; sockets !== 1; sockets = await socketsOf(http));
    expect((liveHeap() - heap) / 2 ** 20).toBeLessThan(GROWTH_MIB);
    expect(gaps).toEqual([]);
    expect(ticks).toEqual(ticks.map((_, i) => ticks[0]! + i));
    await connection.close();
    await watching.catch(() => {});
  });
});
