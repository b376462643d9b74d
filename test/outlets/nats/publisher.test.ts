import { readFileSync } from "node:fs";
import { connect as connectToNats } from "@nats-io/transport-node";
import { expect, it } from "vitest";
import { connect, connectAll } from "../../../src/client/connect.ts";
import type { NatsDriver } from "../../../src/drivers/nats/driver.ts";
import type { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import { type PublisherStatus, publish } from "../../../src/outlets/nats/publisher.ts";
import { serve } from "../../../src/server/server.ts";
import { codeOf } from "../../code-of.ts";
import { NatsServer } from "../../lab/nats-server.ts";
import { HostAccount, PublishedHost } from "../../lab/published-host.ts";
import { describeWith } from "../../lab/requirement.ts";
import { until } from "../../until.ts";

const INTERVAL = { intervalMs: 200 };

/** The permissions of docs/fleet.md. */
const page = readFileSync(new URL("../../../docs/fleet.md", import.meta.url), "utf8");
const permissions = /\nauthorization \{\n.*?\n\}\n/s.exec(page)![0];

describeWith(["nats-server"], "A host that is published to NATS", () => {
  it("is published and read with the permissions of the page, and each user with no others", async () => {
    await using nats = await NatsServer.start({ configuration: permissions });
    const at = (user: string) => `nats://${user}@127.0.0.1:${nats.port}`;
    const setUp = await PublishedHost.start("set-up", { url: at("admin:secret"), ...INTERVAL, retainMs: 60_000 });
    await setUp[Symbol.asyncDispose]();

    const own = { url: `${at("hv1:one")}?inbox=_INBOX_hv1`, ...INTERVAL };
    await using host = await PublishedHost.start("hv1", own);
    await until(() => host.publisher.figures.saved > 1);
    expect(host.publisher.url).not.toContain("one");
    for (const reader of ["dashboard:three", "tenant:four"]) {
      const inbox = `inbox=_INBOX_${reader.split(":")[0]}`;
      await using connection = await connect(`${at(reader)}?${inbox}&host=hv1`);
      expect(connection.uri).toMatch(/^nats:\/\/…@127/);
      expect(await connection.getAllDomainStats({ groups: ["state"] })).toHaveLength(6);
      let syncs = 0;
      for await (const event of connection.watch({ groups: ["state"] }, INTERVAL).events) {
        if (event.type === "sync" && ++syncs === 3) break;
      }
      expect((connection.driver as NatsDriver).figures.refused).toBe(0);
    }

    expect(await codeOf(connect(`${at("tenant:four")}?inbox=_INBOX_tenant&host=hv2`))).toBe("denied");
    expect(await codeOf(connect(`${at("tenant:wrong")}`))).toBe("unauthenticated");
    await using foreign = await PublishedHost.start("hv2", own);
    const statuses: PublisherStatus[] = [];
    foreign.publisher.onStatus((status) => void statuses.push(status));
    await until(() => statuses.length > 0);
    expect(statuses[0]).toMatchObject({ state: "failing", error: { code: "denied" } });
    expect(foreign.publisher.figures.saved).toBe(0);
  });

  it("is in each sweep of a reader, although its state is replaced while the reader reads the states of all hosts", async () => {
    await using nats = await NatsServer.start();
    const uris = Array.from({ length: 20 }, (_, i) => `test:///default?domains=2&host=hv${i}`);
    await using hosts = await connectAll(uris);
    await using publisher = await publish(hosts, { url: nats.url, intervalMs: 100 });
    await until(() => publisher.figures.saved >= uris.length);
    await using connection = await connect(nats.url);
    const before = publisher.figures.saved;
    // Each of these sweeps reads the bucket again.
    while (publisher.figures.saved < before + 20 * uris.length) {
      const records = await connection.getAllDomainStats({ groups: ["state"] });
      expect(new Set(records.map(({ domain }) => domain.host)).size).toBe(uris.length);
      expect(records).toHaveLength(2 * uris.length);
    }
  });

  it("needs JetStream, and says how the server gets it", async () => {
    await using nats = await NatsServer.start({ jetstream: false });
    await using host = await connect("test:///default?domains=1");
    for (const open of [() => publish(host, { url: nats.url }), () => connect(nats.url)]) {
      await expect(open()).rejects.toMatchObject({
        code: "unsupported",
        message: expect.stringMatching(/jetstream \{\}/),
      });
    }
  });

  it("is cut into messages that the server accepts, and read whole", async () => {
    await using nats = await NatsServer.start({ configuration: "max_payload: 32KB" });
    await using host = await PublishedHost.start("big", { url: nats.url, ...INTERVAL }, "domains=600");
    await until(() => host.publisher.figures.saved > 1);
    await using connection = await connect(nats.url);
    const account = new HostAccount(host);
    for await (const event of connection.watch({}, INTERVAL).events) {
      account.take(event);
      if (account.delivered.length === 4) break;
    }
    expect(account.broken).toEqual([]);
    const { figures } = connection.driver as NatsDriver;
    expect(figures.waiting).toBeGreaterThan(2 * figures.tick);
    expect(await connection.getAllDomainStats()).toHaveLength(600);
  });

  it("may be one of several hosts of a connection, each with a subject of its own, and its records say why it could not be swept", async () => {
    await using nats = await NatsServer.start();
    await using far = await connect("test:///default?domains=3&host=far.example");
    const server = await serve(far, { port: 0, limits: { minIntervalMs: 100 } });
    await using both = await connectAll(["test:///default?domains=2&host=near", server.url]);
    await using publisher = await publish(both, { url: nats.url, ...INTERVAL });
    await until(() => publisher.figures.saved > 2);
    await using connection = await connect(nats.url);
    expect(connection.host.split(",").sort()).toEqual(["far.example", "near"]);
    const records = await connection.getAllDomainStats();
    expect(records.map(({ domain }) => domain.host).sort()).toEqual([...Array(3).fill("far.example"), "near", "near"]);
    expect(new Set(records.map(({ index }) => index)).size).toBe(5);
    await server.close();
    const failed = async () =>
      (await connection.getAllDomainStats({ hosts: ["far*"] })).map(({ error }) => error?.code);
    await expect.poll(failed, { timeout: 100_000 }).toEqual(Array(3).fill("connection-lost"));
    expect((await connection.getAllDomainStats({ hosts: ["near"] })).map(({ status }) => status)).toEqual(["ok", "ok"]);
  });

  it("has the records that its hypervisor gave, also those of a guest that is frozen", async () => {
    await using nats = await NatsServer.start();
    await using host = await connect("test:///default?domains=3&host=hv1");
    // The guest is late in one sweep, and quarantined from the next one on: the time between them must be enough to ask.
    await using publisher = await publish(host, { url: nats.url, intervalMs: 2_000 });
    await until(() => publisher.figures.saved > 0);
    await using connection = await connect(nats.url);
    (host.driver as SimulatedDriver).simulation.change(1, { slowMs: Number.POSITIVE_INFINITY });
    const statuses = async (groups: readonly ("state" | "block")[]) =>
      (await connection.getAllDomainStats({ groups })).map(({ status, reason }) => reason ?? status);
    await expect.poll(() => statuses(["state", "block"]), { timeout: 100_000 }).toEqual(["ok", "timeout", "ok"]);
    expect(await statuses(["state"])).toEqual(["ok", "ok", "ok"]);
  });

  it("is not disturbed by what else comes on its subjects", async () => {
    await using nats = await NatsServer.start();
    await using host = await PublishedHost.start("hv1", { url: nats.url, ...INTERVAL });
    await until(() => host.publisher.figures.saved > 0);
    await using connection = await connect(nats.url);
    const account = new HostAccount(host);
    const stranger = await connectToNats({ servers: nats.url });
    for await (const event of connection.watch({}, INTERVAL).events) {
      account.take(event);
      if (event.type === "sync") {
        for (const subject of ["virstream.tick.hv1", "virstream.tick.=zz", "$KV.virstream.hv1.1"]) {
          stranger.publish(subject, new Uint8Array([0x81, 0xa1, 0x76, 0x02]));
          stranger.publish(subject, new Uint8Array(500_000));
          stranger.publish(subject);
        }
        await stranger.flush();
      }
      if (account.delivered.length === 5) break;
    }
    await stranger.close();
    expect([account.broken, account.gaps, account.statuses]).toEqual([[], [], []]);
    expect((connection.driver as NatsDriver).figures.refused).toBeGreaterThan(10);
    expect(await connection.getAllDomainStats()).toHaveLength(6);
  });
});
