import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { openDriver } from "../../src/driver/registry.ts";
import { checkQuery } from "../../src/model/query.ts";
import { checkCadence, type WatchEvent, type WatchOptions } from "../../src/model/watch.ts";
import { AccountedWatch } from "../lab/accounted-watch.ts";
import { NetworkNamespace } from "../lab/network-namespace.ts";
import { describeWith } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { TickLedger } from "../lab/tick-ledger.ts";

const OUTAGE_MS = 1_000;
const HOST = "test:///default?domains=200";
/** A server that notices and is noticed within fractions of a second. */
const LIVELY = { minIntervalMs: 50, beatMs: 100 };

/**
 * How many outages were told: each begins once, and ends once, before the next. A lively server is lost after 250 ms of silence,
 * which a loaded machine can cause again: then there was another outage, and the watch has to tell it.
 */
function outagesOf({ statuses }: TickLedger): number {
  expect(statuses).toEqual(statuses.map((_, i) => (i % 2 === 0 ? "reconnecting" : "connected")));
  return Math.floor(statuses.length / 2);
}

/** A watch as its user has it, and beside it one whose ticks are as the server counts them. */
async function watching(url: string, watch: WatchOptions) {
  const options = { connectTimeoutMs: 5_000 };
  const user = new AccountedWatch(await connect(url, options), new TickLedger(), {}, watch);
  const driver = await openDriver(url, options);
  const counted = new TickLedger(undefined, true);
  const stop = driver.watch!(checkQuery({}, driver), checkCadence(watch), {
    record: (record) => counted.take({ type: "record", record }),
    gone: (domain) => counted.take({ type: "gone", domain }),
    event: (event) => counted.take(event),
    flush: () => {},
    end: () => {},
  });
  await user.sweeps(3);
  return {
    user,
    counted,
    /** Waits until both were told that the server is there again, and have had further sweeps since. */
    async again(): Promise<void> {
      await user.until(({ statuses }) => statuses.includes("connected") && counted.statuses.includes("connected"));
      const { syncs } = counted;
      await user.sweeps(2);
      await user.until(() => counted.syncs >= syncs + 2);
    },
    async [Symbol.asyncDispose]() {
      stop();
      await driver.close();
      await user[Symbol.asyncDispose]();
    },
  };
}

describe("A watch of a server", () => {
  it("that is killed and started again learns of it, and continues by itself", async () => {
    await using server = await ServedProcess.start({ uri: HOST });
    await using watch = await watching(server.url, { intervalMs: 1_000 });
    const { user, counted } = watch;
    await server.kill();
    await user.until(({ statuses }) => statuses.includes("reconnecting"));
    await sleep(OUTAGE_MS);
    await server.restart();
    await watch.again();
    for (const ledger of [user.ledger, counted]) {
      expect(ledger.broken).toEqual([]);
      expect(ledger.statuses).toEqual(["reconnecting", "connected"]);
      // The sweeps of a server that is gone are counted by nobody.
      expect(ledger.gaps).toMatchObject([{ type: "gap", skipped: undefined }]);
      expect(ledger.domains).toBe(200);
    }
  });

  it("that stands still for a while learns of it, and continues by itself", async () => {
    await using server = await ServedProcess.start({ uri: HOST, limits: LIVELY });
    await using watch = await watching(server.url, { intervalMs: 50 });
    const { user, counted } = watch;
    server.freeze();
    await sleep(OUTAGE_MS);
    server.thaw();
    await watch.again();
    for (const ledger of [user.ledger, counted]) {
      expect(ledger.broken).toEqual([]);
      expect(outagesOf(ledger)).toBeGreaterThan(0);
    }
  });

  it("needs one line of its user's, whatever happens to the server", async () => {
    await using server = await ServedProcess.start({ uri: HOST });
    await using connection = await connect(server.url);
    const seen: WatchEvent["type"][] = [];
    const states: string[] = [];
    for await (const event of connection.watch().events) {
      if (event.type !== seen.at(-1)) seen.push(event.type);
      if (event.type === "status") states.push(event.state);
      if (event.type === "sync" && states.length === 0) await server.kill();
      if (event.type === "status" && event.state === "reconnecting") await server.restart();
      if (event.type === "sync" && states.length === 2) break;
    }
    expect(states).toEqual(["reconnecting", "connected"]);
    expect(seen.slice(0, 3)).toEqual(["record", "sync", "status"]);
    expect(seen.slice(-2)).toEqual(["record", "sync"]);
  });
});

describeWith(["root with network namespaces"], "A watch over a link that is down for a while", () => {
  it("learns of it, continues by itself, and has every sweep delivered or covered by a gap", async () => {
    await using network = await NetworkNamespace.create();
    const { address, runBy } = network;
    await using server = await ServedProcess.start({ uri: HOST, host: address, limits: LIVELY, runBy });
    await using watch = await watching(server.url, { intervalMs: 50 });
    const { user, counted } = watch;
    await network.down();
    await sleep(OUTAGE_MS);
    await network.up();
    await watch.again();
    for (const ledger of [user.ledger, counted]) {
      expect(ledger.broken).toEqual([]);
      const outages = outagesOf(ledger);
      expect(outages).toBeGreaterThan(0);
      expect(ledger.gaps.length).toBeLessThanOrEqual(outages);
      // On a busy machine the server leaves out ticks itself. If it still has all others for the client, there is no gap.
      if (ledger.overruns === 0) expect(ledger.gaps.length).toBeGreaterThan(0);
    }
  });
});
