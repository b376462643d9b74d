import { describe, expect, it } from "vitest";
import { LIMITS } from "../../src/wire/protocol.ts";
import { unpack } from "../../src/wire/unpack.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { known, TickingHost } from "./ticking-host.ts";
import { WatchClient } from "./watch-client.ts";

/** A host whose every tick is larger than a reader may be behind by and still be sent it. */
async function largeHost() {
  const host = new TickingHost(100, 4_000);
  owned.push(() => host.close());
  return { host, server: await host.serve({ limits: { beatMs: 3_600_000 } }) };
}

async function clientOf(server: Parameters<typeof WatchClient.connect>[0]): Promise<WatchClient> {
  const client = await WatchClient.connect(server);
  owned.push(() => client.socket.terminate());
  return client;
}

describe("a reader that gives no credit", () => {
  it("is sent nothing beyond it, costs nothing while it sleeps, and then gets the newest state and how much it skipped", async () => {
    const { host, server } = await largeHost();
    const [fast, slow] = [await clientOf(server), await clientOf(server)];
    const quick = fast.watch(1);
    await fast.settled();
    await host.tick();
    await until(() => quick.ticks.length === 1);
    const late = slow.watch(1, { credit: 1, gives: false });
    await slow.settled();
    const asleep = slow.bytes;
    expect(late.balance).toBeLessThanOrEqual(0);
    for (let tick = 2; tick <= 20; tick++) {
      await host.tick();
      await until(() => quick.ticks.length === tick);
    }
    await slow.settled();
    expect(slow.bytes).toBe(asleep);
    // The others are not delayed, and not a byte was made for the one that sleeps.
    expect(quick.ticks).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(quick.gaps).toEqual([]);
    expect(server.stats().bytesSent).toBe(fast.bytes + slow.bytes);

    slow.grant(late, 100_000_000);
    await until(() => late.ticks.includes(20));
    // It joined after the first tick, of which it had a part: it gets the rest, and then the newest.
    expect([late.ticks, late.gaps]).toEqual([[1, 20], [["slow-consumer", 18]]]);
    expect(server.stats().sampling.ticksConflated).toBe(18);
    expect(known(late.state.records())).toEqual(known(host.records));
  });

  it("gets one snapshot and not another one, although two ticks of a large host pass meanwhile", async () => {
    const host = new TickingHost(100, 45_000);
    owned.push(() => host.close());
    const server = await host.serve();
    const [fast, slow] = [await clientOf(server), await clientOf(server)];
    const quick = fast.watch(1);
    await fast.settled();
    await host.tick();
    await until(() => quick.ticks.length === 1);
    const late = slow.watch(1, { credit: 1, gives: false });
    await slow.settled();
    // Two ticks of 4.5 MB are more than 8 MiB.
    for (let tick = 2; tick <= 3; tick++) {
      await host.tick();
      await until(() => quick.ticks.length === tick);
    }
    slow.grant(late, 100_000_000);
    await until(() => late.ticks.includes(3));
    const begins = slow.messages.filter((message) => (unpack(message) as { type: string }).type === "begin");
    expect([begins.length, late.ticks]).toEqual([1, [1, 2, 3]]);
    expect(known(late.state.records())).toEqual(known(host.records));
  });

  it("misses nothing when it is not more than two ticks late, however large they are", async () => {
    const { host, server } = await largeHost();
    const client = await clientOf(server);
    const watch = client.watch(1, { credit: 1, gives: false });
    await client.settled();
    await host.tick(2);
    await client.settled();
    expect(watch.ticks).toEqual([]);
    client.grant(watch, 100_000_000);
    await client.settled();
    await host.tick();
    await until(() => watch.ticks.length === 3);
    expect([watch.ticks, watch.gaps]).toEqual([[1, 2, 3], []]);
    expect(watch.events.filter(({ type }) => type === "record")).toHaveLength(300);
  });

  it("misses nothing when what it missed is little, for as many ticks as the server remembers", async () => {
    const host = new TickingHost(3);
    owned.push(() => host.close());
    const client = await clientOf(await host.serve());
    const watch = client.watch(1, { credit: 1, gives: false });
    await client.settled();
    await host.tick(8);
    await client.settled();
    client.grant(watch, 1_000_000);
    await until(() => watch.ticks.length === 8);
    expect(watch.gaps).toEqual([]);
  });

  it("is sent what needs no credit, while no record stands before it", async () => {
    const host = new TickingHost(0);
    owned.push(() => host.close());
    const client = await clientOf(await host.serve());
    const watch = client.watch(1, { credit: 1, gives: false });
    await client.settled();
    await host.tick(2);
    await until(() => watch.ticks.length === 2);
    expect(watch.balance).toBe(1);
    host.domains = 1;
    await host.tick();
    await until(() => watch.ticks.length === 3);
    expect(watch.balance).toBeLessThan(0);
    host.domains = 0;
    await host.tick(2);
    await client.settled();
    expect(watch.ticks).toEqual([1, 2, 3]);
    client.grant(watch, 1_000);
    await until(() => watch.ticks.length === 5);
    expect(watch.events.map(({ type }) => type)).toEqual(["sync", "sync", "record", "sync", "gone", "sync", "sync"]);
  });

  it("is ended, if that lasts, and may come back; the others are not", async () => {
    const host = new TickingHost(100, 4_000);
    owned.push(() => host.close());
    const server = await host.serve({ limits: { progressTimeoutMs: 20, minIntervalMs: 10 } });
    const client = await clientOf(server);
    const asleep = client.watch(1, { credit: 1, gives: false, intervalMs: 10 });
    const awake = client.watch(2, { credit: LIMITS.credit, gives: false, intervalMs: 10 });
    await client.settled();
    await host.tick(3, 10);
    await until(() => asleep.ended);
    expect(asleep.error).toMatchObject({ code: "slow-consumer", retryable: true });
    await host.tick(3, 10);
    await until(() => awake.ticks.length === 6);
    expect([awake.ended, server.watches]).toEqual([false, 1]);
    // It was told to read faster, and now does: it may go on from where it stood.
    const { state } = asleep;
    const since = { epoch: client.epoch, ...state.since };
    const again = client.watch(3, { state, credit: LIMITS.credit, gives: false, intervalMs: 10, since });
    await until(() => again.ticks.length === 6);
    expect([again.ticks, again.gaps]).toEqual([[1, 2, 3, 4, 5, 6], []]);
  });
});

describe("a reader whose socket is not read", () => {
  it("is sent no more than the socket's mark and what the network takes, and the newest state when it reads again", async () => {
    const host = new TickingHost(100, 20_000);
    owned.push(() => host.close());
    const server = await host.serve({ limits: { bufferedBytes: 200_000, beatMs: 3_600_000 } });
    const client = await clientOf(server);
    const watch = client.watch(1, { credit: LIMITS.credit, gives: false });
    await client.settled();
    client.socket.pause();
    // Until the network's buffers are full, as far as they may grow.
    let sent = -1;
    for (let round = 0; sent !== server.stats().bytesSent; round++) {
      expect(round).toBeLessThan(20);
      sent = server.stats().bytesSent;
      await host.tick(10);
    }
    await host.tick(30);
    expect(server.stats().bytesSent).toBe(sent);
    client.socket.resume();
    const last = server.stats().sampling.sweeps;
    await until(() => watch.ticks.includes(last));
    expect(watch.gaps.length).toBeGreaterThan(0);
    expect(watch.gaps.reduce((sum, [, skipped]) => sum + skipped!, watch.ticks.length)).toBe(last);
    expect(known(watch.state.records())).toEqual(known(host.records));
  });
});

describe("a snapshot", () => {
  it("comes to the newest state although its reader takes it in many parts while ticks go on", async () => {
    const { host, server } = await largeHost();
    const [first, second] = [await clientOf(server), await clientOf(server)];
    first.watch(1);
    await first.settled();
    await host.tick();
    const watch = second.watch(1, { credit: 1 });
    await second.settled();
    await host.tick(12);
    await until(() => watch.ticks.at(-1) === 13);
    expect(known(watch.state.records())).toEqual(known(host.records));
    expect(watch.gaps.reduce((sum, [, skipped]) => sum + skipped!, watch.ticks.length)).toBeGreaterThanOrEqual(12);
  });
});
