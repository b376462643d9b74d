import "../../src/client/watching.ts";
import { describe, expect, it } from "vitest";
import type { Driver } from "../../src/driver/driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { checkQuery, type Query } from "../../src/model/query.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { type Cadence, checkCadence, type WatchEvent, type WatchSink } from "../../src/model/watch.ts";
import { isComplete } from "../../src/sampling/completeness.ts";
import { Subscription } from "../../src/sampling/subscription.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { CollectingSink, pushAll } from "../sampling/collecting-sink.ts";
import { aborted } from "../server/scripted-driver.ts";
import { uncaughtDuring } from "../uncaught.ts";
import { Host, Hosts, inOrder } from "./hosts.ts";

function lost(): VirstreamError {
  return new VirstreamError("connection-lost", "the daemon went away");
}

const syncs = (signs: string[], host: string): number => signs.filter((sign) => sign.startsWith(`sync ${host}`)).length;

describe("A watch of several hosts", () => {
  it("has every host's records before that host's sync, tick after tick", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=2"), new Host("hv2", "domains=1"));
    const watch = all.watch();
    await all.pass(1_100);
    const signs = watch.take();
    for (const [host, domains] of [
      ["hv1", 2],
      ["hv2", 1],
    ] as const) {
      const records = Array.from({ length: domains }, (_, i) => `record ${host}/guest-0000${i} ok`);
      const tick = [...records, `sync ${host} ${domains}`];
      expect(signs.filter((sign) => sign.includes(host))).toEqual([...tick, ...tick]);
    }
    watch.stop();
  });

  it("gives records that belong to the aggregate, in the places of its sweeps", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const watch = all.watch();
    await all.pass(100);
    const records = watch.events.flatMap((event) => (event.type === "record" ? [event.record] : []));
    expect(inOrder(records)).toEqual(inOrder(await all.recordsAtOnce()));
    const again = await all.recordsAtOnce({ domains: records.map(({ domain }) => domain) });
    expect(again).toHaveLength(6);
    watch.stop();
  });

  it("goes on at the others' pace while one host is silent, which is degraded until it is there again", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    const watch = all.watch();
    await all.pass(100);
    watch.take();
    frozen.frozenAfter = 0;
    await all.pass(10_000);
    const signs = watch.takeSigns();
    expect(syncs(signs, "hv1")).toBe(10);
    expect(signs.filter((sign) => !sign.startsWith("sync"))).toEqual(["status hv2 degraded"]);
    frozen.frozenAfter = undefined;
    await all.pass(40_000);
    const back = watch.takeSigns();
    expect(syncs(back, "hv1")).toBe(40);
    expect(back.filter((sign) => !sign.startsWith("sync"))).toEqual([
      "status hv2 connected",
      expect.stringMatching(/^gap hv2 source \d+$/),
    ]);
    expect(syncs(back, "hv2")).toBeGreaterThan(0);
    watch.stop();
  });

  it("begins with a host that is not there as degraded by its URI, and has it when it comes", async () => {
    const late = new Host("hv2");
    late.down = true;
    await using all = await Hosts.opened(new Host("hv1"), late);
    const watch = all.watch();
    await all.pass(100);
    expect(watch.takeSigns()).toEqual(["status host:///hv2 degraded", "sync hv1 3"]);
    late.down = false;
    await all.pass(31_000);
    const signs = watch.takeSigns();
    expect(signs).toContain("status host:///hv2 connected");
    expect(syncs(signs, "hv2")).toBeGreaterThan(0);
    watch.stop();
  });

  it("has no event after its end, also when the connection is closed while a host is not there", async () => {
    const late = new Host("hv2");
    late.down = true;
    const all = await Hosts.opened(new Host("hv1"), late);
    const watch = all.watch();
    await all.pass(100);
    expect(await uncaughtDuring(() => all.driver.close())).toEqual([]);
    expect(watch.takeSigns()).toContain("status host:///hv2 degraded");
    expect(watch.error?.code).toBe("connection-closed");
  });

  it("reports the newer reason when a host that was absent turns out to be another of its hosts", async () => {
    const [first, late] = [new Host("hv1"), new Host("hv2")];
    late.down = true;
    await using all = await Hosts.opened(first, late);
    const watch = all.watch();
    const heard: string[] = [];
    all.driver.onStatus(({ state, error }) => heard.push(`${state} ${error?.code}`));
    await all.pass(100);
    // As when the name leads to a host that is there already: opening it is refused.
    late.refusal = new VirstreamError("invalid-argument", "both are the host hv1");
    await all.pass(31_000);
    const reasons = watch.events.flatMap((event) =>
      event.type === "status" && event.state === "degraded" ? [event.error?.message] : [],
    );
    expect(reasons).toEqual([
      expect.stringContaining("nothing listens at host:///hv2"),
      expect.stringContaining("both are the host hv1"),
    ]);
    expect(heard).toEqual(["degraded invalid-argument"]);
    watch.stop();
  });

  it("tells a newcomer which hosts are degraded", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    host.failure = lost();
    await all.recordsAtOnce();
    const watch = all.watch();
    await all.pass(100);
    expect(watch.takeSigns()).toContain("status hv2 degraded");
    watch.stop();
  });

  it("joins a host whose driver was over and was opened again, and reports which domains have left it meanwhile", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    const watch = all.watch({}, { mode: "on-change" });
    await all.pass(100);
    watch.take();
    host.failure = new VirstreamError("unauthenticated", "the token is another one now");
    await all.pass(2_000);
    expect(watch.takeSigns().filter((sign) => sign.includes("hv2"))).toEqual(["status hv2 degraded"]);
    host.edit = (record) => (record.domain.name === "guest-00001" ? undefined : record);
    host.failure = undefined;
    await all.pass(31_000);
    const signs = watch.takeSigns().filter((sign) => sign.includes("hv2"));
    expect(signs.slice(0, 4)).toEqual([
      "status hv2 connected",
      "gap hv2 source undefined",
      "gone hv2/guest-00001",
      "sync hv2 2",
    ]);
    watch.stop();
  });

  it("fails when every host refuses what is asked", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const watch = all.watch({ groups: 2 ** 20, enforce: true });
    await all.pass(100);
    expect(watch.error?.code).toBe("unsupported");
  });

  it("goes on with the others when one host refuses what is asked", async () => {
    const picky = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), picky);
    picky.failure = new VirstreamError("invalid-argument", "500 ms is the shortest interval here");
    const watch = all.watch();
    await all.pass(3_000);
    const signs = watch.takeSigns();
    expect(watch.error).toBeUndefined();
    expect(syncs(signs, "hv1")).toBe(4);
    expect(signs.filter((sign) => sign.startsWith("status"))).toEqual(["status hv2 degraded"]);
    watch.stop();
  });

  it("goes on with a host that accepts what it refused at first, when the others refuse it later", async () => {
    const [first, second] = [new Host("hv1"), new Host("hv2")];
    await using all = await Hosts.opened(first, second);
    const refusal = new VirstreamError("invalid-argument", "500 ms is the shortest interval here");
    first.failure = refusal;
    second.frozenAfter = 0;
    const watch = all.watch();
    await all.pass(100);
    first.failure = undefined;
    await all.pass(40_000);
    expect(syncs(watch.takeSigns(), "hv1")).toBeGreaterThan(0);
    second.frozenAfter = undefined;
    second.failure = refusal;
    await all.pass(40_000);
    expect(watch.error).toBeUndefined();
    expect(syncs(watch.takeSigns(), "hv1")).toBeGreaterThan(30);
    watch.stop();
  });

  it("lets no sweep report a domain that left a host while its driver was opened again", async () => {
    const source = await Hosts.opened(new Host("hv2"));
    const records = await source.recordsAtOnce();
    await source.connection.close();
    let sink: WatchSink | undefined;
    const host: Host = Object.assign(new Host("hv2"), {
      watch(_query: Query, _cadence: Cadence, to: WatchSink): () => void {
        sink = to;
        return () => {};
      },
    });
    await using all = await Hosts.opened(new Host("hv1"), host);
    const watch = all.watch();
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 0 };
    const sync: WatchEvent = { type: "sync", tick: 1, host: "hv2", overrun: 0, summary };
    const sweep = (some: readonly DomainStatsRecord[]): void =>
      pushAll(sink!, [...some.map((record) => ({ type: "record", record }) as const), sync]);
    sweep(records);
    sink!.end(new VirstreamError("unauthenticated", "the token is another one now"));
    await all.pass(31_000);
    sweep(records.slice(1));
    host.failure = lost();
    const failed = (await all.recordsAtOnce()).filter(({ status }) => status === "failed");
    expect(failed.map(({ domain }) => domain.name)).toEqual(["guest-00001", "guest-00002"]);
    watch.stop();
  });

  it("is complete once all hosts were swept, also one that was absent at first and those behind one source", async () => {
    const late = new Host("hv2");
    late.down = true;
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 0 };
    let sweep = (_host: string): void => {};
    const several: Host = Object.assign(new Host("hvA"), {
      host: "hvA,hvB",
      watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
        sweep = (host) => pushAll(sink, [{ type: "sync", tick: 1, host, overrun: 0, summary }]);
        return () => {};
      },
    });
    await using all = await Hosts.opened(new Host("hv1"), late, several);
    const feed = all.connection.sampling.feed(checkQuery({}, all.driver), checkCadence());
    const sink = new CollectingSink();
    feed.push(sink);
    await all.pass(100);
    sweep("hvA");
    expect(isComplete(feed)).toBe(false);
    sweep("hvB");
    expect(isComplete(feed)).toBe(true);
    late.down = false;
    const { length } = sink.events;
    await all.pass(31_000);
    expect(sink.events.slice(length)).toContainEqual(expect.objectContaining({ type: "sync", host: "hv2" }));
    expect(isComplete(feed)).toBe(true);
    feed.end(lost());
  });

  it("passes on what a source that is several hosts says of each", async () => {
    const inner: Driver = Object.assign(new Host("hvA"), {
      host: "hvA,hvB",
      watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
        pushAll(sink, [
          { type: "status", state: "degraded", host: "hvB", error: lost() },
          { type: "status", state: "connected", host: "hvB", error: undefined },
          { type: "status", state: "reconnecting", host: undefined, error: lost() },
          { type: "status", state: "connected", host: undefined, error: undefined },
          { type: "gap", reason: "reconnected", skipped: 2, host: undefined },
          { type: "gap", reason: "source", skipped: 1, host: "hvA" },
        ]);
        return () => {};
      },
    });
    await using all = await Hosts.opened(inner as Host);
    const watch = all.watch();
    await turn();
    await turn();
    expect(watch.take()).toEqual([
      "status hvB degraded",
      "status hvB connected",
      "status hvA,hvB degraded",
      "status hvA,hvB connected",
      "gap hvA,hvB reconnected 2",
      "gap hvA source 1",
    ]);
    watch.stop();
  });

  it("says of a host behind a source that was lost that it is connected again once that is known", async () => {
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 0 };
    const sync: WatchEvent = { type: "sync", tick: 1, host: "hvA", overrun: 0, summary };
    const degraded: WatchEvent = { type: "status", state: "degraded", host: "hvB", error: lost() };
    const gap: WatchEvent = { type: "gap", reason: "source", skipped: 1, host: "hvA" };
    // What the source says after each connection: a snapshot, which says of its hosts only at its end.
    const scripts: WatchEvent[][] = [
      [degraded, sync],
      [gap, degraded, sync],
      [gap, sync],
    ];
    let end = (): void => {};
    const inner: Driver = Object.assign(new Host("hvA"), {
      host: "hvA,hvB",
      watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
        for (const event of scripts.shift() ?? []) pushAll(sink, [event]);
        end = () => sink.end(lost());
        return () => {};
      },
    });
    await using all = await Hosts.opened(inner as Host);
    const watch = all.watch();
    expect(watch.takeSigns()).toEqual(["status hvB degraded", "sync hvA 0"]);
    const ofB: string[][] = [];
    for (let i = 0; i < 2; i++) {
      end();
      await all.pass(1_000);
      ofB.push(watch.takeSigns().filter((sign) => sign.startsWith("status hvB ") || sign.startsWith("sync")));
    }
    expect(ofB).toEqual([["sync hvA 0"], ["status hvB connected", "sync hvA 0"]]);
    watch.stop();
  });

  it("finds a host silent whose driver watches by itself, once it gives no sign of life, and hears it again", async () => {
    const summary = { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 0 };
    let speak = (): void => {};
    const silent: Host = Object.assign(new Host("hv2"), {
      watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
        speak = () => pushAll(sink, [{ type: "sync", tick: 1, host: "hv2", overrun: 0, summary }]);
        speak();
        return () => {};
      },
    });
    await using all = await Hosts.opened(new Host("hv1"), silent);
    const watch = all.watch();
    await all.pass(60_000);
    const ofHv2 = (): string[] => watch.takeSigns().filter((sign) => sign.includes("hv2"));
    // It says nothing, but when it is asked it answers: it is not absent.
    expect(ofHv2()).toEqual(["sync hv2 0"]);
    silent.frozenAfter = 0;
    await all.pass(15_000);
    expect(ofHv2()).toEqual(["status hv2 degraded"]);
    silent.frozenAfter = undefined;
    speak();
    await all.pass(100);
    expect(ofHv2()).toEqual(["status hv2 connected", "sync hv2 0"]);
    watch.stop();
  });

  it("keeps nothing of the watches of a host that ended, however often they are tried again", async () => {
    const sinks = new Set<WatchSink>();
    let started = 0;
    const failing: Host = Object.assign(new Host("hv2"), {
      watch(_query: Query, _cadence: Cadence, sink: WatchSink): () => void {
        started++;
        sinks.add(sink);
        if (started === 2) throw lost();
        pushAll(sink, [{ type: "gap", reason: "source", skipped: 1, host: "hv2" }]);
        sink.end(lost());
        return () => {};
      },
    });
    await using all = await Hosts.opened(new Host("hv1"), failing);
    const watch = all.watch();
    await all.pass(100);
    const { timers } = all.clock;
    await all.pass(600_000);
    expect(started).toBeGreaterThan(20);
    expect(sinks.size).toBe(1);
    expect(all.clock.timers).toBeLessThanOrEqual(timers + 1);
    const signs = watch.takeSigns().filter((sign) => sign.startsWith("status"));
    expect(signs.slice(0, 3)).toEqual(["status hv2 degraded", "status hv2 connected", "status hv2 degraded"]);
    watch.stop();
  });

  it("is shared: however many watch the same, each host is swept once per interval", async () => {
    const hosts = [new Host("hv1"), new Host("hv2")];
    await using all = await Hosts.opened(...hosts);
    const query = checkQuery({}, all.driver);
    const watches = Array.from({ length: 3 }, () =>
      Subscription.to(all.connection.sampling, query, checkCadence(), (events) => events),
    );
    const readers = watches.map((watch) => watch.next());
    await all.pass(100);
    for (const { value } of await Promise.all(readers)) expect(value).not.toHaveLength(0);
    expect(hosts.map(({ queries }) => queries.length)).toEqual([1, 1]);
    for (const watch of watches) void watch.return();
  });

  it("costs nothing once the last watch has ended", async () => {
    const late = new Host("hv3");
    late.down = true;
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen, late);
    const quiet = all.clock.timers;
    const watch = all.watch();
    frozen.frozenAfter = 0;
    await all.pass(100);
    watch.stop();
    await turn();
    await turn();
    expect(all.clock.timers).toBe(quiet);
    expect(watch.error).toBeUndefined();
  });

  it("ends with connection-closed when the connection is closed, and leaves no timer", async () => {
    const hosts = [new Host("hv1"), new Host("hv2"), new Host("hv3")];
    hosts[2]!.down = true;
    const all = await Hosts.opened(...hosts);
    const watch = all.watch();
    await all.pass(1_000);
    hosts[1]!.frozenAfter = 0;
    await all.pass(5_000);
    await all.connection.close();
    await aborted(AbortSignal.abort());
    await turn();
    expect(watch.error?.code).toBe("connection-closed");
    expect(all.clock.timers).toBe(0);
    expect(hosts.map(({ closed }) => closed)).toEqual([1, 1, 0]);
  });
});
