import { describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import { openRemote } from "../../src/drivers/remote/node-driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import type { ServeOptions } from "../../src/server/server.ts";
import { CLOSE_CODES } from "../../src/wire/protocol.ts";
import { owned } from "../owned.ts";
import { until } from "../until.ts";
import { JsonClient } from "./json-client.ts";
import { known, TickingHost } from "./ticking-host.ts";
import { WatchClient } from "./watch-client.ts";

async function start(host: TickingHost, options: ServeOptions = {}) {
  owned.push(() => host.close());
  const server = await host.serve(options);
  const client = async (how: Parameters<typeof WatchClient.connect>[1] = {}): Promise<WatchClient> => {
    const connected = await WatchClient.connect(server, how);
    owned.push(() => connected.socket.terminate());
    return connected;
  };
  return { host, server, client };
}

describe("a watch", () => {
  it("begins with the current state at once, and then has the very same messages as the others", async () => {
    const { host, server, client } = await start(new TickingHost());
    const [one, other] = [await client(), await client()];
    const early = one.watch(1);
    await one.settled();
    await host.tick(2);
    const late = other.watch(5);
    await until(() => late.ticks.length === 1);
    expect(late.events.map(({ type }) => type)).toEqual(["record", "record", "record", "sync"]);
    expect([late.ticks, late.gaps]).toEqual([[2], []]);
    expect(known(late.state.records())).toEqual(known(host.records));
    await one.settled();
    const marks = [one.messages.length, other.messages.length];
    host.domains = 2;
    await host.tick(3);
    await until(() => early.ticks.length === 5 && late.ticks.length === 4);
    const since = one.messages.slice(marks[0]);
    expect(since.length).toBeGreaterThanOrEqual(7);
    expect(other.messages.slice(marks[1])).toEqual(since);
    expect(late.events.filter(({ type }) => type === "gone")).toHaveLength(1);
    expect(known(late.state.records())).toEqual(known(host.records));
    expect(server.stats()).toMatchObject({ watches: 2, channels: 1 });
  });

  it("carries a record of more than half a mebibyte", async () => {
    const { host, client } = await start(new TickingHost(2, 600_000));
    const reader = await client();
    const watch = reader.watch(1);
    await reader.settled();
    await host.tick(2);
    await until(() => watch.ticks.length === 2);
    expect(watch.gaps).toEqual([]);
    expect(known(watch.state.records())).toEqual(known(host.records));
    const late = await client();
    const snapshot = late.watch(1, { credit: 1 });
    await until(() => snapshot.ticks.length === 1);
    expect(known(snapshot.state.records())).toEqual(known(host.records));
  });
});

describe("a server with watches", () => {
  it("sweeps its host once per tick for a hundred readers", async () => {
    const { host, server, client } = await start(new TickingHost());
    const readers = await Promise.all(Array.from({ length: 100 }, () => client()));
    const watches = readers.map((reader) => reader.watch(1));
    await Promise.all(readers.map((reader) => reader.settled()));
    await host.tick(5);
    await until(() => watches.every(({ ticks }) => ticks.length === 5));
    expect(host.driver.queries).toHaveLength(5);
    expect(server.stats()).toMatchObject({ watches: 100, channels: 1, sampling: { feeds: 1, samplers: 1 } });
    expect(watches.every(({ gaps }) => gaps.length === 0)).toBe(true);
  });

  it("has a channel for each query, cadence, and profile, and two for a client that watches the same twice", async () => {
    const { host, server, client } = await start(new TickingHost());
    const one = await client();
    const other = await JsonClient.connect(server);
    owned.push(() => other.socket.terminate());
    const channels = async (watch: () => unknown): Promise<number> => {
      watch();
      await one.settled();
      await other.settled();
      return server.stats().channels;
    };
    expect(await channels(() => one.watch(1))).toBe(1);
    expect(await channels(() => one.watch(2, { intervalMs: 2_000 }))).toBe(2);
    expect(await channels(() => one.watch(3, { mode: "on-change" }))).toBe(3);
    expect(await channels(() => one.watch(4, { groups: 1 }))).toBe(4);
    expect(await channels(() => other.watch(1))).toBe(5);
    expect(await channels(() => other.watch(2, { groups: 1 }))).toBe(6);
    const twice = one.watch(5);
    expect(await channels(() => {})).toBe(7);
    // One sampler for each query, one feed for each query and cadence.
    expect(server.stats().sampling).toMatchObject({ samplers: 2, feeds: 4 });
    await host.tick();
    await until(() => twice.ticks.length === 1);
    one.send({ type: "cancel", id: 5 });
    await one.settled();
    expect([twice.ended, twice.error, server.stats().channels]).toEqual([true, undefined, 6]);
  });

  it("refuses what it does not allow, says why, and keeps nothing of it", async () => {
    const { server, client } = await start(new TickingHost(), { limits: { sweepsPerClient: 2, minIntervalMs: 500 } });
    const reader = await client();
    const refused = [
      reader.watch(1, { intervalMs: 499 }),
      reader.watch(2, { intervalMs: undefined }),
      reader.watch(3, { mode: "sometimes" }),
      reader.watch(4, { mode: "on-change", heartbeatMs: 1 }),
      reader.watch(5, { groups: "all" }),
    ];
    await reader.settled();
    expect(refused.map(({ error }) => error?.code)).toEqual([
      "invalid-argument",
      "invalid-argument",
      "invalid-argument",
      "invalid-argument",
      "unknown-group",
    ]);
    expect(refused[0]?.error?.message).toMatch(
      /499 ms is too short for this server: set the option intervalMs to 500 ms or more/,
    );
    expect(server.stats()).toMatchObject({ watches: 0, channels: 0, sampling: { feeds: 0, samplers: 0 } });
    const [first, second, third] = [6, 7, 8].map((id) => reader.watch(id, { intervalMs: 500 }));
    await reader.settled();
    expect([first!.ended, second!.ended, third!.error?.code]).toEqual([false, false, "limit-exceeded"]);
    expect(server.stats()).toMatchObject({ watches: 2, channels: 2 });
  });

  it("ends a connection that uses an id twice, watches before its hello, or resumes from nowhere", async () => {
    const { server, client } = await start(new TickingHost());
    const twice = await client();
    twice.watch(1);
    twice.watch(1);
    expect((await twice.closed)[0]).toBe(CLOSE_CODES["duplicate-id"]);
    const early = await client({ greets: false });
    early.watch(1);
    expect((await early.closed)[0]).toBe(CLOSE_CODES["bad-message"]);
    for (const since of [null, {}, 5, { epoch: 1, channel: 1, sequence: 0 }, { epoch: "", channel: 0, sequence: 0 }]) {
      const lost = await client();
      lost.watch(1, { since });
      expect((await lost.closed)[0]).toBe(CLOSE_CODES["bad-message"]);
    }
    const rich = await client();
    const watch = rich.watch(1);
    rich.grant(watch, 1_073_741_824);
    expect((await rich.closed)[0]).toBe(CLOSE_CODES["bad-message"]);
    await until(() => server.clients === 0);
  });

  it("ends a watch with the host's error, if waiting cannot restore that", async () => {
    const { host, server, client } = await start(new TickingHost());
    const reader = await client();
    const watch = reader.watch(1);
    await reader.settled();
    await host.tick();
    host.failure = new VirstreamError("denied", "no more of that");
    await host.tick();
    await until(() => watch.ended);
    expect(watch.error).toMatchObject({ code: "denied", message: "no more of that", retryable: false });
    expect(watch.ticks).toEqual([1]);
    expect(server.stats()).toMatchObject({ watches: 0, channels: 0, sampling: { feeds: 0, samplers: 0 } });
  });

  it("says when its host cannot be reached, and when it can again, and how many sweeps that took", async () => {
    const { host, server, client } = await start(new TickingHost());
    const reader = await client();
    const watch = reader.watch(1);
    await reader.settled();
    await host.tick();
    host.failure = new VirstreamError("connection-lost", "the daemon is gone");
    await host.tick(3);
    await until(() => watch.events.at(-1)?.type === "status");
    expect(watch.events.at(-1)).toMatchObject({ state: "reconnecting", host: "script" });
    expect(server.health()).toMatchObject({ status: "degraded", sourcesAbsent: 1 });
    // Who comes now is told, too, and only once.
    const other = await client();
    const late = other.watch(1);
    await other.settled();
    expect(late.events.filter(({ type }) => type === "status")).toHaveLength(1);
    host.failure = undefined;
    await host.tick();
    await until(() => watch.ticks.length === 2);
    expect(watch.events.slice(-6).map(({ type }) => type)).toEqual([
      "status",
      "gap",
      "record",
      "record",
      "record",
      "sync",
    ]);
    expect([watch.gaps, watch.ticks]).toEqual([[["source", 3]], [1, 2]]);
    expect(server.health()).toMatchObject({ status: "ok", sourcesAbsent: 0 });
  });

  it("is degraded and not ready while a watched host fails every record of its sweeps, although its connection lasts", async () => {
    const { host, server, client } = await start(new TickingHost());
    const status = async (path: string) => (await fetch(server.url.replace("ws:", "http:") + path)).status;
    const reader = await client();
    reader.watch(1);
    reader.watch(2, { deadlineMs: 10 });
    reader.watch(3, { domains: [{ name: "domain-0" }] });
    await reader.settled();
    const ok = host.driver.record(0);
    const late = new DomainStatsRecord({ ...ok, domain: ok.domain, status: "failed", reason: "timeout" });
    const other = new DomainStatsRecord({ ...late, domain: host.driver.record(1).domain });
    host.script = () => [late, other];
    await host.tick();
    expect(server.health()).toMatchObject({ status: "degraded", sourcesAbsent: 1 });
    expect([await status("/healthz"), await status("/readyz")]).toEqual([200, 503]);
    host.script = () => [ok, other];
    await host.tick();
    expect(server.health()).toMatchObject({ status: "ok", sourcesAbsent: 0 });
    expect(await status("/readyz")).toBe(200);
    // A client can make its own sweeps fail, with a short deadline or by naming a domain that cannot be read.
    host.script = () => [late];
    reader.send({ type: "cancel", id: 1 });
    await reader.settled();
    await host.tick();
    expect(server.health()).toMatchObject({ status: "ok", sourcesAbsent: 0 });
  });

  it("ends a watch that its driver refuses at once, and says why", async () => {
    const { host, server, client } = await start(new TickingHost());
    Object.assign(host.driver, {
      watch: () => {
        throw new VirstreamError("unsupported", "this one cannot be watched");
      },
    });
    const reader = await client();
    const watch = reader.watch(1);
    await reader.settled();
    expect([watch.ended, watch.error?.code]).toEqual([true, "unsupported"]);
    const { channels, watches, sampling } = server.stats();
    expect([channels, watches, sampling.feeds]).toEqual([0, 0, 0]);
  });

  it("sends a failed record in place of one that it cannot send, and goes on", async () => {
    const { host, server, client } = await start(new TickingHost());
    const reader = await client();
    const watch = reader.watch(1);
    await reader.settled();
    await host.tick();
    const [record] = host.records;
    const broken = new DomainStatsRecord({
      domain: new Domain("no uuid", "web", 1, "script"),
      params: TypedParams.EMPTY,
      status: "ok",
      index: 0,
      sampledAt: record!.sampledAt,
      tookMs: 1,
    });
    host.script = () => [broken];
    await host.tick();
    await until(() => watch.ticks.length === 2);
    const [failed] = [...watch.state.records()];
    expect(failed).toMatchObject({ status: "failed", error: { code: "invalid-argument" }, domain: { name: "web" } });
    host.script = undefined;
    await host.tick();
    await until(() => watch.ticks.length === 3);
    expect(known(watch.state.records())).toEqual(known(host.records));
    expect(server.stats()).toMatchObject({ watches: 1, channels: 1 });
  });

  it("tells its watchers when it shuts down, and leaves nothing behind, neither readers nor those it waited for", async () => {
    const { host, server, client } = await start(new TickingHost());
    const [reader, gone] = [await client(), await client()];
    reader.watch(1);
    gone.watch(1, { groups: 1 });
    await reader.settled();
    await gone.settled();
    await host.tick();
    await gone.vanish();
    await until(() => server.clients === 1);
    expect(server.stats()).toMatchObject({ watches: 1, channels: 2 });
    await server.close();
    expect((await reader.closed)[0]).toBe(CLOSE_CODES["going-away"]);
    expect(server.stats()).toMatchObject({ watches: 0, channels: 0, sampling: { feeds: 0, samplers: 0 } });
    expect(host.driver.closed).toBe(false);
  });

  it("serves a connection's watch, and stops when that is left", async () => {
    const { host, server } = await start(new TickingHost());
    await using connection = new Connection(await openRemote(server.url, {}));
    const records = connection.watch({}, { intervalMs: 1_000 })[Symbol.asyncIterator]();
    const first = records.next();
    await until(() => server.watches === 1);
    await host.tick(2);
    const names = [(await first).value.domain.name];
    while (names.length < 6) names.push((await records.next()).value.domain.name);
    expect(names).toEqual([0, 1, 2, 0, 1, 2].map((i) => `domain-${i}`));
    await records.return?.();
    await until(() => server.watches === 0);
    expect(server.stats()).toMatchObject({ channels: 0, sampling: { feeds: 0, samplers: 0 } });
  });
});
