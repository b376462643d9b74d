import { firstValueFrom, lastValueFrom, take, toArray } from "rxjs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { watchOf } from "../sampling/watching.ts";
import "../../src/drivers/builtin.ts";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import { rates } from "../../src/client/rates.ts";
import type { WatchStream } from "../../src/client/stream.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { NO_FAULT } from "../../src/drivers/simulated/fault.ts";
import { type ErrorCode, VirstreamError } from "../../src/model/error.ts";
import { checkQuery, type StatsQuery } from "../../src/model/query.ts";
import type { DomainStatsRecord } from "../../src/model/record.ts";
import { checkCadence, type WatchEvent, type WatchOptions } from "../../src/model/watch.ts";
import { Sampling } from "../../src/sampling/sampling.ts";
import { ManualClock, turn } from "../drivers/simulated/manual-clock.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { describeWith, labRequirements } from "../lab/requirement.ts";
import { pass } from "../sampling/pass.ts";
import { uncaughtDuring } from "../uncaught.ts";
import { until } from "../until.ts";

const QUICK: StatsQuery = { groups: ["state"] };
const OFTEN: WatchOptions = { intervalMs: 10 };
const IDLE = { samplers: 0, feeds: 0, subscribers: 0, sweepsInFlight: 0 };

describe("watching a connection", () => {
  let connection: Connection;
  let driver: SimulatedDriver;

  beforeAll(async () => {
    connection = await connect("test:///default?domains=5&seed=3");
    driver = connection.driver as SimulatedDriver;
  });
  // Whatever a test did: every watch has ended, and no sweep goes on.
  afterEach(async () => {
    await until(() => connection.sampling.snapshot().sweepsInFlight === 0);
    expect(connection.sampling.snapshot()).toMatchObject(IDLE);
    const { sweeps } = driver.simulation;
    for (let i = 0; i < 1_000; i++) await turn();
    expect(driver.simulation.sweeps).toBe(sweeps);
  });
  afterAll(() => connection.close());

  const watch = (signal?: AbortSignal) => connection.watch(QUICK, { ...OFTEN, ...(signal && { signal }) });

  it("gives every domain's record sweep after sweep, as an Observable, until it is unsubscribed", async () => {
    const records = await firstValueFrom(watch().pipe(take(15), toArray()));
    for (const sweep of [0, 5, 10]) {
      expect(new Set(records.slice(sweep, sweep + 5).map(({ domain }) => domain.uuid)).size).toBe(5);
    }
  });

  it("gives the same to for await, until it breaks, and counts the ticks among the events", async () => {
    const ticks: number[] = [];
    let records = 0;
    for await (const event of watch().events) {
      if (event.type === "record") records++;
      if (event.type === "sync") ticks.push(event.tick);
      if (ticks.length === 4) break;
    }
    expect([ticks, records]).toEqual([[1, 2, 3, 4], 20]);
  });

  it("does nothing until it is consumed, and sweeps once for all who consume it", async () => {
    const { sweeps } = driver.simulation;
    const stream = watch();
    for (let i = 0; i < 100; i++) await turn();
    expect(driver.simulation.sweeps).toBe(sweeps);
    const counts = [0, 0, 0];
    const subscriptions = counts.map((_, i) =>
      stream.subscribe(() => {
        counts[i]!++;
      }),
    );
    await until(() => counts.every((count) => count >= 15));
    expect(connection.sampling.snapshot()).toMatchObject({ samplers: 1, feeds: 1, subscribers: 3 });
    expect(driver.simulation.sweeps - sweeps).toBeLessThanOrEqual(Math.ceil(Math.max(...counts) / 5) + 1);
    for (const subscription of subscriptions) subscription.unsubscribe();
  });

  it("completes when its signal is aborted, for every kind of consumer, also before it begins", async () => {
    const abort = new AbortController();
    let records = 0;
    let completed = 0;
    watch(abort.signal).subscribe({ complete: () => completed++ });
    const looping = (async () => {
      for await (const _ of watch(abort.signal).events);
    })();
    await watch(abort.signal).forEach(() => {
      if (++records === 7) abort.abort(new Error("that is enough"));
    });
    await looping;
    await until(() => completed === 1);
    expect(records).toBe(7);
    expect(await watch(abort.signal).toArray()).toEqual([]);
  });

  it("ends when the callback throws, and fails with that", async () => {
    const refuse = () => Promise.reject(new Error("no more"));
    await expect(watch().forEach(refuse)).rejects.toThrow("no more");
    await expect(watch().events.forEach(refuse)).rejects.toThrow("no more");
  });

  it("refuses what cannot be, at once, and says what can", () => {
    const codeOf = (query: unknown, options: unknown) => {
      try {
        connection.watch(query as StatsQuery, options as WatchOptions);
      } catch (error) {
        if (error instanceof VirstreamError) return error.code;
        throw error;
      }
      return "none";
    };
    expect(codeOf({}, { intervalMs: 5 })).toBe("invalid-argument");
    expect(codeOf({}, { mode: "never" })).toBe("invalid-argument");
    expect(codeOf({}, { heartbeatMs: 1_000 })).toBe("invalid-argument");
    expect(codeOf({}, { every: 1_000 })).toBe("invalid-argument");
    expect(codeOf({ groups: ["cpu"] }, {})).toBe("unknown-group");
    expect(codeOf({ domains: [] }, {})).toBe("empty-domain-list");
    expect(codeOf({}, {})).toBe("none");
  });

  it("fails at the first sweep when the query insists on a group that is not supported", async () => {
    const enforced = connection.watch({ groups: 2 ** 20 + 1, enforce: true }, OFTEN);
    await expect(enforced.toArray()).rejects.toMatchObject({ code: "unsupported" satisfies ErrorCode });
  });

  it("completes when its connection is closed, and throws nothing where a subscriber has no error callback", async () => {
    const own = await connect("test:///default?domains=5");
    const stream = own.watch(QUICK, OFTEN);
    let records = 0;
    let completed = 0;
    const count = () => {
      records++;
    };
    const uncaught = await uncaughtDuring(async () => {
      stream.events.pipe(rates()).subscribe(count);
      stream.subscribe({ next: count, complete: () => completed++ });
      const listening = stream.forEach(count);
      const iterator = stream.events[Symbol.asyncIterator]();
      await until(() => records >= 30);
      await own.close();
      await listening;
      for (let next = await iterator.next(); !next.done; next = await iterator.next());
      await until(() => completed === 1);
    });
    expect(uncaught).toEqual([]);
    expect(own.sampling.snapshot()).toMatchObject(IDLE);
  });

  it("that is begun after its connection was closed fails with connection-closed, as every call does", async () => {
    let stream: WatchStream;
    let closed: Connection;
    {
      await using own = await connect("test:///default?domains=5");
      closed = own;
      stream = own.watch(QUICK, OFTEN);
    }
    const code = "connection-closed" satisfies ErrorCode;
    await expect(stream.toArray()).rejects.toMatchObject({ code });
    await expect(lastValueFrom(stream.events)).rejects.toMatchObject({ code });
    expect(() => closed.watch()).toThrow(expect.objectContaining({ code }));
    await expect(closed.getAllDomainStats()).rejects.toMatchObject({ code });
  });
});

/** An embedded host, watched on a clock that stands still. */
class Bench {
  readonly clock = new ManualClock();
  readonly driver: SimulatedDriver;
  readonly sampling: Sampling;
  readonly abort = new AbortController();

  constructor(parameters: string) {
    this.driver = new SimulatedDriver(`test:///default?${parameters}`, { clock: this.clock });
    this.sampling = new Sampling(this.driver, this.clock);
  }

  watch(query: StatsQuery = {}, options: WatchOptions = {}): WatchStream {
    return watchOf(this.sampling, checkQuery(query), checkCadence(options), this.abort.signal);
  }

  /** Takes in what is told as it comes. */
  listen(query: StatsQuery = {}, options: WatchOptions = {}): WatchEvent[] {
    const events: WatchEvent[] = [];
    this.watch(query, options).events.subscribe({ next: (event) => events.push(event), error: () => {} });
    return events;
  }

  pass(ms: number): Promise<void> {
    return pass(this.clock, ms);
  }

  end(): void {
    this.abort.abort();
    expect(this.clock.timers).toBe(0);
    expect(this.sampling.snapshot()).toMatchObject({ samplers: 0, feeds: 0, subscribers: 0 });
  }
}

const recordsOf = (events: readonly WatchEvent[]): DomainStatsRecord[] =>
  events.flatMap((event) => (event.type === "record" ? [event.record] : []));
const leaversOf = (events: readonly WatchEvent[]): string[] =>
  events.flatMap((event) => (event.type === "gone" ? [event.domain.name] : []));

describe("watching a host whose guests change", () => {
  it("tells a guest that vanished once, and has it again when it is back", async () => {
    const bench = new Bench("domains=3");
    const events = bench.listen(QUICK);
    await bench.pass(500);
    bench.driver.simulation.change(1, { vanishing: true });
    await bench.pass(3_000);
    expect(leaversOf(events)).toEqual(["guest-00001"]);
    expect(events.flatMap((event) => (event.type === "sync" ? [event.summary.domains] : []))).toEqual([3, 3, 2, 2]);
    bench.driver.simulation.change(1, NO_FAULT);
    await bench.pass(1_000);
    expect(recordsOf(events.slice(-4)).map(({ domain }) => domain.name)).toContain("guest-00001");
    expect(leaversOf(events)).toHaveLength(1);
    bench.end();
  });

  it("has a frozen guest's record at the query's deadline, those of the others at once, and the next sweep in time", async () => {
    const bench = new Bench("domains=3&freeze=1");
    const events = bench.listen({ deadlineMs: 600 });
    await bench.pass(300);
    expect(recordsOf(events).map(({ domain }) => domain.name)).toEqual(["guest-00000", "guest-00002"]);
    await bench.pass(400);
    expect(recordsOf(events)[2]).toMatchObject({ status: "partial", reason: "timeout" });
    await bench.pass(1_000);
    expect(events.flatMap((event) => (event.type === "sync" ? [event.overrun] : []))).toEqual([0, 0]);
    bench.end();
  });

  it("tells in the mode on-change only guests that do something, and the others once per heartbeat", async () => {
    const bench = new Bench("domains=2");
    const events = bench.listen(QUICK, { mode: "on-change", heartbeatMs: 3_000 });
    await bench.pass(2_500);
    expect(recordsOf(events)).toHaveLength(2);
    await bench.pass(1_000);
    expect(recordsOf(events)).toHaveLength(4);
    bench.end();
    const busy = new Bench("domains=2");
    const all = busy.listen({ groups: ["cpu-total"] }, { mode: "on-change" });
    await busy.pass(2_500);
    expect(recordsOf(all)).toHaveLength(6);
    busy.end();
  });

  it("spares a callback that takes its time all but the newest, and tells how many sweeps that were", async () => {
    const bench = new Bench("domains=3");
    const events: WatchEvent[] = [];
    let goOn = () => {};
    const holding = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const watching = bench.watch(QUICK).events.forEach(async (event) => {
      events.push(event);
      if (event.type === "sync" && event.tick === 2) await holding;
    });
    watching.catch(() => {});
    await bench.pass(100_500);
    goOn();
    await bench.pass(1_000);
    const gap = events.find((event) => event.type === "gap");
    expect(gap).toEqual({ type: "gap", reason: "slow-consumer", skipped: 98, host: undefined });
    expect(events.flatMap((event) => (event.type === "sync" ? [event.tick] : []))).toEqual([1, 2, 101, 102]);
    const times = recordsOf(events).map(({ sampledAt }) => sampledAt);
    expect(times).toEqual([...times].sort());
    expect(recordsOf(events)).toHaveLength(12);
    expect(bench.sampling.snapshot().ticksConflated).toBe(98);
    bench.end();
  });
});

describeWith(labRequirements, "watching real QEMU guests", () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await standardLab();
  });
  afterAll(() => lab?.stop());

  it("goes on over a restart of libvirtd: it says that it reconnects, then that it is back and what was skipped", {
    timeout: 120_000,
  }, async () => {
    await using connection = await connect(lab.libvirtd.uri);
    const names = lab.guests.map(({ name }) => name).sort();
    const told: string[] = [];
    let restarted: Promise<void> | undefined;
    let ticks = 0;
    let after = 0;
    let records: DomainStatsRecord[] = [];
    for await (const event of connection.watch({ deadlineMs: 1_000 }, { intervalMs: 100 }).events) {
      if (event.type === "record") records.push(event.record);
      else if (event.type === "status") {
        told.push(event.state);
        // Were it there again within the deadline, a sweep would wait for it, and nothing would be amiss.
        if (event.state === "reconnecting") restarted ??= lab.libvirtd.restart();
        records = [];
      } else if (event.type === "gap") {
        told.push("gap");
        expect(event).toMatchObject({ reason: "source", host: connection.host });
        expect(event.skipped).toBeGreaterThan(0);
      } else if (event.type === "sync") {
        expect(event.tick).toBe(++ticks);
        expect(records.map(({ domain }) => domain.name).sort()).toEqual(names);
        if (ticks === 3) await lab.libvirtd.kill("SIGKILL");
        const well = records.every(({ status }) => status === "ok");
        if (ticks <= 3) expect(well).toBe(true);
        if (told.includes("gap") && well && ++after === 3) break;
        records = [];
      } else {
        throw new Error(`${event.domain.name} is said to have left`);
      }
    }
    await restarted;
    expect(told.slice(0, 3)).toEqual(["reconnecting", "connected", "gap"]);
    expect(connection.sampling.snapshot()).toMatchObject({ samplers: 0, feeds: 0, subscribers: 0 });
  });
});
