import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connectAll } from "../../src/client/connect.ts";
import { type ServeOptions, serve, type VirstreamServer } from "../../src/server/server.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { known, TickingHost } from "./ticking-host.ts";
import { type ClientWatch, type ClientWatchOptions, WatchClient } from "./watch-client.ts";

/** More than the ticks that the server keeps of one host. */
const HOSTS = 12;

async function clientOf(server: VirstreamServer): Promise<WatchClient> {
  const client = await WatchClient.connect(server);
  owned.push(() => client.socket.terminate());
  return client;
}

/** A server with a watcher that has had three ticks. */
async function watched({ payload = 10, limits }: { payload?: number } & Pick<ServeOptions, "limits"> = {}) {
  const host = new TickingHost(3, payload);
  owned.push(() => host.close());
  const server = await host.serve({ ...(limits && { limits }) });
  const client = await clientOf(server);
  const watch = client.watch(1);
  await client.settled();
  await host.tick(3);
  await until(() => watch.ticks.length === 3);
  return { host, server, client, watch };
}

/** Loses the connection, so that the server knows. */
async function lose(client: WatchClient, server: VirstreamServer): Promise<void> {
  const { clients } = server;
  await client.vanish();
  await until(() => server.clients < clients);
}

/** What a watch was told of the state of its host: nothing that it knew already. */
function told({ events }: ClientWatch): string[] {
  return events.map(({ type }) => type);
}

/** A server of many hosts, and a way to connect and watch all of them. */
async function fleet({ domains, intervalMs }: { domains: number; intervalMs: number }) {
  const uris = Array.from({ length: HOSTS }, (_, i) => `test:///default?host=hv${i}&domains=${domains}`);
  const connection = await connectAll(uris);
  owned.push(() => connection.close());
  const server = await serve(connection, { port: 0, limits: { minIntervalMs: intervalMs } });
  owned.push(() => server.close());
  const watch = async (options: ClientWatchOptions = {}) => {
    const client = await clientOf(server);
    return { client, watch: client.watch(1, { intervalMs, ...options }) };
  };
  return { server, watch };
}

describe("a client of a server of many hosts", () => {
  it("misses nothing when it comes back after two sweeps of each of them", async () => {
    const { server, watch } = await fleet({ domains: 2, intervalMs: 500 });
    const other = await watch();
    const lost = await watch();
    await until(() => lost.watch.ticks.length >= HOSTS);
    await lose(lost.client, server);
    const then = other.watch.ticks.length;
    await until(() => other.watch.ticks.length >= then + 2 * HOSTS);
    const back = await clientOf(server);
    const before = lost.watch.ticks.at(-1)!;
    const again = back.resume(1, lost.watch, { intervalMs: 500 });
    await until(() => again.ticks.length >= 3 * HOSTS);
    expect(again.gaps).toEqual([]);
    expect(again.ticks).toEqual(again.ticks.map((_, i) => before + 1 + i));
  });

  it("gets each message, and no snapshot, when it is late by less than a sweep", async () => {
    const domains = 150;
    const { server, watch } = await fleet({ domains, intervalMs: 10_000 });
    const late = await watch({ credit: 1, gives: false });
    const other = await watch();
    await until(() => [...other.watch.state.records()].length === HOSTS * domains);
    expect(other.client.bytes).toBeGreaterThan(2 * 262_144);
    expect(late.watch.ticks.length).toBeLessThan(HOSTS);
    late.client.grant(late.watch, 2 ** 29);
    await until(() => late.watch.ticks.length >= HOSTS);
    expect([late.watch.gaps, server.stats().sampling.ticksConflated]).toEqual([[], 0]);
  });
});

describe("a client that lost its connection", () => {
  it("gets a snapshot when the server has given up the messages that it missed, and the memory is free when all have left", async () => {
    const { host, server, client, watch } = await watched({ limits: { ringBytes: 500 } });
    const other = await clientOf(server);
    other.watch(1);
    await other.settled();
    await lose(client, server);
    await host.tick(3);
    expect(server.stats().ringBytes).toBeGreaterThan(0);
    expect(server.stats().ringBytes).toBeLessThanOrEqual(500);
    const back = await clientOf(server);
    const again = back.resume(1, watch);
    await host.tick();
    await until(() => again.ticks.length === 1);
    expect([again.gaps, again.ticks]).toEqual([[["reconnected", 3]], [7]]);
    expect(known(again.state.records())).toEqual(known(host.records));
    for (const each of [other, back]) each.socket.send('{"type":"cancel","id":1}');
    await until(() => server.stats().channels === 0);
    expect(server.stats()).toMatchObject({ ringBytes: 0, snapshotRecords: 0 });
  });

  it("misses nothing when it comes back in time, without a snapshot", async () => {
    const { host, server, client, watch } = await watched();
    await lose(client, server);
    expect(server.stats()).toMatchObject({ watches: 0, channels: 1 });
    await host.tick(2);
    const back = await clientOf(server);
    const again = back.resume(1, watch);
    await until(() => again.ticks.length === 2);
    await host.tick();
    await until(() => again.ticks.length === 3);
    expect([again.ticks, again.gaps]).toEqual([[4, 5, 6], []]);
    expect(again.events.filter(({ type }) => type === "record")).toHaveLength(9);
    expect(known(again.state.records())).toEqual(known(host.records));
    expect(server.stats().sampling.ticksConflated).toBe(0);
  });

  it("gets nothing when it comes back before anything has happened", async () => {
    const { server, client, watch } = await watched();
    await lose(client, server);
    const back = await clientOf(server);
    const again = back.resume(1, watch);
    await back.settled();
    expect(told(again)).toEqual([]);
    expect(server.stats()).toMatchObject({ watches: 1, channels: 1 });
  });

  it("is sent all that it missed, however much, as long as the server remembers it", async () => {
    const { host, server, client, watch } = await watched({ payload: 200_000 });
    await lose(client, server);
    await host.tick(5);
    const back = await clientOf(server);
    const again = back.resume(1, watch, { credit: 1 });
    await until(() => again.ticks.length === 5);
    expect([again.ticks, again.gaps]).toEqual([[4, 5, 6, 7, 8], []]);
  });

  it("learns how much it missed, and the newest state, when the server remembers no more", async () => {
    const { host, server, client, watch } = await watched();
    const other = await clientOf(server);
    const stays = other.watch(1);
    await until(() => stays.ticks.length === 1);
    await lose(client, server);
    await host.tick(12);
    const back = await clientOf(server);
    const again = back.resume(1, watch);
    await until(() => again.ticks.length === 1);
    expect([again.gaps, again.ticks]).toEqual([[["reconnected", 11]], [15]]);
    expect(known(again.state.records())).toEqual(known(host.records));
  });

  it("gets a snapshot, and an unknown number of missed ticks, from a server that was started again", async () => {
    const { host, server, client, watch } = await watched();
    await server.close();
    const next = await host.serve();
    const back = await clientOf(next);
    expect(back.epoch).not.toBe(client.epoch);
    watch.state.reconnect(false);
    const again = back.watch(1, { state: watch.state, since: { epoch: client.epoch, channel: 1, sequence: 2 } });
    await back.settled();
    await host.tick();
    await until(() => again.ticks.length === 1);
    expect([again.gaps, again.ticks]).toEqual([[["reconnected", undefined]], [1]]);
    expect(known(again.state.records())).toEqual(known(host.records));
  });

  it("gets a snapshot for a sequence that was not made yet, and for the channel of another query", async () => {
    const { host, server, client, watch } = await watched();
    const back = await clientOf(server);
    const { channel, sequence } = watch.state.since!;
    const early = back.watch(1, { since: { epoch: client.epoch, channel, sequence: sequence + 1 } });
    const foreign = back.watch(2, { groups: 1, since: { epoch: client.epoch, channel, sequence } });
    await back.settled();
    await host.tick();
    await until(() => early.ticks.length === 2 && foreign.ticks.length === 1);
    expect(told(early).slice(0, 4)).toEqual(["record", "record", "record", "sync"]);
    expect(known(foreign.state.records())).toEqual(known(host.records));
    expect(server.stats().channels).toBe(2);
  });

  it("finds its own channel again among several of the same", async () => {
    const { host, server, client, watch } = await watched();
    const second = client.watch(2);
    await until(() => second.ticks.length === 1);
    const channels = [watch, second].map(({ state }) => state.since?.channel);
    await lose(client, server);
    await host.tick();
    const back = await clientOf(server);
    const again = [back.resume(2, second), back.resume(1, watch)];
    await until(() => again.every(({ ticks }) => ticks.length === 1));
    expect(again.map(({ state }) => state.since?.channel)).toEqual(channels.reverse());
    expect(again.flatMap(({ gaps }) => gaps)).toEqual([]);
  });

  it("is waited for only as long as it could go on from where it stands", async () => {
    const { host, server, client, watch } = await watched();
    await lose(client, server);
    await host.tick(8);
    expect(server.stats()).toMatchObject({ channels: 1, sampling: { feeds: 1 } });
    // With the ninth tick that it misses the first one is forgotten.
    await host.tick();
    expect(server.stats()).toMatchObject({ channels: 0, sampling: { feeds: 0, samplers: 0 } });
    const sweeps = host.driver.queries.length;
    host.clock.advance(10_000);
    await turn();
    expect([host.driver.queries.length, host.driver.running]).toEqual([sweeps, 0]);
    const back = await clientOf(server);
    const again = back.resume(1, watch);
    await back.settled();
    await host.tick();
    await until(() => again.ticks.length === 1);
    expect(again.gaps).toEqual([["reconnected", undefined]]);
  });
});

describe("a client that leaves", () => {
  it("is not waited for when it says goodbye, or cancels: the sweep under way is stopped at once", async () => {
    for (const leave of ["cancel", "close", "page left"]) {
      const { host, server, client, watch } = await watched();
      let stopped = false;
      host.stall = (signal) => signal.addEventListener("abort", () => (stopped = true));
      host.clock.advance(1_000);
      await until(() => host.driver.running === 1);
      if (leave === "cancel") client.send({ type: "cancel", id: 1 });
      else await client.close(leave === "close" ? 1000 : 1001);
      await until(() => host.driver.running === 0);
      expect([stopped, host.driver.queries.length]).toEqual([true, 4]);
      if (leave === "cancel") {
        await client.settled();
        expect([watch.ended, watch.error]).toEqual([true, undefined]);
      }
      expect(server.stats()).toMatchObject({ watches: 0, channels: 0, sampling: { samplers: 0, sweepsStopped: 1 } });
    }
  });
});
