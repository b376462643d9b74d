import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { PROCEDURES, type StatsArgs } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../src/drivers/libvirt/rpc/rpc-client.ts";
import type { WatchEvent } from "../../../src/model/watch.ts";
import { serve } from "../../../src/server/server.ts";
import { createGuest, defineGuest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { until } from "../../until.ts";

/** The uuids that libvirt's statistics calls are about, from now on. */
function callsToLibvirt(): string[] {
  const asked: string[] = [];
  const { call } = RpcClient.prototype;
  vi.spyOn(RpcClient.prototype, "call").mockImplementation(function (this: RpcClient, procedure, args) {
    if ((procedure as unknown) === PROCEDURES.stats) asked.push(...(args as unknown as StatsArgs).uuids);
    return call.call(this, procedure, args);
  } as typeof call);
  return asked;
}

const namesOf = (records: readonly { domain: { name: string } }[]) => records.map(({ domain }) => domain.name).sort();

describeWith(labRequirements, "A query with patterns to a real libvirtd", () => {
  let libvirtd: Libvirtd;
  let driver: LibvirtDriver;
  const uuids: Record<string, string> = {};
  const open: AsyncDisposable[] = [];

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    const running = await createGuest(libvirtd, { name: "web-1", paused: true });
    uuids["web-1"] = running.uuid;
    for (const name of ["web-2", "db-1", "db-2"]) uuids[name] = (await defineGuest(libvirtd, { name })).uuid;
    driver = await LibvirtDriver.open(libvirtd.uri);
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    for (const each of open.splice(0)) await each[Symbol.asyncDispose]();
  });
  afterAll(async () => {
    await driver?.close();
    await libvirtd?.stop();
  });

  it("asks libvirt for the guests that match and for no others, here, over a server, for a viewer, and in an aggregate", async () => {
    const direct = await connect(libvirtd.uri);
    const viewers = [{ name: "ann", token: "ann", names: ["web-*"] }];
    const server = await serve(direct, { port: 0, token: "all", viewers });
    const remote = await connect(server.url, { token: "all" });
    const viewer = await connect(server.url, { token: "ann" });
    const all = await connectAll([libvirtd.uri]);
    open.push(viewer, remote, all, server, direct);
    const asked = callsToLibvirt();
    for (const connection of [direct, remote, all]) {
      asked.length = 0;
      expect(namesOf(await connection.getAllDomainStats({ names: ["web-*"] }))).toEqual(["web-1", "web-2"]);
      expect([...new Set(asked)].sort()).toEqual([uuids["web-1"], uuids["web-2"]].sort());
      expect(await connection.getAllDomainStats({ names: ["none-*"] })).toEqual([]);
      expect(await connection.getAllDomainStats({ names: ["*"], hosts: [`not-${direct.host}`] })).toEqual([]);
      expect(namesOf(await connection.getAllDomainStats({ hosts: [direct.host] }))).toHaveLength(4);
    }
    asked.length = 0;
    expect(namesOf(await viewer.getAllDomainStats())).toEqual(["web-1", "web-2"]);
    expect(namesOf(await viewer.getAllDomainStats({ names: ["*-1"] }))).toEqual(["web-1"]);
    const hidden = await viewer.domainListGetStats([uuids["db-1"]!, "db-2"]);
    expect(hidden.map(({ status, reason }) => [status, reason])).toEqual(Array(2).fill(["gone", "unknown"]));
    expect(asked).not.toContain(uuids["db-1"]);
    expect(asked).not.toContain(uuids["db-2"]);
  });

  it("takes a new guest into a running watch, and one that was renamed or removed out of it", async () => {
    const direct = await connect(libvirtd.uri);
    const server = await serve(direct, { port: 0, viewers: [{ name: "ann", token: "ann", names: ["web-*"] }] });
    const viewer = await connect(server.url, { token: "ann" });
    const all = await connectAll([libvirtd.uri]);
    open.push(viewer, all, server, direct);
    const watches: { events: WatchEvent[] }[] = [];
    const follow = (connection: Connection, names?: string[]): void => {
      const events: WatchEvent[] = [];
      watches.push({ events });
      const query = { groups: ["state"] as const, ...(names && { names }) };
      void connection.watch(query, { intervalMs: 1_000 }).events.forEach((event) => void events.push(event));
    };
    for (const connection of [direct, all]) follow(connection, ["web-*"]);
    follow(viewer);
    const each = (test: (event: WatchEvent) => boolean) =>
      until(() => watches.every(({ events }) => events.some(test)));
    await each(({ type }) => type === "sync");
    const late = await defineGuest(libvirtd, { name: "web-3" });
    await each((event) => event.type === "record" && event.record.domain.name === "web-3");
    await late.virsh("domrename web-3 other-3");
    await each((event) => event.type === "gone" && event.domain.uuid === late.uuid);
    for (const { events } of watches) events.length = 0;
    await late.virsh("domrename other-3 web-4");
    await each((event) => event.type === "record" && event.record.domain.name === "web-4");
    await late.virsh("undefine web-4");
    await each((event) => event.type === "gone" && event.domain.name === "web-4");
    const seen = watches.flatMap(({ events }) =>
      events.flatMap((e) => (e.type === "record" ? [e.record.domain.name] : [])),
    );
    expect(seen.filter((name) => !name.startsWith("web-"))).toEqual([]);
  });
});
