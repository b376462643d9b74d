import { describe, expect, it } from "vitest";
import { AggregateDriver } from "../../src/aggregate/aggregate-driver.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import "../../src/drivers/builtin.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { checkQuery } from "../../src/model/query.ts";
import { checkCadence } from "../../src/model/watch.ts";
import { isComplete } from "../../src/sampling/completeness.ts";
import { Sampling } from "../../src/sampling/sampling.ts";
import { serve } from "../../src/server/server.ts";
import { CollectingSink } from "../sampling/collecting-sink.ts";
import { Host, Hosts, inOrder } from "./hosts.ts";

const three = () => ["hv1", "hv2", "db1"].map((name) => new Host(name, "domains=3"));

describe("A query with patterns to three hosts", () => {
  it("asks only the hosts that match, each for the domains that match", async () => {
    const hosts = three();
    await using all = await Hosts.opened(...hosts);
    expect(inOrder(await all.records({ hosts: ["hv*"], names: ["*-00001"] }))).toEqual([
      "hv1/guest-00001 ok",
      "hv2/guest-00001 ok",
    ]);
    expect(hosts.map(({ queries }) => queries.length)).toEqual([1, 1, 0]);
    expect(hosts.map(({ simulation }) => simulation.produced)).toEqual([1, 1, 0]);
    const events = await all.settle(all.connection.stats({ hosts: ["hv2", "db?"] }).events.toArray());
    expect(events[0]).toEqual({ type: "expect", domains: 6 });
    expect(hosts.map(({ queries }) => queries.length)).toEqual([1, 2, 1]);
  });

  it("has no records, and says so at once, where no host matches", async () => {
    await using all = await Hosts.opened(...three());
    const events = await all.connection.stats({ hosts: ["none"] }).events.toArray();
    expect(events).toMatchObject([
      { type: "expect", domains: 0 },
      { type: "sync", summary: { domains: 0 } },
    ]);
  });

  it("watches only the hosts that match: the others have no sync, no status and no query", async () => {
    const hosts = three();
    await using all = await Hosts.opened(...hosts);
    const watch = all.watch({ hosts: ["hv*"], names: ["guest-0000[12]"] });
    await all.pass(1_100);
    const signs = watch.take();
    const tick = (host: string) => [`record ${host}/guest-00001 ok`, `record ${host}/guest-00002 ok`, `sync ${host} 2`];
    for (const host of ["hv1", "hv2"]) {
      expect(signs.filter((sign) => sign.includes(host))).toEqual([...tick(host), ...tick(host)]);
    }
    hosts[2]!.lose();
    await all.pass(1_100);
    expect(watch.take().filter((sign) => sign.includes("db1"))).toEqual([]);
    expect(hosts[2]!.queries.filter(({ names }) => names !== undefined)).toEqual([]);
    watch.stop();
  });

  it("counts a matching host that is absent, with its domains that match, and no other host that is", async () => {
    const hosts = three();
    await using all = await Hosts.opened(...hosts);
    await all.records();
    for (const host of hosts.slice(1)) host.frozenAfter = 0;
    const events = await all.settle(all.connection.stats({ hosts: ["hv*"], names: ["*1"] }).events.toArray());
    const records = events.flatMap((event) => (event.type === "record" ? [event.record] : []));
    expect(inOrder(records)).toEqual(["hv1/guest-00001 ok", "hv2/guest-00001 failed"]);
    expect(events.at(-1)).toMatchObject({ summary: { absent: [{ host: "hv2" }] } });
  });

  it("counts a host that has never answered as absent, because it may match, until its name shows that it does not", async () => {
    const hosts = three();
    hosts[2]!.down = true;
    await using all = new Hosts(...hosts);
    await all.settle(all.open());
    const events = await all.settle(all.connection.stats({ hosts: ["hv1"] }).events.toArray());
    expect(events.at(-1)).toMatchObject({ summary: { absent: [{ host: "host:///db1" }] } });
    const watch = all.watch({ hosts: ["hv1"] });
    await all.pass(100);
    expect(watch.takeSigns()).toEqual(["status host:///db1 degraded", "sync hv1 3"]);
    hosts[2]!.down = false;
    await all.pass(40_000);
    const signs = watch.takeSigns().filter((sign) => !sign.startsWith("sync hv1"));
    expect(signs).toEqual(["status host:///db1 connected"]);
    watch.stop();
  });

  it("selects a host by its label, by which its records name it", async () => {
    const hosts = three();
    const driver = await AggregateDriver.open(
      hosts.map(({ uri, host }) => `${uri}?label=vms-${host}`),
      {},
      { open: async (uri) => hosts.find((host) => host.uri === uri)! },
    );
    await using connection = new Connection(driver);
    const records = await connection.getAllDomainStats({ hosts: ["vms-hv[12]"] });
    expect([...new Set(records.map(({ domain }) => domain.host))].sort()).toEqual(["vms-hv1", "vms-hv2"]);
    expect(await connection.getAllDomainStats({ hosts: ["hv1"] })).toEqual([]);
  });

  it("asks only the servers that match, and a server whose host does not match begins a watch and sweeps nothing", async () => {
    const drivers = ["hv1", "hv2", "db1"].map((name) => new SimulatedDriver(`test:///default?domains=9&host=${name}`));
    const servers = await Promise.all(drivers.map((driver) => serve(new Connection(driver), { port: 0 })));
    const all = await connectAll(servers.map(({ url }) => url));
    const alone = await connect(servers[2]!.url);
    try {
      const sweeps = () => drivers.map(({ simulation }) => [simulation.sweeps, simulation.produced]);
      const before = sweeps();
      const query = { hosts: ["hv*"], names: ["*-00001", "*-00008"] };
      expect(inOrder(await all.getAllDomainStats(query))).toEqual(
        ["hv1", "hv2"].flatMap((host) => [`${host}/guest-00001 ok`, `${host}/guest-00008 ok`]),
      );
      const grown = sweeps().map(([count, records], i) => [count! - before[i]![0]!, records! - before[i]![1]!]);
      expect(grown).toEqual([
        [1, 2],
        [1, 2],
        [0, 0],
      ]);
      const silent: unknown[] = [];
      const watch = alone.watch(query, { intervalMs: 1_000 }).events.subscribe((event) => silent.push(event));
      const synced = new Map<string, number>();
      for await (const event of all.watch(query, { intervalMs: 1_000 }).events) {
        if (event.type === "sync") synced.set(event.host, (synced.get(event.host) ?? 0) + event.summary.domains);
        if ([...synced.values()].filter((domains) => domains >= 4).length === 2) break;
      }
      expect([...synced.keys()].sort()).toEqual(["hv1", "hv2"]);
      expect([servers[2]!.stats().watches, silent, sweeps()[2]]).toEqual([1, [], before[2]]);
      watch.unsubscribe();
    } finally {
      for (const each of [alone, all, ...servers]) await each.close();
    }
  });

  it("is a watch that is complete, and silent, where no host matches, also of one host", async () => {
    const [host] = three();
    await using all = await Hosts.opened(...three());
    for (const source of [host!, all.driver]) {
      const sampling = new Sampling(source, all.clock);
      const feed = sampling.feed(checkQuery({ hosts: ["none"] }), checkCadence());
      const sink = new CollectingSink();
      feed.push(sink);
      await all.pass(2_000);
      expect([isComplete(feed), sink.events]).toEqual([true, []]);
      feed.leave(sink);
    }
    expect(host!.queries).toEqual([]);
  });
});
