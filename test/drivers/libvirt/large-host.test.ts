import { afterAll, beforeAll, expect, it } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import { PROCEDURES } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { runCommand } from "../../lab/command.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { RpcProxy } from "../../lab/rpc-proxy.ts";
import { startTestDriver, type TestDriver } from "../../lab/test-driver.ts";

const DOMAINS = 16_500;

describeWith(labRequirements, "A host with more domains than libvirt names in one reply", () => {
  let host: TestDriver;
  let proxy: RpcProxy;
  let connection: Connection;

  beforeAll(async () => {
    host = await startTestDriver({ domains: DOMAINS });
    proxy = await RpcProxy.start(host.libvirtd.readOnlySocket);
    connection = await connect(host.uri.replace(/socket=.*/, `socket=${proxy.socket}`), { connectTimeoutMs: 60_000 });
  }, 120_000);

  afterAll(async () => {
    await connection?.close();
    await proxy?.[Symbol.asyncDispose]();
    await host?.stop();
  });

  async function sweep() {
    const from = proxy.calls.length;
    const uuids = new Set<string>();
    let records = 0;
    // A loaded machine may need longer than the default deadline for the first list.
    await connection.stats({ deadlineMs: 30_000 }).forEach(({ domain, status, params }) => {
      records++;
      if (status === "ok" && params.get("state.state") === 1) uuids.add(domain.uuid);
    });
    const calls = proxy.calls.slice(from);
    const count = ({ number }: { number: number }) => calls.filter(({ procedure }) => procedure === number).length;
    return { records, uuids, count };
  }

  it("cannot be listed, nor its statistics be had, by libvirt's own client", async () => {
    for (const command of ["list", "domstats"]) {
      const { code, stderr } = await runCommand("virsh", ["-c", host.uri, command]);
      expect(code).not.toBe(0);
      expect(stderr).toMatch(/16500.*(limit|max)/);
    }
  });

  it("is swept whole: one record for each, and from the cache from the second sweep on", async () => {
    const first = await sweep();
    expect([first.records, first.uuids.size]).toEqual([DOMAINS, DOMAINS]);
    expect(first.count(PROCEDURES.lookupById)).toBeGreaterThanOrEqual(DOMAINS);

    const second = await sweep();
    expect([second.records, second.uuids.size]).toEqual([DOMAINS, DOMAINS]);
    expect(second.count(PROCEDURES.lookupById)).toBe(0);
    expect(second.count(PROCEDURES.listDomains)).toBe(0);
    expect([second.count(PROCEDURES.countRunning), second.count(PROCEDURES.countDefined)]).toEqual([1, 1]);
    // A call asks for several domains, fewer on a busy machine. Its reply is never too large.
    expect(second.count(PROCEDURES.stats)).toBeLessThan(DOMAINS / 4);
    expect(second.count(PROCEDURES.stats)).toBeGreaterThanOrEqual(DOMAINS / 256);
  }, 120_000);

  it("is asked only for the domains whose names match, also in the first sweep, which learns their number last", async () => {
    const other = await connect(host.uri.replace(/socket=.*/, `socket=${proxy.socket}`), { connectTimeoutMs: 60_000 });
    const from = proxy.calls.length;
    for (const _ of ["listed", "from the cache"]) {
      const events = await other.stats({ names: ["test-0000?", "test-16499"] }).events.toArray();
      expect(events.flatMap((event) => (event.type === "expect" ? [event.domains] : []))).toEqual([11]);
      expect(events.at(-1)).toMatchObject({ summary: { domains: 11, ok: 11 } });
    }
    const stats = proxy.calls.slice(from).filter(({ procedure }) => procedure === PROCEDURES.stats.number);
    expect(stats.length).toBeLessThanOrEqual(22);
    await other.close();
  }, 120_000);

  it("gives its first records while it is still being listed, and stops listing when no consumer wants more", async () => {
    const other = await connect(host.uri.replace(/socket=.*/, `socket=${proxy.socket}`), { connectTimeoutMs: 60_000 });
    const from = proxy.calls.length;
    for await (const { status } of other.stats()) {
      expect(status).toBe("ok");
      break;
    }
    await other.close();
    const lookups = proxy.calls.slice(from).filter(({ procedure }) => procedure === PROCEDURES.lookupById.number);
    expect(lookups.length).toBeLessThan(DOMAINS / 10);
  });
});
