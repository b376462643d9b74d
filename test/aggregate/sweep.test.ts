import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { ConnectionStatus } from "../../src/driver/driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import type { StatsQuery } from "../../src/model/query.ts";
import { serve } from "../../src/server/server.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { uncaughtDuring } from "../uncaught.ts";
import { Host, Hosts, inOrder } from "./hosts.ts";

/** How long a host may be silent with the query's usual deadline. */
const SILENCE_MS = 3_000;

const ALL = [
  "hv1/guest-00000 ok",
  "hv1/guest-00001 ok",
  "hv1/guest-00002 ok",
  "hv2/guest-00000 ok",
  "hv2/guest-00001 ok",
  "hv2/guest-00002 ok",
];
const HV2_ABSENT = ALL.map((line) => (line.startsWith("hv2") ? line.replace("ok", "failed") : line));

function lost(): VirstreamError {
  return new VirstreamError("connection-lost", "the daemon went away");
}

describe("A sweep of several hosts", () => {
  it("names in its summary the hosts that could not be reached, also those behind a server", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    const summary = async (connection: Connection, query: StatsQuery = {}) => {
      const events = await all.settle(connection.stats(query).events.toArray());
      const sync = events.find((event) => event.type === "sync");
      return sync?.summary.absent?.map(({ host, error }) => `${host} ${error.code}`);
    };
    await using server = await serve(all.connection, { port: 0 });
    await using remote = await connect(server.url);
    await using nested = await connectAll([server.url]);
    const connections = [all.connection, remote, nested];
    for (const connection of connections) expect(await summary(connection)).toBeUndefined();
    host.failure = new VirstreamError("connection-lost", "the daemon went away");
    for (const connection of connections) {
      expect(await summary(connection)).toEqual(["hv2 connection-lost"]);
      expect(await summary(connection, { domains: ["missing"] }), connection.uri).toEqual(["hv2 connection-lost"]);
    }
  });

  it("has exactly one record of every domain, with its host, in the order of the hosts", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const records = await all.recordsAtOnce();
    expect(inOrder(records)).toEqual(ALL);
    expect(new Set(records.map(({ index }) => index)).size).toBe(6);
  });

  it("tells how many there will be, once every host has reported its number", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=5"), new Host("hv2", "domains=7"));
    const events = await all.connection.stats().events.toArray();
    expect(events.filter(({ type }) => type === "expect")).toEqual([{ type: "expect", domains: 12 }]);
    expect(events.at(-1)).toMatchObject({ type: "sync", summary: { domains: 12, ok: 12 } });
  });

  it("hands on what other hosts have while one is silent, and ends with that one's domains as failed", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    await all.recordsAtOnce();
    frozen.frozenAfter = 0;
    const began = all.clock.now();
    const sweep = all.connection.stats().chunks()[Symbol.asyncIterator]();
    const early = [];
    while (early.length < 3) early.push(...(await sweep.next()).value!);
    expect(early.map(({ domain }) => domain.host)).toEqual(["hv1", "hv1", "hv1"]);
    expect(all.clock.now()).toBe(began);
    const { value: late } = await all.settle(sweep.next());
    expect(inOrder([...early, ...late!])).toEqual(HV2_ABSENT);
    expect(all.clock.now() - began).toBe(SILENCE_MS);
    expect((await sweep.next()).done).toBe(true);
    const { error, reason } = late![0]!;
    expect([reason, error?.code]).toEqual(["error", "connection-lost"]);
    expect(error?.message).toMatch(/^hv2 cannot be reached/);
  });

  it("does not wait for a silent host a second time, and asks it for nothing but one sign of life", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    await all.recordsAtOnce();
    frozen.frozenAfter = 0;
    await all.records();
    await turn();
    const asked = frozen.queries.length;
    for (let i = 0; i < 3; i++) expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
    expect(frozen.queries.length).toBe(asked);
    expect(frozen.queries.at(-1)?.groups).toBe(1);
  });

  it("has all again once the host has given a sign of life", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    await all.recordsAtOnce();
    frozen.frozenAfter = 0;
    await all.records();
    await all.pass(20_000);
    expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
    frozen.frozenAfter = undefined;
    await all.pass(60_000);
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
  });

  it("fails the rest of a host's domains when it falls silent in the middle, and none twice", async () => {
    const host = new Host("hv2", "domains=100");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    host.frozenAfter = 2;
    const records = await all.records();
    expect(new Set(records.map(({ domain }) => `${domain.host} ${domain.uuid}`)).size).toBe(103);
    expect(new Set(records.map(({ index }) => index)).size).toBe(103);
    const failed = records.filter(({ status }) => status === "failed");
    expect([records.length, failed.length]).toEqual([103, 35]);
  });

  it("has one record of each domain when another sweep ends before its host fails", async () => {
    const host = new Host("hv2", "domains=100");
    await using all = await Hosts.opened(new Host("hv1"), host);
    const sweep = all.connection.stats().chunks()[Symbol.asyncIterator]();
    const records = [...(await sweep.next()).value!, ...(await sweep.next()).value!];
    await all.recordsAtOnce();
    host.edit = () => {
      throw lost();
    };
    for (let next = await sweep.next(); !next.done; next = await sweep.next()) records.push(...next.value);
    expect(records.filter(({ status }) => status === "failed").length).toBeGreaterThan(0);
    expect(inOrder(records)).toHaveLength(103);
    expect(new Set(records.map(({ domain }) => `${domain.host} ${domain.uuid}`)).size).toBe(103);
  });

  it("does not take a slow reader for a silent host", async () => {
    await using all = await Hosts.opened(new Host("hv1", "domains=200"), new Host("hv2", "domains=200"));
    const sweep = all.connection.stats().chunks()[Symbol.asyncIterator]();
    const records = [];
    for (;;) {
      const { done, value } = await sweep.next();
      if (done) break;
      records.push(...value);
      await all.pass(10_000);
    }
    expect([records.length, records.filter(({ status }) => status === "ok").length]).toEqual([400, 400]);
  });

  it("fails the domains of a host whose sweep fails for a reason that may pass", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    host.failure = lost();
    expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
    host.failure = undefined;
    await all.pass(1_000);
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
  });

  it("learns of a loss and of a return from a driver that tells by itself, and tells of both", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    const statuses: ConnectionStatus[] = [];
    all.connection.status.subscribe((status) => statuses.push(status));
    const uri = (name: string) => `host:///${name}`;
    host.frozenAfter = 0;
    host.lose();
    expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
    expect(all.driver.absent).toEqual([{ host: "hv2", error: expect.objectContaining({ code: "connection-lost" }) }]);
    host.frozenAfter = undefined;
    host.reconnect();
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
    const error = expect.objectContaining({ code: "connection-lost", message: "the daemon went away" });
    expect(statuses).toEqual([
      { state: "connected", host: "hv1", uri: uri("hv1"), error: undefined },
      { state: "connected", host: "hv2", uri: uri("hv2"), error: undefined },
      { state: "degraded", host: "hv2", uri: uri("hv2"), error },
      { state: "connected", host: "hv2", uri: uri("hv2"), error: undefined },
    ]);
    expect(all.driver.absent).toEqual([]);
  });

  it("is not harmed by a listener that throws", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    const fault = new Error("a fault in a listener");
    const remove = all.driver.onStatus(() => {
      throw fault;
    });
    const uncaught = await uncaughtDuring(async () => {
      host.frozenAfter = 0;
      host.lose();
      expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
      host.frozenAfter = undefined;
      host.reconnect();
      expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
    });
    expect(uncaught).toEqual([fault, fault]);
    remove();
  });

  it("answers for the domains of an absent host only where they may pass the filter", async () => {
    const host = new Host("hv2", "domains=3&shutoff=1");
    await using all = await Hosts.opened(new Host("hv1", "domains=1"), host);
    await all.recordsAtOnce();
    host.lose();
    host.frozenAfter = 0;
    const count = async (filter: "active" | "inactive" | "running" | "shutoff" | "persistent") =>
      (await all.recordsAtOnce({ filter: [filter] })).filter(({ status }) => status === "failed").length;
    expect([await count("active"), await count("inactive")]).toEqual([2, 1]);
    expect([await count("running"), await count("shutoff"), await count("persistent")]).toEqual([2, 1, 3]);
  });

  it("forgets who had left an absent host before it went", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    host.edit = (record) => (record.domain.name === "guest-00001" ? undefined : record);
    await all.recordsAtOnce();
    host.lose();
    host.frozenAfter = 0;
    expect(inOrder(await all.recordsAtOnce()).filter((line) => line.startsWith("hv2"))).toEqual([
      "hv2/guest-00000 failed",
      "hv2/guest-00002 failed",
    ]);
  });

  it("goes on when a host that was never there is named, and has it once it comes", async () => {
    const late = new Host("hv2");
    late.down = true;
    await using all = await Hosts.opened(new Host("hv1"), late);
    expect(all.driver.host).toBe("hv1,host:///hv2");
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL.slice(0, 3));
    await all.pass(40_000);
    expect(late.opened).toBeGreaterThan(3);
    late.down = false;
    await all.pass(31_000);
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
    expect(all.driver.host).toBe("hv1,hv2");
  });

  it("fails when every host is absent and nothing is known of any", async () => {
    const [one, two] = [new Host("hv1"), new Host("hv2")];
    await using all = await Hosts.opened(one, two);
    for (const host of [one, two]) host.failure = lost();
    await expect(all.recordsAtOnce()).rejects.toMatchObject({ code: "connection-lost" });
    await expect(all.recordsAtOnce({ domains: ["guest-00000"] })).rejects.toMatchObject({ code: "connection-lost" });
  });

  it("answers for all domains when every host is absent and they are known", async () => {
    const [one, two] = [new Host("hv1"), new Host("hv2")];
    await using all = await Hosts.opened(one, two);
    await all.recordsAtOnce();
    for (const host of [one, two]) host.failure = lost();
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL.map((line) => line.replace("ok", "failed")));
  });

  it("fails as for one host when what was asked is at fault, and keeps the host", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const query = { groups: 2 ** 20, enforce: true };
    await expect(all.recordsAtOnce(query)).rejects.toMatchObject({ code: "unsupported" });
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
  });

  it("opens a host again whose driver says that it is over", async () => {
    const host = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), host);
    await all.recordsAtOnce();
    host.failure = new VirstreamError("unauthenticated", "the token is another one now");
    expect(inOrder(await all.recordsAtOnce())).toEqual(HV2_ABSENT);
    await turn();
    expect(host.closed).toBe(1);
    host.failure = undefined;
    await all.pass(1_000);
    expect(host.opened).toBe(2);
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
  });

  it("gives domains that can be asked for again, and refuses those of a host's own driver", async () => {
    const host = new Host("hv1");
    await using all = await Hosts.opened(host, new Host("hv2"));
    const domains = await all.connection.listDomains();
    expect(domains.map(({ host, name }) => `${host}/${name}`)).toEqual(ALL.map((line) => line.split(" ")[0]));
    const again = await all.connection.domainListGetStats([domains[1]!, domains[5]!]);
    expect(again.map(({ domain }) => domain)).toEqual([domains[1], domains[5]]);
    const foreign = host.simulation.domain(0);
    expect(() => all.connection.stats({ domains: [foreign] })).toThrow(/another connection/);
  });

  it("ends with connection-closed when the connection is closed in the middle, hosts and all", async () => {
    const hosts = [new Host("hv1"), new Host("hv2")];
    const all = await Hosts.opened(...hosts);
    hosts[1]!.frozenAfter = 0;
    const sweep = all.connection.stats().toArray();
    await turn();
    await all.connection.close();
    await expect(sweep).rejects.toMatchObject({ code: "connection-closed" });
    expect(hosts.map(({ closed }) => closed)).toEqual([1, 1]);
    expect(all.clock.timers).toBe(0);
  });

  it("runs beside any number of others without a warning of a leak", async () => {
    await using all = await Hosts.opened(new Host("hv1"), new Host("hv2"));
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    const sweeps = await Promise.all(Array.from({ length: 20 }, () => all.recordsAtOnce()));
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    expect(sweeps.map(({ length }) => length)).toEqual(Array(20).fill(6));
    expect(warnings).toEqual([]);
  });

  it("takes any number of hosts without a warning of a leak", async () => {
    await using all = await Hosts.opened(...Array.from({ length: 12 }, (_, i) => new Host(`hv${i}`)));
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on("warning", onWarning);
    const records = await all.recordsAtOnce();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    expect(records).toHaveLength(36);
    expect(warnings).toEqual([]);
  });

  it("leaves nothing behind when its reader leaves while a host is silent", async () => {
    const frozen = new Host("hv2");
    await using all = await Hosts.opened(new Host("hv1"), frozen);
    frozen.frozenAfter = 0;
    const abort = new AbortController();
    const sweep = all.connection.stats({}, { signal: abort.signal }).toArray();
    await turn();
    abort.abort(new Error("enough"));
    await expect(sweep).rejects.toThrow("enough");
    await turn();
    expect(all.clock.timers).toBe(0);
    frozen.frozenAfter = undefined;
    expect(inOrder(await all.recordsAtOnce())).toEqual(ALL);
  });
});
