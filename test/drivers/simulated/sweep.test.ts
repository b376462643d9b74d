/** @module-tag any-node */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SimulatedDriver } from "../../../src/drivers/simulated/driver.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { ALL_GROUPS, MONITOR_FREE_GROUPS } from "../../../src/model/group.ts";
import { checkQuery, LIST_FILTERS, type ListFilter, StatsFlag } from "../../../src/model/query.ts";
import { Bench, ofGuest, SIX_GROUPS } from "./harness.ts";
import { turn } from "./manual-clock.ts";

/** A sweep in a process that does not get the processor: this many ms pass each time it looks at the clock. */
function withBusyProcess(bench: Bench, ms: number) {
  const { clock } = bench;
  const now = clock.now.bind(clock);
  clock.now = () => {
    clock.set(now() + ms);
    return now();
  };
  return { clock, records: bench.records() };
}

const FILTERS = Object.keys(LIST_FILTERS) as ListFilter[];

describe("a sweep of the embedded host", () => {
  it("yields one record for every guest, in the order of the listing, and says before how many", async () => {
    const bench = new Bench();
    const records = await bench.records();
    expect(bench.expected).toBe(12);
    expect(records.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(records.every(({ status }) => status === "ok")).toBe(true);
    expect(records.map(({ state }) => state!.state).toSorted()).toEqual([
      ...["paused", "running", "running", "running", "running", "running", "running"],
      ...["running", "running", "running", "shutoff", "shutoff"],
    ]);
  });

  it("hands out the first record alone and then up to 64 at a time", async () => {
    const chunks = await new Bench("domains=1000").chunks();
    expect(chunks.map((chunk) => chunk.length)).toEqual([1, ...Array(15).fill(64), 39]);
  });

  it("keeps chunks small when records are huge", async () => {
    const chunks = await new Bench("domains=20&vcpus=1&huge=0-19:40000").chunks({ groups: SIX_GROUPS });
    expect(chunks.map((chunk) => chunk.length)).toEqual([1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
  });

  it("computes nothing before it is pulled and nothing ahead", async () => {
    const bench = new Bench("domains=1000");
    const sweep = bench.begin();
    await turn();
    expect([bench.driver.simulation.sweeps, bench.driver.simulation.produced]).toEqual([0, 0]);
    await sweep.next();
    await turn();
    expect([bench.driver.simulation.sweeps, bench.driver.simulation.produced]).toEqual([1, 1]);
    await sweep.next();
    await turn();
    expect([bench.driver.simulation.sweeps, bench.driver.simulation.produced]).toEqual([1, 65]);
  });

  it("ends at once in a host without guests", async () => {
    const bench = new Bench("domains=0");
    expect(await bench.records()).toEqual([]);
    expect(bench.expected).toBe(0);
  });

  it("gives out domains that belong to the driver, with an id while they are active", async () => {
    const bench = new Bench("domains=4&shutoff=2");
    const [first] = await bench.records();
    expect(() => checkQuery({ domains: [first!.domain] }, new Bench().driver)).toThrow(
      expect.objectContaining({ code: "foreign-domain" }),
    );
    for (const { domain, state } of await bench.records()) {
      expect(domain.host).toBe("simulated");
      expect(domain.id > 0).toBe(state!.state === "running");
    }
  });

  it("takes no longer by the clock, and no timers, while every guest answers at once", async () => {
    const bench = new Bench("domains=10000");
    const before = bench.clock.now();
    const records = await bench.records();
    expect(bench.clock.now()).toBe(before);
    expect(records.every(({ sampledAt, tookMs }) => sampledAt === before && tookMs === 0)).toBe(true);
  });

  it("asks at most four guests at once when answers take time", async () => {
    const bench = new Bench("domains=10&latency=20");
    const start = bench.clock.now();
    const records = await bench.records();
    expect(records.map(({ sampledAt }) => sampledAt - start)).toEqual([0, 0, 0, 0, 20, 20, 20, 20, 40, 40]);
    expect(records.every(({ tookMs, status }) => tookMs === 20 && status === "ok")).toBe(true);
    expect(bench.clock.now() - start).toBe(60);
  });

  it("ends although answers become due while their guests are still being asked", async () => {
    const { clock, records } = withBusyProcess(new Bench("domains=10&latency=20"), 30);
    expect((await records).map(({ index }) => index).toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(clock.timers).toBe(0);
  });

  it("lets the event loop turn while it works", async () => {
    const bench = new Bench("domains=100000");
    let turns = 0;
    let over = false;
    const count = () => {
      turns++;
      if (!over) setImmediate(count);
    };
    setImmediate(count);
    const sweep = bench.begin();
    while (!(await sweep.next()).done);
    over = true;
    expect(turns).toBeGreaterThan(1);
  });

  it("lets the event loop turn while it looks for guests that hardly any filter passes", async () => {
    const bench = new Bench("domains=1000000&paused=1");
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    const sweep = bench.begin({ filter: ["paused"], groups: ["state"] });
    expect((await sweep.next()).value).toHaveLength(1);
    expect((await sweep.next()).done).toBe(true);
    expect(turned).toBe(true);
    expect(bench.expected).toBe(1);
  });
});

describe("groups that the embedded host does not have", () => {
  const unknown = 2 ** 13;

  it("are left out, and when nothing remains records have no parameters", async () => {
    const [one] = await new Bench("domains=1").records({ groups: unknown | 1 });
    expect(one!.params.schema.keys).toEqual(["state.state", "state.reason"]);
    const [none] = await new Bench("domains=1").records({ groups: unknown });
    expect([none!.status, none!.params.size, none!.missing]).toEqual(["ok", 0, []]);
  });

  it("end the sweep with unsupported, naming them, when the query insists", async () => {
    const sweep = new Bench().begin({ groups: unknown | 1, enforce: true });
    await expect(sweep.next()).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/group-13 \(0x2000\)/),
    });
  });

  it("are none of the eleven that libvirt has", async () => {
    expect(await new Bench().records({ groups: ALL_GROUPS, enforce: true })).toHaveLength(12);
  });
});

describe("guests that are named", () => {
  it("are found by uuid and by name, answered once each, in the order in which they were named", async () => {
    const bench = new Bench("domains=1000000");
    const uuid = bench.host.domain(999_999).uuid;
    const records = await bench.records({
      domains: ["guest-00005", uuid, "guest-999999", bench.host.domain(5)],
      groups: ["state"],
    });
    expect(records.map(({ domain, index }) => [domain.name, index])).toEqual([
      ["guest-00005", 0],
      ["guest-999999", 1],
    ]);
    expect(bench.expected).toBe(2);
  });

  it("are gone, each by one record, when there are none of that name or uuid", async () => {
    const bench = new Bench();
    const uuid = "12345678-1234-1234-1234-123456789abc";
    const records = await bench.records({ domains: ["nobody", "guest-00001", uuid] });
    expect(records.map(({ status, reason }) => [status, reason])).toEqual([
      ["gone", "unknown"],
      ["ok", undefined],
      ["gone", "unknown"],
    ]);
    expect(records[0]!.error).toMatchObject({ code: "unknown-domain", message: expect.stringMatching(/"nobody"/) });
    expect(records[0]!.domain).toMatchObject({ name: "nobody", uuid: "00000000-0000-0000-0000-000000000000", id: -1 });
    expect(records[2]!.domain).toMatchObject({ uuid, name: "" });
    expect(bench.expected).toBe(3);
  });

  it("have no record when they do not pass the filter", async () => {
    const bench = new Bench("domains=2&shutoff=1");
    const domains = ["guest-00000", "guest-00001"];
    const records = await bench.records({ domains, filter: ["inactive"] });
    expect(records.map(({ index, state }) => [index, state!.state])).toEqual([[0, "shutoff"]]);
    expect(bench.expected).toBe(1);
  });

  it("may be a hundred thousand", async () => {
    const bench = new Bench("domains=200000");
    const domains = Array.from({ length: 100_000 }, (_, i) => bench.host.domain(i * 2));
    const records = await bench.records({ domains, groups: ["state"] });
    expect(records.map(({ domain }) => domain.uuid)).toEqual(domains.map(({ uuid }) => uuid));
  });
});

describe("the end of a sweep", () => {
  it("comes promptly when it is aborted, also while it waits, and leaves no timer behind", async () => {
    const bench = new Bench("domains=3&freeze=1");
    const sweep = bench.begin();
    await sweep.next();
    await sweep.next();
    const waiting = sweep.next();
    await turn();
    expect(bench.clock.timers).toBe(1);
    bench.controller.abort();
    expect(await waiting).toEqual({ done: true, value: undefined });
    expect(bench.clock.timers).toBe(0);
  });

  it("comes before anything is done when it was aborted before", async () => {
    const bench = new Bench();
    expect(await bench.begin({}, AbortSignal.abort()).next()).toMatchObject({ done: true });
    expect([bench.driver.simulation.produced, bench.expected]).toEqual([0, undefined]);
  });

  it("is connection-closed when the driver is closed, for sweeps that wait, that are pulled later, and that begin", async () => {
    const bench = new Bench("domains=3&freeze=1");
    const waiting = bench.begin();
    await waiting.next();
    await waiting.next();
    const wait = waiting.next().catch((error: unknown) => error);
    const pulledLater = bench.begin();
    await pulledLater.next();
    await turn();
    await bench.driver.close();
    await bench.driver.close();
    expect(await wait).toMatchObject({ code: "connection-closed" });
    await expect(pulledLater.next()).rejects.toBeInstanceOf(VirstreamError);
    await expect(bench.begin().next()).rejects.toMatchObject({ code: "connection-closed" });
    expect(bench.clock.timers).toBe(0);
  });
});

describe("the promise", () => {
  const faults = fc.array(
    fc.tuple(
      fc.constantFrom("freeze", "slow", "vanish", "error", "appear", "reset", "huge", "extremes"),
      fc.nat(39),
      fc.constantFrom("", ":100", ":2500", ":7000"),
    ),
    { maxLength: 12 },
  );
  const query = fc.record({
    groups: fc.constantFrom(0, 1, MONITOR_FREE_GROUPS, ALL_GROUPS, 2 ** 20),
    filter: fc.subarray(FILTERS, { maxLength: 3 }),
    nowait: fc.boolean(),
    deadlineMs: fc.constantFrom(50, 2_000, 5_000),
    named: fc.option(fc.array(fc.nat(60), { minLength: 1, maxLength: 30 }), { freq: 2 }),
  });

  it("is kept: one record for every guest of the listing, in bounded time, whatever is wrong with the others", async () => {
    await fc.assert(
      fc.asyncProperty(
        faults,
        query,
        fc.constantFrom(0, 7, 3_000),
        fc.nat(99),
        async (faults, query, latency, seed) => {
          const parameters = new URLSearchParams([
            ...[
              ["domains", "40"],
              ["shutoff", "20%"],
              ["paused", "5"],
              ["latency", `${latency}`],
              ["seed", `${seed}`],
            ],
            ...faults.map(([name, index, amount]) => {
              const plain = ["freeze", "vanish", "error", "extremes"].includes(name);
              return [name, `${index}${plain ? "" : amount}`];
            }),
          ]);
          const bench = new Bench(parameters.toString());
          const { named, ...rest } = query;
          const names = named?.map((index) =>
            index % 2 ? `guest-000${String(index).padStart(2, "0")}` : nameOf(bench, index),
          );
          const start = bench.clock.now();
          const records = await bench.records({ ...rest, ...(names === undefined ? {} : { domains: names }) });

          expect(records.length).toBe(bench.expected);
          expect(bench.driver.simulation.produced).toBe(records.length);
          const positions = records.map(({ index }) => index).toSorted((a, b) => a - b);
          expect(positions).toEqual(positions.map((_, i) => i));
          const known = records.filter(({ reason }) => reason !== "unknown");
          expect(new Set(known.map(({ domain }) => domain.uuid)).size).toBe(known.length);
          for (const record of records) {
            expect(record.tookMs).toBeLessThanOrEqual(query.deadlineMs);
            expect(record.missing.length > 0).toBe(
              record.status === "partial" || (record.status === "failed" && query.groups !== 2 ** 20),
            );
            expect(record.error !== undefined).toBe(record.status === "failed" || record.reason === "unknown");
          }
          const waves = latency === 0 ? 1 : Math.ceil(records.length / 4) + 1;
          expect(bench.clock.now() - start).toBeLessThanOrEqual(waves * query.deadlineMs);
          expect(bench.clock.timers).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("gives the same records for the same seed", async () => {
    await fc.assert(
      fc.asyncProperty(faults, fc.nat(9), async (faults, seed) => {
        const parameters = `domains=40&shutoff=5&paused=5&seed=${seed}&${search(faults)}`;
        const plain = async () =>
          (await new Bench(parameters).records()).map(({ domain: { uuid, name, id }, status, params, index }) => ({
            ...{ uuid, name, id, status, index },
            params: [...params.list()],
          }));
        expect(await plain()).toEqual(await plain());
      }),
      { numRuns: 25 },
    );
  });

  it("is not broken by leaving: whatever was handed out before an abort was handed out once", async () => {
    await fc.assert(
      fc.asyncProperty(faults, fc.nat(8), fc.nat(6_000), async (faults, pulls, ms) => {
        const bench = new Bench(`domains=600&${search(faults)}`);
        const sweep = bench.begin({ groups: ["state", "cpu-total"] });
        const names: string[] = [];
        const pulling = (async () => {
          for (let i = 0; i < pulls; i++) {
            const { done, value } = await sweep.next();
            if (done) return;
            names.push(...value.map(({ domain }) => domain.name));
          }
        })();
        await turn();
        bench.clock.advance(ms);
        await turn();
        bench.controller.abort();
        await bench.clock.settle(pulling);
        expect(await sweep.next()).toMatchObject({ done: true });
        expect(new Set(names).size).toBe(names.length);
        expect(bench.clock.timers).toBe(0);
      }),
      { numRuns: 50 },
    );
  });

  function search(faults: [name: string, index: number, amount: string][]): string {
    return faults.map(([name, index]) => `${name}=${index}${name === "huge" ? ":2000" : ""}`).join("&");
  }

  function nameOf(bench: Bench, index: number): string {
    return index < 40 ? bench.host.domain(index).uuid : `guest-000${index}`;
  }
});

describe("the sweeps of a host", () => {
  it("run beside each other without one's delays reaching the other", async () => {
    const bench = new Bench("domains=10&freeze=2");
    const one = bench.records({ groups: ["cpu-total"] });
    const other = await bench.records({ groups: ["state"] });
    expect(other.every(({ status }) => status === "ok")).toBe(true);
    expect(ofGuest(await bench.clock.settle(one), 2).status).toBe("partial");
    expect(bench.driver.simulation.sweeps).toBe(2);
  });

  it("share one schema among a million records of one shape", async () => {
    const driver = new SimulatedDriver("test:///default?domains=1000000&vcpus=2&disks=2&nics=2");
    const query = checkQuery({ groups: ["state"], flags: StatsFlag.nowait });
    const schemas = new Set<unknown>();
    let records = 0;
    for await (const chunk of driver.sweep(query, { signal: new AbortController().signal, expect: () => {} })) {
      records += chunk.length;
      schemas.add(chunk[0]!.params.schema);
    }
    expect(records).toBe(1_000_000);
    expect(schemas.size).toBe(1);
  });
});
