/** @module-tag any-node */

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import type { WatchEvent } from "../../src/model/watch.ts";
import { serve, type VirstreamServer } from "../../src/server/server.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";
import { PATIENCE } from "../until.ts";

/** Hosts that hang are given up soon. */
const DEADLINE_MS = 300;
/** What everything takes at most on a busy machine; tests wait for events, not for times. */

function perHost(records: readonly DomainStatsRecord[]): Record<string, string> {
  const hosts: Record<string, Map<string, number>> = {};
  for (const { domain, status } of records) {
    hosts[domain.host] ??= new Map();
    hosts[domain.host]!.set(status, (hosts[domain.host]!.get(status) ?? 0) + 1);
  }
  return Object.fromEntries(
    Object.entries(hosts)
      .sort()
      .map(([host, counts]) => [host, [...counts].map(([status, count]) => `${count} ${status}`).join(", ")]),
  );
}

describe("Three servers as one, of which one is a process of its own", () => {
  let locals: { server: VirstreamServer; source: Connection }[];
  let third: ServedProcess;
  let all: Connection;

  beforeEach(async () => {
    locals = await Promise.all(
      ["hv1", "hv2"].map(async (host, i) => {
        const source = await connect(`test:///default?host=${host}&domains=${20 + i}`);
        return { source, server: await serve(source, { port: 0 }) };
      }),
    );
    third = await ServedProcess.start({ uri: "test:///default?host=hv3&domains=22" });
    all = await connectAll([...locals.map(({ server }) => server.url), third.url]);
  });

  afterEach(async () => {
    await all.close();
    await third.kill();
    for (const { server, source } of locals) {
      await server.close();
      await source.close();
    }
  });

  const sweep = () => all.getAllDomainStats({ groups: ["state"], deadlineMs: DEADLINE_MS });

  it("have one record per domain with its host, and again each domain that was given out", async () => {
    expect(all.host).toBe("hv1,hv2,hv3");
    const records = await all.getAllDomainStats();
    expect(perHost(records)).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 ok" });
    expect(new Set(records.map(({ domain }) => domain.uuid)).size).toBe(63);
    const again = await all.domainListGetStats(records.map(({ domain }) => domain));
    expect(perHost(again)).toEqual(perHost(records));
  });

  it("outlive the freezing of one, whose domains are failed until it is back", async () => {
    await sweep();
    third.freeze();
    expect(perHost(await sweep())).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 failed" });
    expect(perHost(await sweep())).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 failed" });
    third.thaw();
    await vi.waitFor(async () => {
      expect(perHost(await sweep())).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 ok" });
    }, PATIENCE);
  });

  it("outlive the death of one, which is found again when it was started again", async () => {
    await sweep();
    await third.kill();
    expect(perHost(await sweep())).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 failed" });
    await third.restart();
    await vi.waitFor(async () => {
      expect(perHost(await sweep())).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 ok" });
    }, PATIENCE);
  });

  it("are watched further while one is frozen or dead, and its loss and its return are reported", async () => {
    const events: WatchEvent[] = [];
    const query = { groups: ["state"] as const, deadlineMs: DEADLINE_MS };
    const watching = all.watch(query).events.subscribe((event) => events.push(event));
    const syncs = (host: string) => events.filter((event) => event.type === "sync" && event.host === host).length;
    const states = () =>
      events.flatMap((event) => (event.type === "status" && event.host === "hv3" ? [event.state] : []));
    await vi.waitFor(() => expect(["hv1", "hv2", "hv3"].every((host) => syncs(host) > 2)).toBe(true), PATIENCE);

    third.freeze();
    await vi.waitFor(() => expect(states()).toEqual(["degraded"]), PATIENCE);
    const before = syncs("hv1");
    await vi.waitFor(() => expect(syncs("hv1")).toBeGreaterThan(before + 3), PATIENCE);
    third.thaw();
    await vi.waitFor(() => expect(states()).toEqual(["degraded", "connected"]), PATIENCE);

    await third.kill();
    await vi.waitFor(() => expect(states().slice(2)).toEqual(["degraded"]), PATIENCE);
    await third.restart();
    await vi.waitFor(() => expect(states().slice(2)).toEqual(["degraded", "connected"]), PATIENCE);
    const after = syncs("hv3");
    await vi.waitFor(() => expect(syncs("hv3")).toBeGreaterThan(after), PATIENCE);
    expect(events.some((event) => event.type === "gap" && event.host === "hv3")).toBe(true);
    watching.unsubscribe();
  });

  it("are served on as one, and are one host of further ones", async () => {
    await using server = await serve(all, { port: 0 });
    await using outer = await connectAll([server.url, "test:///default?host=hv4&domains=2"]);
    expect(outer.host).toBe("hv1,hv2,hv3,hv4");
    const records = await outer.getAllDomainStats();
    expect(perHost(records)).toEqual({ hv1: "20 ok", hv2: "21 ok", hv3: "22 ok", hv4: "2 ok" });
    expect(new Set(records.map(({ index }) => index)).size).toBe(65);
    const hosts = new Set<string>();
    for await (const event of outer.watch({ groups: ["state"] }).events) {
      if (event.type === "sync") hosts.add(event.host);
      if (hosts.size === 4) break;
    }
    expect([...hosts].sort()).toEqual(["hv1", "hv2", "hv3", "hv4"]);
  });
});

describeWith(labRequirements, "A libvirt daemon and a server as one", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await standardLab();
  });
  afterAll(() => lab?.stop());

  it("have each domain of both once, and those of the daemon failed while it is away", async () => {
    await using source = await connect("test:///default?host=hv2&domains=4");
    await using server = await serve(source, { port: 0 });
    await using all = await connectAll([lab.libvirtd.uri, server.url]);
    const query = { groups: ["state"] as const, deadlineMs: 1_000 };
    const records = await all.getAllDomainStats(query);
    const [host] = all.host.split(",");
    expect(perHost(records)).toEqual({ [host!]: "5 ok", hv2: "4 ok" });
    const name = lab.shutOff.name;
    expect((await all.lookupDomain(name)).host).toBe(host);
    expect(all.hypervisor.split(",").sort()).toEqual(["qemu", "test"]);

    await lab.libvirtd.kill();
    expect(perHost(await all.getAllDomainStats(query))).toEqual({ [host!]: "5 failed", hv2: "4 ok" });
    await lab.libvirtd.restart();
    await vi.waitFor(async () => {
      expect(perHost(await all.getAllDomainStats(query))).toEqual({ [host!]: "5 ok", hv2: "4 ok" });
    }, PATIENCE);
  });
});
