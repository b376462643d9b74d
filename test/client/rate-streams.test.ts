import { lastValueFrom, take, toArray } from "rxjs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import { Connection, type RatesQuery } from "../../src/client/connection.ts";
import { type DomainRates, measured, RateMeter } from "../../src/client/rates.ts";
import { serve } from "../../src/server/index.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";
import { until } from "../until.ts";

const GROUPS = ["state", "cpu-total", "block"] as const;
const OFTEN = { intervalMs: 10 };

/** Of twelve simulated domains, two are shut off. */
const SHUT_OFF = 2;

describe("the rates of a watch", () => {
  let connection: Connection;
  beforeAll(async () => {
    connection = await connect("test:///default");
  });
  afterEach(() => until(() => connection.sampling.snapshot().subscribers === 0));
  afterAll(() => connection.close());

  const rates = () => connection.watch({ groups: GROUPS }, OFTEN).rates;

  it("come as an Observable, by for await and by callback: one for each record, undefined for the first of a domain", async () => {
    const observed = await lastValueFrom(rates().pipe(take(36), toArray()));
    const iterated: DomainRates[] = [];
    for await (const figures of rates()) if (iterated.push(figures) === 36) break;
    const called: DomainRates[] = [];
    const enough = new Error("enough");
    const end = (figures: DomainRates) => {
      if (called.push(figures) === 36) throw enough;
    };
    await expect(rates().forEach(end)).rejects.toBe(enough);
    for (const all of [observed, iterated, called]) {
      expect(new Set(all.slice(0, 12).map(({ record }) => record.domain.uuid)).size).toBe(12);
      expect(all.slice(0, 12).filter(({ cpu }) => cpu.percent !== undefined)).toEqual([]);
      expect(all.slice(24).filter(({ cpu }) => cpu.percent !== undefined)).toHaveLength(12 - SHUT_OFF);
    }
  });

  it("are those that a RateMeter computes of the same events, also of a server", async () => {
    await using server = await serve(connection, { port: 0, limits: { minIntervalMs: 10 } });
    await using client = await connect(server.url);
    for (const source of [connection, client]) {
      const watch = source.watch({ groups: GROUPS }, OFTEN);
      const meter = new RateMeter();
      const expected = new Map<object, DomainRates>();
      const other = watch.events.subscribe((event) => {
        const figures = measured(meter, event);
        if (figures !== undefined) expected.set(figures.record, figures);
      });
      const got = await lastValueFrom(watch.rates.pipe(take(60), toArray()));
      other.unsubscribe();
      const common = got.filter(({ record }) => expected.has(record));
      expect(common.length).toBeGreaterThan(40);
      for (const figures of common) expect(figures).toEqual(expected.get(figures.record));
    }
  });

  it("complete when the connection is closed, also before the first came, and leave nothing behind", async () => {
    for (const turns of [0, 1, 50]) {
      const clock = new ManualClock();
      const { driver } = await connect("test:///default");
      const closing = new Connection(driver, clock);
      const ended = closing.watch().rates.toArray();
      for (let i = 0; i < turns; i++) await turn();
      await closing.close();
      expect(Array.isArray(await ended)).toBe(true);
      expect([closing.sampling.snapshot().subscribers, clock.timers]).toEqual([0, 0]);
    }
  });

  it("need no listener, timer or subscriber any more after 1,000 consumers have left", async () => {
    const abort = new AbortController();
    const watch = connection.watch({ groups: GROUPS }, { ...OFTEN, signal: abort.signal });
    for (let i = 0; i < 1_000; i++) watch.rates.subscribe(() => {}).unsubscribe();
    for (let i = 0; i < 10; i++) await turn();
    expect(connection.sampling.snapshot()).toMatchObject({ samplers: 0, feeds: 0, subscribers: 0 });
  });
});

describe("a batch call with rates", () => {
  let connection: Connection;
  beforeAll(async () => {
    connection = await connect("test:///default");
  });
  afterAll(() => connection.close());

  it("resolves with the rates of every domain over at least the time asked for; unknown ones are undefined, and never 0", async () => {
    await using server = await serve(connection, { port: 0 });
    await using client = await connect(server.url);
    for (const source of [connection, client]) {
      const all = await source.getAllDomainStats({ groups: GROUPS, rates: true, overMs: 50 });
      expect(new Set(all.map(({ record }) => record.domain.uuid)).size).toBe(12);
      const known = all.filter(({ cpu }) => cpu.percent !== undefined);
      expect(known).toHaveLength(12 - SHUT_OFF);
      // Both clocks are whole ms, and a timer may fire by a part of one early.
      for (const { cpu } of known) expect(cpu.intervalMs).toBeGreaterThanOrEqual(48);
      for (const { cpu, intervalMs } of all.filter((each) => !known.includes(each))) {
        expect([cpu.percent, cpu.intervalMs, intervalMs]).toEqual([undefined, undefined, undefined]);
      }
    }
  });

  it("has an entry for each domain of a list, in its order, also for one that does not exist", async () => {
    const names = ["guest-00004", "missing", "guest-00000"];
    const list = await connection.domainListGetStats(names, { groups: GROUPS, rates: true, overMs: 10 });
    expect(list.map(({ record }) => record.domain.name)).toEqual(names);
    expect(list.map(({ record }) => record.status)).toEqual(["ok", "gone", "ok"]);
    expect(list.map(({ cpu }) => cpu.percent !== undefined)).toEqual([true, false, true]);
  });

  it("gives records without rates, and refuses what it cannot mean, by the name of the member", async () => {
    const [record] = await connection.getAllDomainStats({ groups: GROUPS });
    expect(record!.status).toBe("ok");
    const refused: [unknown, RegExp][] = [
      [{ overMs: 100 }, /overMs goes with rates/],
      [{ rates: "yes" }, /rates must be true or false, not "yes"/],
      [{ rates: true, overMs: 9 }, /overMs must be a whole number from 10 to 3600000, not 9/],
      [{ rates: true, overMs: "1s" }, /overMs must be a whole number/],
      [{ rates: true, over: 100 }, /no member "over"/],
    ];
    for (const [query, message] of refused) {
      const error = { code: "invalid-argument", message: expect.stringMatching(message) };
      await expect(connection.getAllDomainStats(query as RatesQuery)).rejects.toMatchObject(error);
    }
  });

  it("fails when it is aborted, or its connection is closed, between its two sweeps, and leaves no timer behind", async () => {
    const clock = new ManualClock();
    const { driver } = await connect("test:///default");
    const closing = new Connection(driver, clock);
    const abort = new AbortController();
    const aborted = closing.getAllDomainStats({ rates: true }, { signal: abort.signal });
    const closed = closing.getAllDomainStats({ rates: true });
    await until(() => clock.timers === 2);
    const reason = new Error("no longer needed");
    abort.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    await closing.close();
    await expect(closed).rejects.toMatchObject({ code: "connection-closed" });
    expect(clock.timers).toBe(0);
  });
});
