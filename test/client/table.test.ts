import { describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { AggregateDriver } from "../../src/aggregate/aggregate-driver.ts";
import { connect, connectAll } from "../../src/client/connect.ts";
import { Connection } from "../../src/client/connection.ts";
import type { Table, TableOptions } from "../../src/client/table.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { domainKey } from "../../src/model/record.ts";
import { serve } from "../../src/server/index.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";
import { bytesInUse } from "../heap.ts";
import { own } from "../owned.ts";
import { until } from "../until.ts";

const QUERY = { groups: ["state", "cpu-total"] } as const;
const OFTEN = { intervalMs: 10 };
const cpu = (table: Table) => table.values().map(({ rates }) => rates.cpu.percent);

describe("a table", () => {
  const hostAt = async (uri: string) =>
    own(await serve(own(await connect(uri)), { port: 0, limits: { minIntervalMs: 10 } }));

  it("has the newest record and rates of each domain, of a host in this process, of a server and of several hosts", async () => {
    const local = own(await connect("test:///default?domains=6"));
    const server = await hostAt("test:///default?domains=6&host=hv1");
    const other = await hostAt("test:///default?domains=6&host=hv2&seed=7");
    const fleet = own(await connectAll([server.url, other.url]));
    for (const [connection, domains] of [
      [local, 6],
      [own(await connect(server.url)), 6],
      [fleet, 12],
    ] as const) {
      const table = connection.table(QUERY, OFTEN);
      expect([table.size, table.values(), table.absent]).toEqual([0, [], []]);
      await table.ready;
      expect([table.size, [...table].length, table.values().length]).toEqual([domains, domains, domains]);
      const [row] = table.values();
      expect(row!.key).toBe(domainKey(row!.domain));
      expect(table.get(row!.key)).toBe(row);
      expect([row!.record.domain, row!.stale, row!.rates.record]).toEqual([row!.domain, false, row!.record]);
      expect(row!.ageMs).toBeLessThan(60_000);
      await until(() => cpu(table).some((percent) => percent !== undefined));
      // The row that was read stays as it was: the table has another one now.
      expect(table.get(row!.key)).not.toBe(row);
      expect(table.get(row!.key)!.record.sampledAt).toBeGreaterThanOrEqual(row!.record.sampledAt);
      table.close();
    }
  });

  it("is sorted as asked for, also when its rows change, and top() leaves that order alone", async () => {
    const connection = own(await connect("test:///default"));
    using table = connection.table(QUERY, OFTEN);
    table.sort(({ rates }) => rates.cpu.percent, "descending");
    await table.ready;
    for (let tick = 0; tick < 5; tick++) {
      const [before] = table.values();
      await until(() => table.values()[0] !== before);
      const values = cpu(table);
      const known = values.filter((value) => value !== undefined);
      expect(values).toEqual([
        ...known.toSorted((a, b) => b - a),
        ...Array(values.length - known.length).fill(undefined),
      ]);
      expect([...table]).toEqual(table.values());
      expect(table.top(3, ({ rates }) => rates.cpu.percent)).toEqual(table.values().slice(0, 3));
    }
    expect(table.top(1, ({ domain }) => domain.name)[0]!.domain.name).toBe("guest-00011");
    table.sort(({ domain }) => domain.name);
    expect(table.values()[0]!.domain.name).toBe("guest-00000");
  });

  it("returns the same array of rows until one changes, also before the first one comes", async () => {
    const connection = own(await connect("test:///default"));
    using table = connection.table(QUERY, { intervalMs: 3_600_000 });
    expect(table.values()).toBe(table.values());
    await table.ready;
    expect(table.values()).toHaveLength(12);
    expect(table.values()).toBe(table.values());
  });

  it("gives its changes tick by tick to readers of all three kinds, a slow one the union, and completes at its end", async () => {
    const connection = own(await connect("test:///default?domains=5"));
    const table = connection.table(QUERY, OFTEN);
    const observed: number[][] = [];
    const completed = new Promise<void>((resolve, reject) => {
      table.changes.subscribe({
        next: ({ came, changed, left }) => observed.push([came.length, changed.length, left.length]),
        complete: resolve,
        error: reject,
      });
    });
    let called = 0;
    const each = table.changes.forEach(() => void called++);
    for await (const { came, changed } of table.changes) {
      const first = came.length > 0;
      expect([came.length, changed.length]).toEqual(first ? [5, 0] : [0, 5]);
      // Slower than five ticks: they come as one item.
      const ticks = observed.length + 5;
      await until(() => observed.length >= ticks);
      if (!first) break;
    }
    table.close();
    await Promise.all([completed, each]);
    expect(observed[0]).toEqual([5, 0, 0]);
    for (const [came, changed, left] of observed.slice(1)) expect([came, changed, left]).toEqual([0, 5, 0]);
    expect(called).toBe(observed.length);
    // The rows stay, and do not seem to be new.
    expect(table.values().map(({ stale }) => stale)).toEqual(Array(5).fill(true));
    expect(table.absent).toMatchObject([{ error: { code: "connection-closed" } }]);
    expect(await table.changes.toArray()).toMatchObject([{ changed: [], left: [] }]);
  });

  it("is ready although a host is absent, marks the rows of a lost host as stale, and renews them when it is back", async () => {
    const first = await hostAt("test:///default?domains=3&host=hv1");
    const source = own(await connect("test:///default?domains=2&host=hv2&seed=4"));
    const second = own(await serve(source, { port: 0, limits: { minIntervalMs: 10 } }));
    const { port } = new URL(second.url);
    const fleet = own(new Connection(await AggregateDriver.open([first.url, second.url, "ws://127.0.0.1:1"])));
    const table = fleet.table(QUERY, OFTEN);
    await table.ready;
    expect([table.size, table.absent.map(({ host }) => host)]).toEqual([5, ["ws://127.0.0.1:1"]]);
    const stale = () =>
      table
        .values()
        .filter((row) => row.stale)
        .map(({ domain }) => domain.host);
    expect(stale()).toEqual([]);
    await second.close();
    await until(() => table.absent.length === 2);
    expect(stale()).toEqual(["hv2", "hv2"]);
    expect(table.size).toBe(5);
    own(await serve(source, { port: Number(port), limits: { minIntervalMs: 10 } }));
    await until(() => table.absent.length === 1 && stale().length === 0);
    table.close();
  });

  it("is about the hosts and domains that the query selects, and ready at once where it selects no host", async () => {
    const connection = own(await connect("test:///default?domains=4&host=hv1"));
    using some = connection.table({ ...QUERY, names: ["*-00002"], hosts: ["hv*"] }, OFTEN);
    using none = connection.table({ ...QUERY, hosts: ["other*"] }, OFTEN);
    await Promise.all([some.ready, none.ready]);
    expect(some.values().map(({ domain }) => domain.name)).toEqual(["guest-00002"]);
    expect([none.size, none.absent]).toEqual([0, []]);
  });

  it("ends with its signal and with its connection, whenever that is, and leaves no timer and no subscriber behind", async () => {
    for (const turns of [0, 1, 2, 50]) {
      for (const end of ["close", "signal", "connection"] as const) {
        const clock = new ManualClock();
        const connection = new Connection((await connect("test:///default")).driver, clock);
        const abort = new AbortController();
        const table = connection.table(QUERY, { signal: abort.signal });
        const ended = table.changes.toArray();
        const outcome = table.ready.then(
          () => "ready",
          (reason) => reason,
        );
        for (let i = 0; i < turns; i++) await turn();
        if (end === "close") table.close();
        if (end === "signal") abort.abort(new Error("left"));
        if (end === "connection") await connection.close();
        expect(Array.isArray(await ended)).toBe(true);
        expect(["ready", "left", "the table was closed", expect.stringMatching(/connection.* closed/)]).toContainEqual(
          await outcome.then((reason) => reason.message ?? reason),
        );
        expect([connection.sampling.snapshot().subscribers, clock.timers]).toEqual([0, 0]);
        await connection.close();
      }
    }
  });

  it("fails, by ready and by its changes, when its watch cannot go on", async () => {
    const { driver } = own(await connect("test:///default"));
    const refused = new VirstreamError("unsupported", "it does not");
    const { uri, hypervisor, host } = driver;
    const sweep = () => ({
      [Symbol.asyncIterator]: () => ({ next: () => Promise.reject(refused) }),
    });
    const connection = own(new Connection({ uri, hypervisor, host, sweep, close: () => Promise.resolve() }));
    const table = connection.table();
    await expect(table.ready).rejects.toBe(refused);
    await expect(table.changes.toArray()).rejects.toBe(refused);
    expect(table.absent).toEqual([{ host, error: refused }]);
  });

  it("refuses what it cannot mean by the name of the member", async () => {
    const connection = own(await connect("test:///default"));
    const invalid = (message: RegExp) =>
      expect.objectContaining({ code: "invalid-argument", message: expect.stringMatching(message) });
    expect(() => connection.table({}, { mode: "on-change" } as TableOptions)).toThrow(
      invalid(/a table has no member "mode"/),
    );
    expect(() => connection.table({}, { intervalMs: 1 })).toThrow(invalid(/intervalMs/));
    using table = connection.table();
    expect(() => table.sort("name" as never)).toThrow(invalid(/by must be a function of a row, not "name"/));
    expect(() => table.sort(() => 1, "up" as never)).toThrow(
      invalid(/order must be "ascending" or "descending", not "up"/),
    );
    expect(() => table.top(-1, () => 1)).toThrow(invalid(/n must be a whole number/));
    expect(() => table.top(3, undefined as never)).toThrow(invalid(/by must be a function/));
    await connection.close();
    expect(() => connection.table()).toThrow(expect.objectContaining({ code: "connection-closed" }));
  });

  it("holds nothing after 1,000 tables were closed and 10,000 readers have left", async () => {
    const clock = new ManualClock();
    const connection = new Connection((await connect("test:///default")).driver, clock);
    const abort = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = abort.signal;
    abort.signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(abort.signal, args);
    };
    abort.signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(abort.signal, args);
    };
    const openTables = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const table = connection.table(QUERY, { signal: abort.signal });
        if (i % 2 === 0) await turn();
        table.close();
      }
      for (let i = 0; i < 10; i++) await turn();
    };
    // As many as below: then all of the code is compiled.
    await openTables(1_000);
    let before = await bytesInUse();
    await openTables(1_000);
    // Less than half a kilobyte of each.
    expect((await bytesInUse()) - before).toBeLessThan(500_000);
    expect([connection.sampling.snapshot().subscribers, clock.timers, listeners]).toEqual([0, 0, 0]);
    const table = connection.table(QUERY, { signal: abort.signal });
    await clock.settle(table.ready);
    const subscribe = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const subscription = table.changes.subscribe(() => {});
        if (i % 100 === 0) await turn();
        subscription.unsubscribe();
      }
      for (let i = 0; i < 10; i++) await turn();
    };
    await subscribe(10_000);
    before = await bytesInUse();
    await subscribe(10_000);
    expect((await bytesInUse()) - before).toBeLessThan(500_000);
    // That of the table itself.
    expect([connection.sampling.snapshot().subscribers, clock.timers, listeners]).toEqual([1, 1, 1]);
    table.close();
    expect([connection.sampling.snapshot().subscribers, clock.timers, listeners]).toEqual([0, 0, 0]);
    await connection.close();
  });
});
