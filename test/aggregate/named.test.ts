import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connectAll } from "../../src/client/connect.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { serve } from "../../src/server/server.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { Host, Hosts, inOrder } from "./hosts.ts";

const UUID = "11111111-2222-4333-8444-555555555555";

/** Makes the host's only domain one that another host has as well, as in a migration. */
function asMigrating(host: Host, { id, state }: { id: number; state?: "paused" }): Host {
  host.edit = (record) => {
    if (record.status === "gone") return record;
    const { params: all, status, sampledAt, tookMs, index } = record;
    const domain = new Domain(UUID, "guest-00000", id, host.host, host);
    const params = state === undefined ? all : TypedParams.EMPTY;
    return new DomainStatsRecord({ domain, params, status, sampledAt, tookMs, index });
  };
  return host;
}

/** Sends records for any uuid: the simulated hosts know their own only. */
const MIGRATING = { domains: ["guest-00000"] };

describe("Domains that are named, of several hosts", () => {
  it("have one record each, whichever host has them", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=3"), new Host("hv2", "domains=6"));
    const [, five] = [0, await all.connection.lookupDomain("guest-00005")];
    expect(five.host).toBe("hv2");
    const domains = ["guest-00004", five, (await all.connection.listDomains())[0]!];
    const records = await all.connection.domainListGetStats(domains);
    expect(inOrder(records)).toEqual(["hv1/guest-00000 ok", "hv2/guest-00004 ok", "hv2/guest-00005 ok"]);
  });

  it("have one record when a name and a uuid are of the same domain", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=3"), new Host("hv2", "domains=6"));
    const { uuid, name } = await all.connection.lookupDomain("guest-00005");
    expect(inOrder(await all.recordsAtOnce({ domains: [uuid, name] }))).toEqual(["hv2/guest-00005 ok"]);
  });

  it("are unknown when every host says so, and have no host", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const records = await all.recordsAtOnce({ domains: ["missing", UUID] });
    expect(
      records.map(({ domain, status, reason }) => [domain.host, domain.name || domain.uuid, status, reason]),
    ).toEqual(
      expect.arrayContaining([
        ["", "missing", "gone", "unknown"],
        ["", UUID, "gone", "unknown"],
      ]),
    );
    expect(records).toHaveLength(2);
    expect(new Set(records.map(({ index }) => index)).size).toBe(2);
    await expect(all.connection.lookupDomain("missing")).rejects.toMatchObject({ code: "unknown-domain" });
  });

  it("are not called unknown while a host is absent that may have them", async () => {
    const host = new Host("hv2", "domains=6");
    await using all = await Hosts.opened(new Host("hv1", "domains=3"), host);
    await all.recordsAtOnce();
    host.failure = new VirstreamError("connection-lost", "the daemon went away");
    const records = await all.recordsAtOnce({ domains: ["guest-00005", "missing", "guest-00001"] });
    expect(inOrder(records)).toEqual([
      "hv1/guest-00001 ok",
      "hv2/guest-00001 failed",
      "hv2/guest-00005 failed",
      "/missing failed",
    ]);
    const codes = records.map(({ error }) => error?.code).sort();
    expect(codes).toEqual(["connection-lost", "connection-lost", "connection-lost", undefined]);
    await expect(all.connection.lookupDomain("missing")).rejects.toMatchObject({ code: "connection-lost" });
  });

  it("that run are handed on at once, though another host is silent", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    const { uuid } = (await all.connection.listDomains())[2]!;
    frozen.frozenAfter = 0;
    expect(inOrder(await all.recordsAtOnce({ domains: [uuid] }))).toEqual(["hv1/guest-00002 ok"]);
    await turn();
    expect(all.clock.timers).toBe(0);
    // By a name, too; but the sweep then waits whether the other host has a domain of that name.
    const chunks = all.connection
      .stats({ domains: ["guest-00002"] })
      .chunks()
      [Symbol.asyncIterator]();
    expect(inOrder((await chunks.next()).value)).toEqual(["hv1/guest-00002 ok"]);
    expect((await all.settle(chunks.next())).value.map(({ domain }: DomainStatsRecord) => domain.host)).toEqual([
      "hv2",
    ]);
  });

  it("are two domains when two hosts each have one of that name, always in the order of the hosts", async () => {
    for (const slow of [0, 1]) {
      const hosts = [new Host("hv1"), new Host("hv2")];
      await using all = await Hosts.opened(...hosts);
      await using server = await serve(all.connection, { port: 0 });
      await using nested = await connectAll([server.url]);
      hosts[slow]!.delayTurns = 20;
      for (const connection of [all.connection, nested]) {
        const records = await connection.domainListGetStats(["guest-00001", "guest-00000"]);
        expect(records.map(({ domain }) => `${domain.host}/${domain.name}`)).toEqual([
          "hv1/guest-00001",
          "hv1/guest-00000",
          "hv2/guest-00001",
          "hv2/guest-00000",
        ]);
        await expect(connection.lookupDomain("guest-00000")).rejects.toMatchObject({
          code: "invalid-argument",
          message: expect.stringMatching(/^2 domains have the name or id "guest-00000": .* on hv1, .* on hv2/),
        });
        const [, second] = records;
        expect(await connection.lookupDomain(second!.domain.uuid)).toEqual(second!.domain);
      }
    }
  });

  it("are those of the host on which they run, when two hosts have one", async () => {
    for (const order of [0, 1]) {
      const left = asMigrating(new Host("source", "domains=1"), { id: -1 });
      const runs = asMigrating(new Host("destination", "domains=1"), { id: 7 });
      await using all = await Hosts.opened(...(order === 0 ? [left, runs] : [runs, left]));
      expect(inOrder(await all.recordsAtOnce(MIGRATING))).toEqual(["destination/guest-00000 ok"]);
      // Without names, what each host has is told.
      expect(inOrder(await all.recordsAtOnce()).sort()).toEqual([
        "destination/guest-00000 ok",
        "source/guest-00000 ok",
      ]);
    }
  });

  it("are those of a host that is shut off, when no other has them and all have been heard", async () => {
    const off = asMigrating(new Host("hv1", "domains=1"), { id: -1 });
    await using all = await Hosts.opened(off, new Host("hv2", "domains=0"));
    expect(inOrder(await all.recordsAtOnce(MIGRATING))).toEqual(["hv1/guest-00000 ok"]);
  });

  it("have no record when they do not pass the filters, on one host or on two, and are unknown only if no host has them", async () => {
    const filter = ["running" as const];
    const domains = ["guest-00000", "guest-00003", "missing"];
    const all = async (...hosts: Host[]): Promise<string[]> => {
      await using opened = await Hosts.opened(...hosts);
      return inOrder(await opened.recordsAtOnce({ domains, filter }));
    };
    expect(await all(new Host("hv1", "domains=4&paused=4"))).toEqual(["/missing gone"]);
    expect(await all(new Host("hv1", "domains=4&paused=4"), new Host("hv2", "domains=0"))).toEqual(["/missing gone"]);
    expect(await all(new Host("hv1", "domains=4&paused=4"), new Host("hv2", "domains=1"))).toEqual([
      "hv2/guest-00000 ok",
      "/missing gone",
    ]);
  });

  it("of an absent host have a record only where they may pass the filters", async () => {
    const host = new Host("hv2", "domains=4&shutoff=4");
    await using all = await Hosts.opened(new Host("hv1", "domains=0"), host);
    await all.recordsAtOnce();
    host.failure = new VirstreamError("connection-lost", "the daemon went away");
    const domains = ["guest-00003"];
    expect(await all.recordsAtOnce({ domains, filter: ["active"] })).toEqual([]);
    expect(inOrder(await all.recordsAtOnce({ domains, filter: ["inactive"] }))).toEqual(["hv2/guest-00003 failed"]);
  });

  it("have their number announced only if all their uuids are known, because an unknown uuid may be the name of one of them", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const [one, other] = await all.connection.listDomains();
    const events = await all.connection.stats({ domains: [one!, other!] }).events.toArray();
    expect(events[0]).toEqual({ type: "expect", domains: 2 });
    expect(events.at(-1)).toMatchObject({ summary: { domains: 2, ok: 2 } });
    const unsure = await all.connection.stats({ domains: [one!, UUID] }).events.toArray();
    expect(unsure.map(({ type }) => type)).toEqual(["record", "record", "sync"]);
    expect(unsure.at(-1)).toMatchObject({ summary: { domains: 2, ok: 1, gone: 1 } });
  });
});

describe("A watch of named domains of several hosts", () => {
  it("tells of a domain by the host that has it, and nothing of those that do not", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=2"), new Host("hv2", "domains=4"));
    const watch = all.watch({ domains: ["guest-00003"] });
    await all.pass(1_100);
    expect(watch.take().filter((sign) => !sign.startsWith("sync"))).toEqual([
      "record hv2/guest-00003 ok",
      "record hv2/guest-00003 ok",
    ]);
    watch.stop();
  });

  it("says once per sweep that no host has a domain, and stops when a host has it", async () => {
    const late = new Host("hv2", "domains=4");
    late.edit = (record) => (record.domain.name === "guest-00003" && record.status === "ok" ? undefined : record);
    await using all = await Hosts.opened(new Host("hv1", "domains=2"), late);
    const watch = all.watch({ domains: ["guest-00003", "missing"] });
    await all.pass(1_100);
    const missing = (sign: string) => sign === "record /missing gone";
    expect(watch.take().filter(missing)).toHaveLength(2);
    late.edit = undefined;
    await all.pass(1_000);
    const signs = watch.take();
    expect(signs).toContain("record hv2/guest-00003 ok");
    expect(signs.filter(missing)).toHaveLength(1);
    watch.stop();
  });

  it("does not call a domain gone that a host has and the filters leave out, and takes back that it was", async () => {
    const host = new Host("hv1", "domains=1&paused=1");
    await using all = await Hosts.opened(host, new Host("hv2", "domains=0"));
    const watch = all.watch({ domains: ["guest-00000"], filter: ["running"] });
    const signs = () => watch.take().filter((sign) => !sign.startsWith("sync"));
    host.simulation.change(0, { appearsAt: Number.POSITIVE_INFINITY });
    await all.pass(100);
    expect(signs()).toEqual(["record /guest-00000 gone"]);
    host.simulation.change(0, { appearsAt: 0 });
    await all.pass(3_000);
    expect(signs()).toEqual(["gone /guest-00000"]);
    watch.stop();
  });

  it("tells of a domain's end on one host when another has it", async () => {
    const source = new Host("hv1", "domains=4");
    const destination = new Host("hv2", "domains=4");
    const hidden = (host: Host) => {
      host.edit = (record) =>
        record.domain.name === "guest-00003"
          ? new DomainStatsRecord({
              domain: new Domain("00000000-0000-0000-0000-000000000000", "guest-00003", -1, host.host, host),
              params: TypedParams.EMPTY,
              status: "gone",
              reason: "unknown",
              sampledAt: 0,
              tookMs: 0,
              index: 0,
            })
          : record;
    };
    hidden(destination);
    await using all = await Hosts.opened(source, destination);
    const watch = all.watch({ domains: ["guest-00003"] }, { mode: "on-change" });
    await all.pass(100);
    expect(watch.take().filter((sign) => !sign.startsWith("sync"))).toEqual(["record hv1/guest-00003 ok"]);
    destination.edit = undefined;
    hidden(source);
    await all.pass(1_000);
    const signs = watch.take().filter((sign) => !sign.startsWith("sync"));
    expect([...new Set(signs)].sort()).toContain("gone hv1/guest-00003");
    expect(signs).toContain("record hv2/guest-00003 ok");
    expect(signs).not.toContain("gone hv2/guest-00003");
    watch.stop();
    // When the last host has it no more, the record names no host.
    const other = all.watch({ domains: ["guest-00003"] }, { mode: "on-change" });
    await all.pass(100);
    other.take();
    hidden(destination);
    await all.pass(1_000);
    expect(other.take().filter((sign) => !sign.startsWith("sync"))).toEqual([
      "gone hv2/guest-00003",
      "record /guest-00003 gone",
    ]);
    other.stop();
  });

  it("says that a domain is not known while a host is absent", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    host.frozenAfter = 0;
    host.lose();
    const watch = all.watch({ domains: ["missing"] });
    await all.pass(100);
    expect(watch.take()).toEqual(["status hv2 degraded", "record /missing failed", "sync hv1 1"]);
    host.frozenAfter = undefined;
    host.reconnect();
    await all.pass(2_000);
    expect(watch.take()).toContain("record /missing gone");
    watch.stop();
  });
});
