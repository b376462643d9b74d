import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import type { WatchEvent, WatchOptions } from "../../src/model/watch.ts";
import { type ServeOptions, VirstreamServer } from "../../src/server/server.ts";
import { Dice } from "../lab/dice.ts";
import { TcpProxy } from "../lab/tcp-proxy.ts";
import { TickLedger } from "../lab/tick-ledger.ts";
import { TickingHost } from "../lab/ticking-host.ts";
import { ScriptedDriver } from "../server/scripted-driver.ts";
import { PATIENCE } from "../until.ts";

const DOMAINS = 200;

afterEach(() => {
  vi.restoreAllMocks();
});

/** No wait between attempts, so that a test need not wait either. */
function impatient(): void {
  vi.spyOn(Math, "random").mockReturnValue(0);
}

function serve(connection: Connection, port = 0): Promise<VirstreamServer> {
  const limits: ServeOptions["limits"] = { minIntervalMs: 10 };
  return VirstreamServer.listen(connection, { port, limits });
}

describe("A watch that is resumed", () => {
  it("gives a loop, which takes one event at a time, every sweep that the server has kept", async () => {
    impatient();
    const watch: WatchOptions = { intervalMs: 100 };
    await using host = new Connection(new TickingHost(DOMAINS, new Dice(1)));
    await using server = await serve(host);
    await using network = await TcpProxy.start(Number(new URL(server.url).port));
    await using connection = await connect(network.url);
    const ledger = new TickLedger();
    let resumed = 0;
    for await (const event of connection.watch({}, watch).events) {
      ledger.take(event);
      if (event.type === "sync" && ledger.syncs === 3) {
        network.cut();
        const made = host.sampling.snapshot().sweeps;
        // Fewer than the server keeps.
        void vi
          .waitUntil(() => host.sampling.snapshot().sweeps >= made + 5, { timeout: 10_000 })
          .then(() => network.restore());
      }
      if (event.type === "status" && event.state === "connected") resumed = ledger.syncs;
      if (event.type === "sync" && resumed > 0 && ledger.syncs >= resumed + 3) break;
    }
    expect([ledger.statuses, ledger.broken, ledger.gaps]).toEqual([["reconnecting", "connected"], [], []]);
  });
});

describe("A watch of a server that was started again", () => {
  it("does not take a domain for gone because the first sweep has not come to it yet", async () => {
    impatient();
    const chunk = (driver: ScriptedDriver, from: number) =>
      Array.from({ length: 3 }, (_, i) => driver.record(from + i));
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = new Connection(
      new ScriptedDriver(async function* (driver) {
        yield [...chunk(driver, 0), ...chunk(driver, 3)];
      }),
    );
    const second = new Connection(
      new ScriptedDriver(async function* (driver) {
        yield chunk(driver, 0);
        await held;
        yield chunk(driver, 3);
      }),
    );
    const before = await serve(first);
    const port = Number(new URL(before.url).port);
    await using connection = await connect(before.url);
    const seen: WatchEvent[] = [];
    const watching = connection.watch({}, { intervalMs: 50 }).events.forEach((event) => void seen.push(event));
    watching.catch(() => {});
    await vi.waitUntil(() => seen.some(({ type }) => type === "sync"), PATIENCE);
    await before.close();
    await first.close();
    const after = await serve(second, port);
    try {
      await vi.waitUntil(() => seen.some((event) => event.type === "status" && event.state === "connected"), PATIENCE);
      const begun = seen.length;
      await sleep(50);
      release();
      await vi.waitUntil(() => seen.slice(begun).some(({ type }) => type === "sync"), PATIENCE);
      expect(seen.filter(({ type }) => type === "gone")).toEqual([]);
    } finally {
      release();
      await after.close();
      await second.close();
    }
  });
});

describe("A watch whose reader stood still for a while", () => {
  it("gives no record twice, and no domain's end that it did not tell the beginning of", async () => {
    await using connection = new Connection(new TickingHost(DOMAINS, new Dice(1)));
    const ledger = new TickLedger();
    const watch: WatchOptions = { intervalMs: 10, mode: "on-change", heartbeatMs: 60_000 };
    for await (const event of connection.watch({}, watch).events) {
      ledger.take(event);
      if (event.type === "sync" && ledger.syncs % 5 === 0) {
        const { sweeps } = connection.sampling.snapshot();
        await vi.waitUntil(() => connection.sampling.snapshot().sweeps >= sweeps + 30, PATIENCE);
      }
      if (ledger.syncs > 20) break;
    }
    expect(ledger.gaps.length).toBeGreaterThan(0);
    expect(ledger.broken).toEqual([]);
  });
});
