import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import "../../../src/drivers/builtin.ts";
import { openDriver } from "../../../src/driver/registry.ts";
import { openTransport } from "../../../src/drivers/libvirt/daemon.ts";
import { LIBVIRT_SCHEMES, LibvirtDriver, openLibvirt } from "../../../src/drivers/libvirt/driver.ts";
import { PROCEDURES, type StatsArgs } from "../../../src/drivers/libvirt/rpc/procedures.ts";
import { RpcClient } from "../../../src/drivers/libvirt/rpc/rpc-client.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { ALL_GROUPS, GROUPS } from "../../../src/model/group.ts";
import { checkQuery, StatsFlag, type StatsQuery } from "../../../src/model/query.ts";
import type { DomainStatsRecord } from "../../../src/model/record.ts";
import type { Schema } from "../../../src/model/schema.ts";
import { NIL_UUID } from "../../../src/model/uuid.ts";
import { createGuest, createGuests } from "../../lab/guest.ts";
import { type Lab, standardLab } from "../../lab/hypervisor.ts";
import { startLibvirtd } from "../../lab/libvirtd.ts";
import { describeWith, labRequirements } from "../../lab/requirement.ts";
import { startTestDriver } from "../../lab/test-driver.ts";
import { uncaughtDuring } from "../../uncaught.ts";
import { FakeDaemon, words } from "./rpc/fake-daemon.ts";

interface Collected {
  readonly records: DomainStatsRecord[];
  /** When each came, in ms from the beginning. */
  readonly times: Map<string, number>;
  readonly expected: number[];
  readonly error: unknown;
}

/** Runs a sweep to its end. */
async function collect(driver: LibvirtDriver, query: StatsQuery = {}, signal?: AbortSignal): Promise<Collected> {
  const start = performance.now();
  const records: DomainStatsRecord[] = [];
  const times = new Map<string, number>();
  const expected: number[] = [];
  const context = {
    signal: signal ?? new AbortController().signal,
    expect: (count: number) => void expected.push(count),
  };
  try {
    for await (const chunk of driver.sweep(checkQuery(query), context)) {
      for (const record of chunk) times.set(record.domain.name, performance.now() - start);
      records.push(...chunk);
    }
    return { records, times, expected, error: undefined };
  } catch (error) {
    return { records, times, expected, error };
  }
}

function statuses({ records }: Collected): Record<string, string> {
  return Object.fromEntries(
    records.map(({ domain, status, reason }) => [domain.name, reason === undefined ? status : `${status} ${reason}`]),
  );
}

/** Resolves when every guest answers: the calls that the test before left behind have been answered, too. */
async function calm(driver: LibvirtDriver): Promise<void> {
  await vi.waitFor(async () => {
    for (const { status } of (await collect(driver)).records) expect(status).toBe("ok");
  }, 10_000);
}

/** Asks libvirt's C library itself: domains with key, type and value of every parameter, in libvirt's order. */
const REFERENCE = `
import ctypes, json, os, sys

class Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int), ("ui", ctypes.c_uint), ("l", ctypes.c_longlong), ("ul", ctypes.c_ulonglong),
                ("d", ctypes.c_double), ("b", ctypes.c_char), ("s", ctypes.c_char_p)]

class Parameter(ctypes.Structure):
    _fields_ = [("field", ctypes.c_char * 80), ("type", ctypes.c_int), ("value", Value)]

class Record(ctypes.Structure):
    _fields_ = [("dom", ctypes.c_void_p), ("params", ctypes.POINTER(Parameter)), ("nparams", ctypes.c_int)]

lib = ctypes.CDLL("libvirt.so.0")
lib.virConnectOpenReadOnly.restype = ctypes.c_void_p
lib.virDomainGetName.restype = ctypes.c_char_p
connection = ctypes.c_void_p(lib.virConnectOpenReadOnly(os.environ["LIBVIRT_URI"].encode()))

def value(parameter):
    kind, v = parameter.type, parameter.value
    if kind == 5: return v.d
    if kind == 6: return v.b != b"\\0"
    if kind == 7: return v.s.decode()
    return str({1: v.i, 2: v.ui, 3: v.l, 4: v.ul}[kind])

results = []
for call in json.loads(sys.argv[1]):
    records = ctypes.POINTER(ctypes.POINTER(Record))()
    count = lib.virConnectGetAllDomainStats(connection, ctypes.c_uint(call[0]), ctypes.byref(records), ctypes.c_uint(call[1]))
    assert count >= 0
    result = {}
    for i in range(count):
        record = records[i].contents
        name = lib.virDomainGetName(ctypes.c_void_p(record.dom)).decode()
        result[name] = [[p.field.decode(), p.type, value(p)] for p in record.params[:record.nparams]]
    results.append(result)
print(json.dumps(results))
`;

/** What Python's own binding says to the same. */
const BINDING = `
import json, libvirt, os
connection = libvirt.openReadOnly(os.environ["LIBVIRT_URI"])
print(json.dumps({domain.name(): [[key, str(value)] for key, value in record.items()] for domain, record in connection.getAllDomainStats()}))
`;

type Reference = Record<string, [key: string, type: number, value: string | number | boolean][]>;

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
    const works = /^(cpu\.|vcpu\.\d+\.(?!state$)|vm\.|balloon\.rss$)/;
    expect([...moved].filter((key) => !works.test(key))).toEqual([]);
    // With KVM there are more groups.
    const told = GROUPS.filter((_, bit) => before[2 + bit]![lab.rich.name]!.length > 0);
    expect(told).toEqual(expect.arrayContaining(["state", "balloon", "vcpu", "interface", "block", "iothread"]));
  });

  it("gives what the Python binding gives, key by key in its order", async () => {
    const { stdout } = await lab.libvirtd.python(BINDING);
    const binding: Record<string, [string, string][]> = JSON.parse(stdout);
    const { records } = await collect(driver);
    for (const { name } of [lab.rich, lab.chained, lab.minimal, lab.shutOff]) {
      const { params } = records.find(({ domain }) => domain.name === name)!;
      expect(params.schema.keys).toEqual(binding[name]!.map(([key]) => key));
      const still = /^(state|vcpu\.\w+$|net|block\.\d+\.(name|path|rd|wr|capacity)|balloon\.(current|maximum))/;
      for (const [key, value] of binding[name]!) if (still.test(key)) expect(String(params.get(key)), key).toBe(value);
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

describeWith(labRequirements, "The libvirt driver, when its daemon is killed in the middle of a sweep", () => {
  it("has a record for every domain, fails with connection-lost, and connects again when there is a daemon", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", paused: true });
    await createGuest(libvirtd, { name: "healthy", paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    const states: string[] = [];
    driver.onStatus(({ state, host, error }) => states.push(`${host === driver.host} ${state} ${error?.code}`));
    const { records } = await collect(driver);
    guest.freeze();
    const sweep = collect(driver);
    setTimeout(() => void libvirtd.kill(), 200);
    const collected = await sweep;
    expect(statuses(collected)).toEqual({ frozen: "failed error", healthy: "ok" });
    expect(collected.error).toMatchObject({ code: "connection-lost", retryable: true });
    expect(collected.records.find(({ status }) => status === "failed")!.error).toBe(collected.error);

    const meanwhile = await collect(driver, { deadlineMs: 100 });
    expect(meanwhile.records).toEqual([]);
    expect(meanwhile.error).toMatchObject({
      code: "connection-lost",
      retryable: true,
      message: expect.stringMatching(/cannot be reached.*tried again/),
    });

    guest.thaw();
    await libvirtd.restart();
    const after = await vi.waitFor(async () => {
      const complete = await collect(driver);
      expect(statuses(complete)).toEqual({ frozen: "ok", healthy: "ok" });
      return complete;
    }, 20_000);
    expect(states).toEqual(["true reconnecting connection-lost", "true connected undefined"]);
    // A domain that was given out before is still this driver's.
    const domains = records.map(({ domain }) => domain);
    expect((await collect(driver, { domains })).records).toHaveLength(2);
    expect(after.records.map(({ domain }) => domain.uuid).sort()).toEqual(domains.map(({ uuid }) => uuid).sort());
  });

  it("connects again whatever its listeners throw, and names no host that is connected as absent", async () => {
    await using libvirtd = await startLibvirtd();
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    const states: string[] = [];
    const fault = new Error("a fault in a listener");
    const removals = [
      driver.onStatus(() => {
        throw fault;
      }),
      driver.onStatus(({ state }) => states.push(state)),
    ];
    const uncaught = await uncaughtDuring(async () => {
      await libvirtd.kill();
      await vi.waitFor(() => expect(states).toEqual(["reconnecting"]), 20_000);
      expect(driver.absent).toEqual([{ host: driver.host, error: expect.any(VirstreamError) }]);
      await libvirtd.restart();
      await vi.waitFor(() => expect(states).toEqual(["reconnecting", "connected"]), 20_000);
      expect(driver.absent).toEqual([]);
      expect((await collect(driver)).error).toBeUndefined();
    });
    expect(uncaught).toEqual([fault, fault]);
    for (const remove of removals) remove();
  });

  it("does not ask the guest whose call the old daemon's end left unanswered until its monitor is free", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", paused: true });
    await createGuest(libvirtd, { name: "healthy", paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    guest.freeze();
    const sweep = collect(driver);
    setTimeout(() => void libvirtd.kill(), 200);
    await sweep;
    await libvirtd.restart();
    const during = await vi.waitFor(async () => {
      const some = await collect(driver, { deadlineMs: 1_000 });
      expect(statuses(some)).toMatchObject({ healthy: "ok" });
      return some;
    }, 20_000);
    expect(statuses(during)["frozen"]).toMatch(/^(partial|failed) /);
    guest.thaw();
    await vi.waitFor(async () => {
      expect(statuses(await collect(driver))).toEqual({ frozen: "ok", healthy: "ok" });
    }, 20_000);
  });
});

describeWith(labRequirements, "The libvirt driver, while a frozen guest is being destroyed", () => {
  it("goes by its last listing, and has the others' records soon: libvirt cannot list for ten seconds", async () => {
    await using libvirtd = await startLibvirtd();
    const guest = await createGuest(libvirtd, { name: "frozen", transient: true, paused: true });
    for (const name of ["one", "two"]) await createGuest(libvirtd, { name, paused: true });
    await using driver = await LibvirtDriver.open(libvirtd.uri);
    expect(Object.values(statuses(await collect(driver)))).toEqual(["ok", "ok", "ok"]);
    guest.freeze();
    const destroyed = guest.destroy().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    const during = await collect(driver, { deadlineMs: 500 });
    expect(statuses(during)).toEqual({ frozen: "failed timeout", one: "ok", two: "ok" });
    expect(during.times.get("one")).toBeLessThan(900);
    expect(during.times.get("frozen")).toBeLessThan(2_000);
    const again = await collect(driver, { deadlineMs: 500 });
    expect(statuses(again)).toEqual({ frozen: "failed quarantined", one: "ok", two: "ok" });
    await guest.kill();
    await destroyed;
    await vi.waitFor(async () => expect(statuses(await collect(driver))).toEqual({ one: "ok", two: "ok" }));
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

describe("Opening the libvirt driver", () => {
  it("tells what to do where there is no socket", async () => {
    await expect(openLibvirt("qemu:///system?socket=/nowhere/libvirt-sock", {})).rejects.toMatchObject({
      code: "socket-missing",
      message: expect.stringContaining("/nowhere/libvirt-sock"),
    });
  });

  it.each([
    ["qemu+ext:///system?command=", "Use +ssh"],
    ["qemu+ssh://localhost/system?command=", "Leave it out"],
  ])("by a program that the URI names is refused, and it is not run: %s", async (uri, instead) => {
    const folder = await mkdtemp(join(tmpdir(), "vs-command-"));
    const program = join(folder, "program");
    await writeFile(program, `#!/bin/sh\ntouch ${folder}/ran\n`, { mode: 0o755 });
    await expect(openLibvirt(`${uri}${program}`, {})).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringContaining(`runs any program that the URI names, which a service should not. ${instead}`),
    });
    expect(await readdir(folder)).toEqual(["program"]);
    await rm(folder, { recursive: true });
  });

  it("follows libvirt's sequence, read-only, and takes the names that the daemon gives", async () => {
    await using daemon = await FakeDaemon.start();
    await using driver = await LibvirtDriver.open(daemon.uri());
    expect([driver.host, driver.hypervisor]).toEqual(["node1", "qemu"]);
    expect(daemon.requests.map(({ procedure }) => procedure)).toEqual([66, 60, 1, 59, 3, 4, 157]);
    expect(daemon.requests[2]!.payload.toString("hex")).toMatch(/00000001$/);
  });

  it("asks polkit where the daemon wants that", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.auth = [2];
    await using _ = await LibvirtDriver.open(daemon.uri());
    expect(daemon.requests.map(({ procedure }) => procedure).slice(0, 3)).toEqual([66, 70, 60]);
  });

  it("says that SASL is not supported, and hangs up", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.auth = [1];
    await expect(LibvirtDriver.open(daemon.uri())).rejects.toMatchObject({
      code: "unauthenticated",
      message: expect.stringContaining("SASL"),
    });
    await vi.waitFor(() => expect(daemon.open).toBe(0));
  });

  it("gives up after the connect timeout, at whatever step the daemon falls silent", async () => {
    for (const silent of [66, 60, 1, 59]) {
      await using daemon = await FakeDaemon.start();
      daemon.answer = ({ procedure }) => (procedure === silent ? undefined : "default");
      const start = performance.now();
      await expect(LibvirtDriver.open(daemon.uri(), { connectTimeoutMs: 100 })).rejects.toMatchObject({
        code: "connect-timeout",
      });
      expect(performance.now() - start).toBeLessThan(1_000);
      await vi.waitFor(() => expect(daemon.open).toBe(0));
    }
  });

  it("is given up when the signal says so", async () => {
    await using daemon = await FakeDaemon.start();
    daemon.answer = () => undefined;
    const abort = new AbortController();
    const opening = LibvirtDriver.open(daemon.uri(), { signal: abort.signal });
    const given = expect(opening).rejects.toThrow("enough");
    setTimeout(() => abort.abort(new Error("enough")), 20);
    await given;
    await vi.waitFor(() => expect(daemon.open).toBe(0));
  });

  it("hands on what the daemon says to the opening", async () => {
    await using daemon = await FakeDaemon.start();
    const { remoteError } = await import("./rpc/fake-daemon.ts");
    daemon.answer = ({ procedure }) => (procedure === 1 ? { error: remoteError(88, 7, "access denied") } : "default");
    await expect(LibvirtDriver.open(daemon.uri())).rejects.toMatchObject({ code: "denied", message: "access denied" });
  });

  it("is registered for libvirt's schemes with all their transports", async () => {
    expect(LIBVIRT_SCHEMES).toEqual(
      expect.arrayContaining([
        "qemu",
        "qemu+unix",
        "test+unix",
        "xen",
        "lxc",
        "vz",
        "bhyve",
        "ch",
        "qemu+ssh",
        "xen+tls",
        "vz+tcp",
      ]),
    );
    expect(LIBVIRT_SCHEMES).not.toContain("test");
    await using daemon = await FakeDaemon.start();
    const driver = await openDriver(daemon.uri("qemu+unix:///system"));
    expect(driver.hypervisor).toBe("qemu");
    await driver.close();
  });
});

describe("A second connection", () => {
  it("is opened to a QEMU daemon when there are more domains than slots, and its failing does no harm", async () => {
    const { domain, frame, RUNNING, statsReply, uuidOf } = await import("./rpc/fake-daemon.ts");
    await using daemon = await FakeDaemon.start();
    let refuse = true;
    daemon.answer = ({ procedure, serial, payload }, socket) => {
      if (procedure === 1 && daemon.sockets.indexOf(socket) > 0 && refuse) socket.destroy();
      if (procedure === 273) {
        const domains = Array.from({ length: 40 }, (_, i) => domain(`vm${i}`, uuidOf(i), i + 1));
        return { ok: Buffer.concat([words(40), ...domains, words(40)]) };
      }
      if (procedure !== 344) return "default";
      const uuid = payload.subarray(8, 24).toString("hex");
      setTimeout(() => {
        socket.write(frame(344, serial, statsReply({ domain: domain("vm", uuid, 1), params: [RUNNING] })));
      }, 5);
      return undefined;
    };
    await using driver = await LibvirtDriver.open(daemon.uri());
    expect((await collect(driver)).records).toHaveLength(40);
    await vi.waitFor(() => expect(daemon.open).toBe(1));
    refuse = false;
    // It is not tried with every sweep, but soon.
    await vi.waitFor(async () => {
      expect((await collect(driver)).error).toBeUndefined();
      expect(daemon.open).toBe(2);
    }, 10_000);
    for (let i = 0; i < 3; i++) expect((await collect(driver)).error).toBeUndefined();
    const used = new Set(
      daemon.requests.filter(({ procedure }) => procedure === 344).map(({ connection }) => connection),
    );
    expect(used.size).toBe(2);
    await driver.close();
    await vi.waitFor(() => expect(daemon.open).toBe(0));
  });
});
