import { describe, expect, it } from "vitest";
import { connect, connectAll, FleetConnection, type WatchEvent } from "../../src/index.ts";
import { serve, type VirstreamServer } from "../../src/server/index.ts";
import { codeOf } from "../code-of.ts";
import { startLibvirtd } from "../lab/libvirtd.ts";
import { freePort } from "../lab/port.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

async function startServer(host: string, { port = 0, token = "" } = {}): Promise<VirstreamServer> {
  const source = own(await connect(`test:///default?domains=2&host=${host}`));
  return own(await serve(source, { port, limits: { minIntervalMs: 10 }, ...(token !== "" && { token }) }));
}

/** A watch of all hosts, and its events in short. */
function watch(connection: FleetConnection, domains?: string[]) {
  const events: string[] = [];
  const records = new Set<string>();
  const query = { groups: ["state"], ...(domains && { domains }) } as const;
  const ended = connection.watch(query, { intervalMs: 20 }).events.forEach((event: WatchEvent) => {
    if (event.type === "record") records.add(`${event.record.domain.host}/${event.record.domain.name}`);
    if (event.type === "gone") {
      events.push(`gone ${event.domain.host}/${event.domain.name}`);
      records.delete(`${event.domain.host}/${event.domain.name}`);
    }
    if (event.type === "status") events.push(`${event.host} ${event.state}`);
  });
  return { events, records, ended };
}

const hostsOf = async (connection: FleetConnection): Promise<string[]> =>
  (await connection.getAllDomainStats()).map(({ domain, status }) => `${domain.host} ${status}`).sort();
const url = (port: number): string => `ws://127.0.0.1:${port}`;

describe("A connection to several hosts", () => {
  it("takes options for one host beside those for all", async () => {
    const [one, two] = [await startServer("hv1", { token: "one" }), await startServer("hv2", { token: "two" })];
    const all = own(await connectAll([one.url, { uri: two.url, token: "two" }], { token: "one" }));
    expect(all).toBeInstanceOf(FleetConnection);
    expect(all.hosts).toEqual([
      { name: "hv1", uri: one.url, state: "connected", error: undefined },
      { name: "hv2", uri: two.url, state: "connected", error: undefined },
    ]);
    expect(await hostsOf(all)).toEqual(["hv1 ok", "hv1 ok", "hv2 ok", "hv2 ok"]);
  });

  it("takes a further host into sweeps and running watches, and reports the domains of a removed one as gone", async () => {
    const [one, two] = [await startServer("hv1"), await startServer("hv2")];
    const all = own(await connectAll([one.url]));
    const states: string[] = [];
    all.status.subscribe(({ state, uri }) => states.push(`${uri} ${state}`));
    const { events, records, ended } = watch(all);
    await until(() => records.size === 2);
    await all.add(two.url);
    expect(await hostsOf(all)).toEqual(["hv1 ok", "hv1 ok", "hv2 ok", "hv2 ok"]);
    expect(all.host).toBe("hv1,hv2");
    await until(() => records.size === 4);
    await all.remove(one.url);
    await until(() => events.length === 3);
    expect(events.slice(0, 2).every((event) => event.startsWith("gone hv1/"))).toBe(true);
    expect(events[2]).toBe("hv1 removed");
    expect([...records].every((key) => key.startsWith("hv2/"))).toBe(true);
    expect(all.hosts.map(({ name }) => name)).toEqual(["hv2"]);
    expect(await hostsOf(all)).toEqual(["hv2 ok", "hv2 ok"]);
    expect(one.clients).toBe(0);
    // The same host may come back.
    await all.add(one.url);
    await until(() => records.size === 4);
    await all.close();
    await ended;
    expect(states.map((state) => state.split(" ")[1])).toEqual([
      ...["connected", "connected", "removed", "connected", "closed"],
    ]);
  });

  it("adds a host that cannot be reached yet, and has it when it comes", async () => {
    const port = await freePort();
    const all = own(await connectAll([(await startServer("hv1")).url], { reconnect: { initialMs: 1, maxMs: 10 } }));
    const { records } = watch(all);
    await all.add(url(port));
    expect(all.hosts[1]).toMatchObject({ name: url(port), state: "degraded", error: { code: "connection-refused" } });
    await startServer("hv2", { port });
    await until(() => records.size === 4);
    expect(all.hosts[1]).toEqual({ name: "hv2", uri: url(port), state: "connected", error: undefined });
  });

  it("removes a host that cannot be reached, with the domains that it had", async () => {
    const [one, two] = [await startServer("hv1"), await startServer("hv2")];
    const all = own(await connectAll([one.url, two.url]));
    const { events, records } = watch(all);
    await until(() => records.size === 4);
    const { url: gone } = two;
    await two.close();
    await until(() => events.includes("hv2 degraded"));
    await all.remove(gone);
    await until(() => events.includes("hv2 removed"));
    expect([...records].every((key) => key.startsWith("hv1/"))).toBe(true);
    expect(all.driver.absent).toEqual([]);
    const late = watch(all);
    await until(() => late.records.size === 2);
    expect(late.events).toEqual([]);
  });

  it("asks an added host for the domains that a watch names", async () => {
    const all = own(await connectAll([(await startServer("hv1")).url]));
    const domains = ["guest-00001"];
    const { events, records } = watch(all, domains);
    await until(() => records.size === 1);
    const two = await startServer("hv2");
    await all.add(two.url);
    await until(() => records.size === 2);
    await all.remove(two.url);
    await until(() => records.size === 1);
    expect(events).toEqual(["gone hv2/guest-00001", "hv2 removed"]);
  });

  it("refuses a host that it has, one that it does not have, the last one, and what is not a host", async () => {
    const [one, locked] = [await startServer("hv1"), await startServer("hv2", { token: "secret" })];
    const all = own(await connectAll([one.url]));
    const refused = async (work: Promise<void>, message: RegExp, code = "invalid-argument") =>
      expect(work).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    await refused(all.add(one.url), /is there already/);
    await refused(all.add(`${one.url}/`), /both the host hv1/);
    await refused(all.add({} as never), /host 2 must be a URI, or an object with a member uri/);
    await refused(all.add({ uri: locked.url, tokn: "secret" } as never), /no member "tokn"/);
    await refused(all.add(locked.url), /it refused us \(a token is needed\)/, "unauthenticated");
    await refused(all.remove("ws://other"), /no host "ws:\/\/other"/);
    await refused(all.remove(one.url), /the last host/);
    expect(all.hosts).toHaveLength(1);
    expect(await codeOf(connectAll([5] as never))).toBe("invalid-argument");
    expect(await codeOf(connectAll("ws://hv1" as never))).toBe("invalid-argument");
    await all.close();
    expect(await codeOf(all.add(locked.url))).toBe("connection-closed");
  });

  it("tells clients of its server that a host was removed", async () => {
    const [one, two] = [await startServer("hv1"), await startServer("hv2")];
    const all = own(await connectAll([one.url, two.url]));
    const server = own(await serve(all, { port: 0, limits: { minIntervalMs: 10, beatMs: 50 } }));
    const client = own(await connect(server.url)) as FleetConnection;
    const { events, records } = watch(client);
    await until(() => records.size === 4);
    await all.remove(two.url);
    await until(() => events.includes("hv2 removed"));
    expect([...records].every((key) => key.startsWith("hv1/"))).toBe(true);
    await until(() => client.host === "hv1");
    // What begins now does not wait for the removed host, also when the client did not connect again.
    const table = own(client.table({ groups: ["state"] }, { intervalMs: 20 }));
    await table.ready;
    expect(table.size).toBe(2);
    await all.add(two.url);
    await until(() => client.host === "hv1,hv2" && table.size === 4);
  });

  it("leaves nothing of a thousand hosts that came and went", async () => {
    const all = own(await connectAll(["test:///default?domains=1&host=hv"]));
    const slow = all.status[Symbol.asyncIterator]();
    await slow.next();
    const { records } = watch(all);
    for (let i = 0; i < 1_000; i++) {
      const uri = `test:///default?domains=1&host=hv${i}&label=l${i}`;
      await all.add(uri);
      await all.remove(uri);
    }
    await until(() => records.size === 1);
    expect(all.hosts).toHaveLength(1);
    const next = slow.next();
    await all.close();
    expect((await next).value.state).toBe("closed");
  }, 120_000);
});

describeWith(labRequirements, "A connection to several hosts, to which a libvirt daemon is added", () => {
  it("has its domains, and closes the connection to it when it is removed", async () => {
    await using libvirtd = await startLibvirtd();
    const all = own(await connectAll([(await startServer("hv1")).url]));
    const uri = `${libvirtd.uri}&label=daemon`;
    await all.add(uri);
    expect(all.hosts[1]).toMatchObject({ name: "daemon", state: "connected" });
    expect(await hostsOf(all)).toEqual(["hv1 ok", "hv1 ok"]);
    await all.remove(all.hosts[1]!.uri);
    expect(all.hosts.map(({ name }) => name)).toEqual(["hv1"]);
  });
});
