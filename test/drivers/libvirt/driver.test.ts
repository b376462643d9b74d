import type { Duplex } from "node:stream";
import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { openTransport } from "../../../src/drivers/libvirt/daemon.ts";
import { LibvirtDriver } from "../../../src/drivers/libvirt/driver.ts";
import { PROCEDURES, type StatsArgs } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../src/drivers/libvirt/rpc/rpc-client.ts";
import { ALL_GROUPS, GROUPS } from "../../../src/model/group.ts";
import { StatsFlag } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import type { Schema } from "../../../src/model/schema.ts";
import { NIL_UUID } from "../../../src/model/uuid.ts";
import { createGuests } from "../../lab/guest.ts";
import { type Lab, standardLab } from "../../lab/hypervisor.ts";
import { startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { startTestDriver } from "../../lab/test-driver.ts";
import { type Collected, calm, collect, statuses } from "./collect.ts";
import { BINDING, REFERENCE, type Reference } from "./reference.ts";

describeWith([...labRequirements, "python3-libvirt"], "The libvirt driver, with real guests", () => {
  let lab: Lab;
  let driver: LibvirtDriver;

  beforeAll(async () => {
    lab = await standardLab();
    driver = await LibvirtDriver.open(lab.libvirtd.uri);
  });

  afterAll(async () => {
    await driver?.close();
    await lab?.stop();
  });

  afterEach(() => vi.restoreAllMocks());

  async function reference(...calls: [groups: number, flags: number][]): Promise<Reference[]> {
    const { stdout, stderr, code } = await lab.libvirtd.python(REFERENCE, JSON.stringify(calls));
    expect([code, stderr]).toEqual([0, ""]);
    return JSON.parse(stdout);
  }

  it("knows whom it talks to", () => {
    expect(driver.hypervisor).toBe("qemu");
    expect(driver.host).not.toBe("");
    expect(driver.uri).toBe(lab.libvirtd.uri);
  });

  it("yields exactly one complete record for every domain, with the domain's identity", async () => {
    const collected = await collect(driver);
    expect(collected.error).toBeUndefined();
    expect(collected.expected).toEqual([5]);
    expect(statuses(collected)).toEqual({ rich: "ok", chained: "ok", minimal: "ok", running: "ok", "shut-off": "ok" });
    expect(collected.records.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3, 4]);
    for (const guest of lab.guests) {
      const record = collected.records.find(({ domain }) => domain.uuid === guest.uuid)!;
      expect(record.domain.name).toBe(guest.name);
      expect(record.domain.host).toBe(driver.host);
      expect(record.domain.id > 0).toBe(guest !== lab.shutOff);
      expect(Math.abs(record.sampledAt - Date.now())).toBeLessThan(2_000);
      expect(record.tookMs).toBeGreaterThan(0);
    }
  });

  it("gives the keys, order, types and values that libvirt's own client gives, for all groups and each alone", async () => {
    const masks = [0, ALL_GROUPS, ...GROUPS.map((_, bit) => 2 ** bit)];
    const calls = [0, StatsFlag.backing].flatMap((flags) => masks.map((mask) => [mask, flags] as [number, number]));
    const before = await reference(...calls);
    const ours: DomainStatsRecord[][] = [];
    for (const [groups, flags] of calls) ours.push((await collect(driver, { groups, flags })).records);
    const after = await reference(...calls);
    const moved = new Set<string>();
    calls.forEach((_, call) => {
      for (const { name } of [lab.rich, lab.chained, lab.minimal]) {
        const expected = before[call]![name]!;
        const record = ours[call]!.find(({ domain }) => domain.name === name)!;
        expect(record.status).toBe("ok");
        expect(record.params.schema.keys).toEqual(expected.map(([key]) => key));
        expect([...record.params.schema.types]).toEqual(expected.map(([, type]) => type));
        const values = [...record.params].map(([, value]) =>
          typeof value === "bigint" || typeof value === "number" ? String(value) : value,
        );
        expected.forEach(([key, , value], position) => {
          // What libvirt itself reads differently before and after cannot be compared.
          const [, , later] = after[call]![name]![position]!;
          if (later !== value) moved.add(key);
          else expect(values[position], key).toBe(value);
        });
      }
    });
    // A paused guest's QEMU still works a little. Everything else about the guest stands still, and was compared.
    const works = /^(cpu\.(time|user|system)$|vcpu\.\d+\.(time|wait|delay)$|vm\.|balloon\.rss$)/;
    expect([...moved].filter((key) => !works.test(key))).toEqual([]);
    const told = GROUPS.filter((_, bit) => before[2 + bit]![lab.rich.name]!.length > 0);
    const emulated = ["state", "cpu-total", "balloon", "vcpu", "interface", "block", "iothread", "dirtyrate"];
    expect(told).toEqual(lab.rich.kvm ? [...emulated, "vm"] : emulated);
  });

  it("gives what the Python binding gives, key by key in its order", async () => {
    const { stdout } = await lab.libvirtd.python(BINDING);
    const binding: Record<string, [string, string][]> = JSON.parse(stdout);
    const { records } = await collect(driver);
    for (const { name } of [lab.rich, lab.chained, lab.minimal, lab.shutOff]) {
      const { params } = records.find(({ domain }) => domain.name === name)!;
      expect(params.schema.keys).toEqual(binding[name]!.map(([key]) => key));
      const still = /^(state|vcpu\.\w+$|net|block\.\d+\.(name|path|rd|wr|capacity)|balloon\.(current|maximum))/;
      for (const [key, value] of binding[name]!)
        if (still.test(key)) expect(String(params.getUnknown(key)), key).toBe(value);
    }
  });

  it("gives records of one shape one schema", async () => {
    const [one, two] = [await collect(driver), await collect(driver)];
    const schemaOf = ({ records }: Collected) => records.find(({ domain }) => domain.name === "rich")!.params.schema;
    expect(schemaOf(one)).toBe(schemaOf(two));
  });

  it("counts the backing chain when it is asked to", async () => {
    const { records } = await collect(driver, { groups: ["block"], backing: true, domains: ["chained"] });
    expect(records[0]!.params.get("block.count")).toBe(2);
  });

  it("filters lists and named domains alike", async () => {
    expect(statuses(await collect(driver, { filter: ["inactive"] }))).toEqual({ "shut-off": "ok" });
    expect(statuses(await collect(driver, { filter: ["running"] }))).toEqual({ running: "ok" });
    const named = await collect(driver, {
      domains: ["rich", "running", "shut-off", "nobody"],
      filter: ["paused", "shutoff"],
    });
    expect(statuses(named)).toEqual({ rich: "ok", "shut-off": "ok", nobody: "gone unknown" });
  });

  it("answers named domains once each, and says who is unknown", async () => {
    const unknown = "00000000-0000-4000-8000-000000000001";
    const { records, expected } = await collect(driver, {
      domains: ["rich", lab.rich.uuid, "nobody", unknown, lab.minimal.uuid],
    });
    expect(
      records.map(({ domain, status, reason, error }) => [domain.name, status, reason, error?.libvirt?.code]).sort(),
    ).toEqual([
      ["", "gone", "unknown", 42],
      ["minimal", "ok", undefined, undefined],
      ["nobody", "gone", "unknown", 42],
      ["rich", "ok", undefined, undefined],
    ]);
    expect(expected).toEqual([4]);
  });

  it("fails with libvirt's words when a group is not supported and that is enforced, and leaves it out otherwise", async () => {
    const { error, records } = await collect(driver, { groups: ["group-20"], enforce: true });
    expect(records).toEqual([]);
    expect(error).toMatchObject({ code: "unsupported", libvirt: { code: 74, domain: 10 } });
    expect((error as Error).message).toContain("0x100000");
    const lenient = await collect(driver, { groups: ["group-20"] });
    expect(lenient.records.map(({ status, params }) => [status, params.size])).toEqual(Array(5).fill(["ok", 0]));
  });

  it("never has more than four monitor calls in flight on a connection, over all sweeps", async () => {
    const flying = new Map<RpcClient, number>();
    let most = 0;
    const { call } = RpcClient.prototype;
    vi.spyOn(RpcClient.prototype, "call").mockImplementation(async function (this: RpcClient, procedure, args) {
      const proof = (args as unknown as StatsArgs)?.uuids?.[0] === NIL_UUID;
      if ((procedure as unknown) !== PROCEDURES.stats || proof) return call.call(this, procedure, args);
      flying.set(this, (flying.get(this) ?? 0) + 1);
      most = Math.max(most, flying.get(this)!);
      try {
        return await call.call(this, procedure, args);
      } finally {
        flying.set(this, flying.get(this)! - 1);
      }
    } as typeof call);
    await using own = await LibvirtDriver.open(lab.libvirtd.uri);
    const sweeps = await Promise.all(Array.from({ length: 6 }, () => collect(own)));
    for (const collected of sweeps) expect(collected.records.map(({ status }) => status)).toEqual(Array(5).fill("ok"));
    expect(most).toBeLessThanOrEqual(4);
    expect(most).toBeGreaterThan(1);
  });

  it("yields a frozen guest's record at the deadline, the others' on time, and asks it again when it has thawed", async () => {
    await using own = await LibvirtDriver.open(lab.libvirtd.uri);
    await calm(own);
    lab.chained.freeze();
    try {
      const collected = await collect(own, { deadlineMs: 1_500 });
      expect(statuses(collected)).toEqual({
        rich: "ok",
        chained: "partial timeout",
        minimal: "ok",
        running: "ok",
        "shut-off": "ok",
      });
      const late = collected.times.get("chained")!;
      expect(late).toBeGreaterThanOrEqual(1_495);
      expect(late).toBeLessThan(2_000);
      for (const [name, at] of collected.times) if (name !== "chained") expect(at, name).toBeLessThan(1_000);
      const partial = collected.records.find(({ domain }) => domain.name === "chained")!;
      expect(partial.state).toEqual({ state: "paused", reason: "user" });
      expect(partial.missing).toContain("block");
      expect(partial.params.has("block.count")).toBe(false);

      const next = await collect(own);
      expect(statuses(next).chained).toBe("partial quarantined");
      expect(Math.max(...next.times.values())).toBeLessThan(1_000);

      const cheap = await collect(own, { groups: ["state"] });
      expect(Object.values(statuses(cheap))).toEqual(Array(5).fill("ok"));
    } finally {
      lab.chained.thaw();
    }
    await vi.waitFor(async () => expect(statuses(await collect(own)).chained).toBe("ok"), { timeout: 3_000 });
  });

  it("says at the deadline who is late when every guest is frozen, and ends", async () => {
    await using own = await LibvirtDriver.open(lab.libvirtd.uri);
    await calm(own);
    const frozen = [lab.rich, lab.chained, lab.minimal, lab.running];
    for (const guest of frozen) guest.freeze();
    try {
      const collected = await collect(own, { deadlineMs: 500 });
      expect(collected.records.filter(({ status }) => status === "partial")).toHaveLength(4);
      expect(statuses(collected)["shut-off"]).toMatch(/^ok|^partial busy/);
      expect(Math.max(...collected.times.values())).toBeLessThan(1_500);
    } finally {
      for (const guest of frozen) guest.thaw();
    }
  });

  it("ends promptly when it is aborted, and leaves neither timer nor socket behind when it is closed", async () => {
    const sockets: Duplex[] = [];
    const timers = vi.spyOn(globalThis, "setTimeout");
    const own = await LibvirtDriver.open(lab.libvirtd.uri, {}, async (uri, signal) => {
      const socket = await openTransport(uri, signal);
      sockets.push(socket);
      return socket;
    });
    await calm(own);
    lab.chained.freeze();
    try {
      const abort = new AbortController();
      const start = performance.now();
      AbortSignal.timeout(150).addEventListener("abort", () => abort.abort());
      const collected = await collect(own, {}, abort.signal);
      expect(collected.error).toBeUndefined();
      expect(collected.records.map(({ domain }) => domain.name)).not.toContain("chained");
      expect(performance.now() - start).toBeLessThan(1_000);
      await own.close();
      await own.close();
    } finally {
      lab.chained.thaw();
    }
    expect(sockets.map(({ closed }) => closed)).toEqual([true, true]);
    expect(timers.mock.results.length).toBeGreaterThan(2);
    for (const { value } of timers.mock.results) expect(value).toMatchObject({ _destroyed: true });
    expect((await collect(own)).error).toMatchObject({ code: "connection-closed" });
  });

  it("ends sweeps under way when it is closed", async () => {
    const own = await LibvirtDriver.open(lab.libvirtd.uri);
    await calm(own);
    lab.chained.freeze();
    try {
      const sweep = collect(own);
      await new Promise((resolve) => setTimeout(resolve, 100));
      await own.close();
      expect((await sweep).error).toMatchObject({ code: "connection-closed" });
    } finally {
      lab.chained.thaw();
    }
  });
});

describeWith(labRequirements, "The libvirt driver, with more guests than one connection can ask at a time", () => {
  it("gives each guest's records one schema, whichever connection they came over", async () => {
    await using libvirtd = await startLibvirtd();
    await createGuests(libvirtd, 12, { nics: 1, paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    const asked = new Map<RpcClient, number>();
    const { call } = RpcClient.prototype;
    vi.spyOn(RpcClient.prototype, "call").mockImplementation(function (this: RpcClient, procedure, args) {
      if ((procedure as unknown) === PROCEDURES.stats) asked.set(this, (asked.get(this) ?? 0) + 1);
      return call.call(this, procedure, args);
    } as typeof call);
    const schemas = new Set<Schema>();
    for (let sweep = 0; sweep < 7; sweep++) {
      const { records } = await collect(driver);
      expect(records.map(({ status }) => status)).toEqual(Array(12).fill("ok"));
      for (const { params } of records) schemas.add(params.schema);
    }
    expect(asked.size).toBe(2);
    for (const calls of asked.values()) expect(calls).toBeGreaterThan(6);
    expect(schemas.size).toBe(1);
  });
});

describeWith(labRequirements, "The libvirt driver, with libvirt's test driver", () => {
  it("reads thousands of domains, each once, on one connection", async () => {
    await using test = await startTestDriver({ domains: 3_000 });
    await using driver = await LibvirtDriver.open(test.uri);
    expect(driver.hypervisor).toBe("test");
    const { records, expected, error } = await collect(driver);
    expect(error).toBeUndefined();
    expect(expected).toEqual([3_000]);
    expect(new Set(records.map(({ domain }) => domain.uuid)).size).toBe(3_000);
    expect(records.every(({ status, params }) => status === "ok" && params.get("state.state") === 1)).toBe(true);
    const { error: enforced } = await collect(driver, { groups: ["block"], enforce: true });
    expect(enforced).toMatchObject({ code: "unsupported", libvirt: { code: 74, domain: 12 } });
  });
});
