import { afterAll, beforeAll, expect, it } from "vitest";
import "../../../src/drivers/builtin.ts";
import { connect, connectAll } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import { parseUuid } from "../../../src/model/uuid.ts";
import { serve } from "../../../src/server/server.ts";
import { virstream } from "../../cli/run.ts";
import { createGuest, defineGuest, type Guest } from "../../lab/guest.ts";
import { type Libvirtd, startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";

/** A name that is a uuid as well, and one that is the uuid of another guest. */
const NAME = "DEADBEEFdeadbeefdeadbeefdeadbeef";
const UUID = "11111111-2222-4333-8444-555555555555";

describeWith(labRequirements, "A domain whose name could be a uuid or an id", () => {
  let libvirtd: Libvirtd;
  let named: Guest;
  let owner: Guest;
  let running: Guest;
  let connections: Connection[];
  const open: AsyncDisposable[] = [];

  beforeAll(async () => {
    libvirtd = await startLibvirtd();
    named = await defineGuest(libvirtd, { name: NAME });
    owner = await defineGuest(libvirtd, { name: "owner", uuid: UUID });
    await defineGuest(libvirtd, { name: UUID });
    running = await createGuest(libvirtd, { name: "running", paused: true });
    const direct = await connect(libvirtd.uri);
    const server = await serve(direct, { port: 0, viewers: [{ name: "ann", token: "ann", domains: [NAME, UUID] }] });
    const viewer = await connect(server.url, { token: "ann" });
    const all = await connectAll([libvirtd.uri]);
    connections = [direct, viewer, all];
    open.push(viewer, all, server, direct);
  });
  afterAll(async () => {
    for (const each of open) await each[Symbol.asyncDispose]();
    await libvirtd?.stop();
  });

  it("is found by its name, directly, by a viewer and in an aggregate, unless another domain has that uuid", async () => {
    for (const connection of connections) {
      expect((await connection.lookupDomain(NAME)).uuid).toBe(named.uuid);
      const records = await connection.domainListGetStats([NAME, UUID], { groups: ["state"] });
      expect(records.map(({ domain, status }) => [domain.uuid, status])).toEqual([
        [named.uuid, "ok"],
        [owner.uuid, "ok"],
      ]);
      for await (const event of connection.watch({ domains: [NAME], groups: ["state"] }).events) {
        if (event.type !== "record") continue;
        expect([event.record.domain.uuid, event.record.status]).toEqual([named.uuid, "ok"]);
        break;
      }
    }
    const [direct, viewer] = connections;
    // The name in another spelling is a name that no domain has.
    const [other] = await direct!.domainListGetStats([parseUuid(NAME)!]);
    expect([other!.status, other!.reason, other!.domain.uuid]).toEqual(["gone", "unknown", parseUuid(NAME)]);
    const visible = (await viewer!.listDomains()).map(({ uuid }) => uuid);
    expect(visible).toEqual([named.uuid, owner.uuid]);
  });

  it("is found by --domain of the command line, which also finds a domain by its id", async () => {
    const id = (await running.virsh("domid running")).trim();
    const { stdout, code } = await virstream([
      ...["get", libvirtd.uri, "--state", "--format", "ndjson", "--domain", NAME, "--domain", id],
    ]);
    const names = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line).domain.name);
    expect([names.sort(), code]).toEqual([[NAME, "running"], 0]);
    expect((await connections[0]!.lookupDomain(id)).uuid).toBe(running.uuid);
    await expect(connections[0]!.lookupDomain("4294967295")).rejects.toMatchObject({ code: "unknown-domain" });
  });
});
