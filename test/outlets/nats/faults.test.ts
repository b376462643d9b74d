import { expect, it } from "vitest";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import { NatsServer } from "../../lab/nats-server.ts";
import { HostAccount, PublishedHost } from "../../lab/published-host.ts";
import { describeWith } from "../../lab/requirement.ts";
import { TcpProxy } from "../../lab/tcp-proxy.ts";
import { PATIENCE, until } from "../../until.ts";

const INTERVAL = { intervalMs: 200 };
const RETAINED = { ...INTERVAL, retainMs: 600_000 };

/** Watches, and keeps the account of each host, until the connection is closed. */
function follow(connection: Connection, hosts: readonly PublishedHost[]): HostAccount[] {
  const accounts = hosts.map((host) => new HostAccount(host));
  void connection.watch({ groups: ["state", "cpu-total"] }, INTERVAL).events.forEach((event) => {
    for (const account of accounts) account.take(event);
  });
  return accounts;
}

/** Waits until an account has this number of further sweeps. */
async function more(account: HostAccount, sweeps: number): Promise<void> {
  const enough = account.delivered.length + sweeps;
  await until(() => account.delivered.length >= enough);
}

/** True if the newest sweep of a host, or the one before it, was the last that was delivered. */
function isCurrent(account: HostAccount, { sweeps }: PublishedHost): boolean {
  return sweeps.slice(-2).includes(account.delivered.at(-1)!);
}

describeWith(["nats-server"], "Hosts on NATS", () => {
  it("report what was lost when the server was killed, and have the newest state again when it is back", async () => {
    await using nats = await NatsServer.start();
    await using host = await PublishedHost.start("hv1", { url: nats.url, ...INTERVAL });
    await until(() => host.publisher.figures.saved > 0);
    await using connection = await connect(nats.url);
    const [account] = follow(connection, [host]);
    const states: string[] = [];
    void connection.status.forEach(({ state, uri }) => {
      // Those of the hosts have their URI.
      if (uri === undefined) states.push(state);
    });
    await more(account!, 3);
    await nats.kill();
    await until(() => host.publisher.figures.dropped >= 3);
    await nats.restart();
    await more(account!, 3);
    await expect.poll(() => isCurrent(account!, host), PATIENCE).toBe(true);
    expect(account!.broken).toEqual([]);
    expect(account!.skipped).toBeGreaterThanOrEqual(host.publisher.figures.dropped);
    expect(account!.gaps).toEqual([expect.objectContaining({ reason: "reconnected", host: "hv1" })]);
    expect(states).toEqual(["connected", "reconnecting", "connected"]);
    const records = await connection.getAllDomainStats();
    // A record is sampled in its sweep, which may begin a millisecond earlier.
    expect(Math.min(...records.map(({ sampledAt }) => sampledAt))).toBeGreaterThanOrEqual(host.sweeps.at(-3)!);
  });

  it("report a publisher that was killed as absent, fail its domains, and go on when it starts again", async () => {
    await using nats = await NatsServer.start();
    await using other = await PublishedHost.start("hv1", { url: nats.url, ...INTERVAL });
    const killed = await PublishedHost.start("hv2", { url: nats.url, ...INTERVAL });
    await until(() => killed.publisher.figures.saved > 0 && other.publisher.figures.saved > 0);
    await using connection = await connect(nats.url);
    const [account, ofKilled] = follow(connection, [other, killed]);
    await more(ofKilled!, 2);
    await killed[Symbol.asyncDispose]();
    await until(() => ofKilled!.statuses.length > 0);
    expect(ofKilled!.statuses).toEqual(["degraded"]);
    const absent: string[] = [];
    const events = await connection.stats({ hosts: ["hv2"] }).events.toArray();
    for (const event of events)
      if (event.type === "sync") absent.push(...event.summary.absent!.map(({ host }) => host));
    expect(absent).toEqual(["hv2"]);
    const statuses = events.flatMap((event) => (event.type === "record" ? event.record.status : []));
    expect(statuses).toEqual(Array.from({ length: 6 }, () => "failed"));

    await using again = await PublishedHost.start("hv2", { url: nats.url, ...INTERVAL });
    await until(() => ofKilled!.statuses.length > 1);
    await more(ofKilled!, 2);
    expect(ofKilled!.statuses).toEqual(["degraded", "connected"]);
    expect(ofKilled!.gaps).toEqual([expect.objectContaining({ reason: "source", skipped: undefined })]);
    expect(again.sweeps).toContain(ofKilled!.delivered.at(-1));
    expect([account!.broken, account!.statuses, account!.gaps]).toEqual([[], [], []]);
  });

  it("tell a reader that was cut off how much it missed, and give it the newest state also of a host that ended meanwhile", async () => {
    await using nats = await NatsServer.start();
    await using proxy = await TcpProxy.start(nats.port);
    await using host = await PublishedHost.start("hv1", { url: nats.url, ...INTERVAL });
    const ended = await PublishedHost.start("hv2", { url: nats.url, ...INTERVAL });
    await until(() => host.publisher.figures.saved > 0 && ended.publisher.figures.saved > 0);
    await using connection = await connect(`nats://127.0.0.1:${proxy.port}`);
    const [account, ofEnded] = follow(connection, [host, ended]);
    await more(account!, 2);
    await more(ofEnded!, 1);
    proxy.cut();
    const before = [host.sweeps.length, ended.sweeps.length];
    await until(() => host.sweeps.length > before[0]! + 4 && ended.sweeps.length > before[1]! + 2);
    const { saved, ticks } = ended.publisher.figures;
    await until(() => ended.publisher.figures.saved > saved && ended.publisher.figures.ticks > ticks);
    await ended[Symbol.asyncDispose]();
    proxy.restore();
    await more(account!, 2);
    await expect.poll(() => isCurrent(account!, host), PATIENCE).toBe(true);
    expect(account!.broken).toEqual([]);
    expect(account!.skipped).toBeGreaterThan(2);
    await expect.poll(() => isCurrent(ofEnded!, ended), PATIENCE).toBe(true);
    expect(ofEnded!.broken).toEqual([]);
  });

  it("lose no tick that a NATS stream retains, neither while the server is down nor while a reader is cut off", async () => {
    await using nats = await NatsServer.start();
    await using proxy = await TcpProxy.start(nats.port);
    await using host = await PublishedHost.start("hv1", { url: nats.url, ...RETAINED });
    await until(() => host.publisher.figures.saved > 0);
    await using near = await connect(nats.url);
    await using far = await connect(`nats://127.0.0.1:${proxy.port}`);
    const [account] = follow(near, [host]);
    const [ofFar] = follow(far, [host]);
    await more(account!, 2);
    await more(ofFar!, 2);
    await nats.kill();
    const before = host.sweeps.length;
    await until(() => host.sweeps.length > before + 4);
    await nats.restart();
    await more(account!, 6);
    proxy.cut();
    const then = host.sweeps.length;
    await until(() => host.sweeps.length > then + 4);
    proxy.restore();
    await more(ofFar!, 6);
    for (const each of [account!, ofFar!]) {
      await expect.poll(() => isCurrent(each, host), PATIENCE).toBe(true);
      expect([each.broken, each.gaps]).toEqual([[], []]);
    }
    expect(host.publisher.figures.dropped).toBe(0);
  });

  it("are read without a gap when one of three NATS servers is killed", async () => {
    const servers = await NatsServer.cluster();
    try {
      const url = `nats://${servers.map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
      const opening = () => PublishedHost.start("hv1", { url, ...RETAINED, replicas: 3 });
      let host: PublishedHost | undefined;
      // A cluster that has just started elects its leader first.
      await expect.poll(async () => (host ??= await opening()), PATIENCE).toBeDefined();
      await using published = host!;
      await until(() => published.publisher.figures.saved > 0);
      const readers = await Promise.all([connect(url), connect(url)]);
      const accounts = readers.flatMap((reader) => follow(reader, [published]));
      for (const account of accounts) await more(account, 3);
      await servers[0]!.kill();
      for (const account of accounts) {
        await more(account, 8);
        await expect.poll(() => isCurrent(account, published), PATIENCE).toBe(true);
        expect([account.broken, account.gaps]).toEqual([[], []]);
      }
      for (const reader of readers) await reader.close();
    } finally {
      for (const server of servers) await server[Symbol.asyncDispose]();
    }
  });
});
