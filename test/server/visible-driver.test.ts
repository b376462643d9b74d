import { describe, expect, it } from "vitest";
import { Connection } from "../../src/client/connection.ts";
import type { Driver, SweepContext } from "../../src/driver/driver.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { checkQuery, type Query } from "../../src/model/query.ts";
import { Domain, DomainStatsRecord, type RecordStatus } from "../../src/model/record.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";
import type { Cadence, WatchEvent, WatchSink } from "../../src/model/watch.ts";
import { VisibleDriver } from "../../src/server/access/visible-driver.ts";
import { turn } from "../drivers/simulated/manual-clock.ts";
import { pushAll } from "../sampling/collecting-sink.ts";
import { RecordingDriver } from "./recording-driver.ts";

const STRANGER = "99999999-9999-4999-8999-999999999999";

/** A host of ten guests, and a connection that sees those of them that are listed. */
function narrow(list: (driver: RecordingDriver) => string[], driver = new RecordingDriver(10)) {
  const domains = checkQuery({ domains: list(driver) }).domains!;
  return { driver, connection: new Connection(new VisibleDriver(driver, { domains })) };
}

/** Everything of a record but when it was made and what was asked for. */
function fields(record: DomainStatsRecord | undefined, asked: string): string {
  const { sampledAt, steadyAt, ...rest } = record!.toJSON();
  return JSON.stringify(rest).replaceAll(asked, "IT");
}

describe("a narrowed driver", () => {
  it("shows the domains of its list and asks its driver for no others", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.name(4)]);
    const names = (await connection.getAllDomainStats()).map(({ domain }) => domain.name);
    expect(names.sort()).toEqual([driver.name(1), driver.name(4)]);
    expect(driver.asked).toEqual([driver.uuid(1), driver.name(4)].sort());
    expect(driver.simulation.produced).toBe(2);
  });

  it("narrows its list further by the query's filters, groups and deadline", async () => {
    const { driver, connection } = narrow((host) => [0, 1, 2, 3].map((guest) => host.uuid(guest)));
    const running = await connection.getAllDomainStats({ filter: ["running"], groups: ["state"], deadlineMs: 70 });
    const all = await new Connection(driver).getAllDomainStats({ filter: ["running"] });
    const expected = all.filter(({ domain }) => [0, 1, 2, 3].some((guest) => driver.uuid(guest) === domain.uuid));
    expect(running.map(({ domain }) => domain.uuid)).toEqual(expected.map(({ domain }) => domain.uuid));
    expect(driver.queries[0]).toMatchObject({ groups: 1, deadlineMs: 70 });
  });

  it("says nothing of domains of its list that are not there, unless they are named", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), STRANGER, "no-such-guest"]);
    const events = await connection.stats().events.toArray();
    expect(events.at(-1)).toMatchObject({ summary: { domains: 1, ok: 1, gone: 0 } });
    const named = await connection.domainListGetStats([driver.uuid(1), STRANGER, "no-such-guest"]);
    expect(named.map(({ status, reason }) => [status, reason])).toEqual([
      ["ok", undefined],
      ["gone", "unknown"],
      ["gone", "unknown"],
    ]);
  });

  it("announces the number of records only when it is known, which it is not for a list of which domains may be missing", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.uuid(2), STRANGER]);
    const announced = async (domains?: string[]): Promise<unknown> => {
      const events = await connection.stats(domains === undefined ? {} : { domains }).events.toArray();
      return events.find((event) => event.type === "expect");
    };
    expect(await announced()).toBeUndefined();
    expect(await announced()).toBeUndefined();
    expect(await announced([driver.uuid(1), driver.uuid(7)])).toEqual({ type: "expect", domains: 2 });
    expect(await announced([driver.uuid(7)])).toEqual({ type: "expect", domains: 1 });
  });

  it("answers for a hidden domain in every field as for one that does not exist, without asking for either", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.name(2)]);
    driver.simulation.change(7, { slowMs: Number.POSITIVE_INFINITY });
    const pairs = [
      [driver.uuid(7), STRANGER],
      [driver.name(7), "no-such-guest"],
    ] as const;
    for (const [hidden, missing] of pairs) {
      const [ofHidden] = await connection.domainListGetStats([hidden]);
      const [ofMissing] = await connection.domainListGetStats([missing]);
      expect(fields(ofHidden, hidden)).toBe(fields(ofMissing, missing));
      const [plain] = await new Connection(new RecordingDriver(10)).domainListGetStats([missing]);
      expect(fields(ofHidden, hidden)).toBe(fields(plain, missing));
      expect(ofHidden!.domain.uuid).toBe(hidden === driver.uuid(7) ? hidden : NIL_UUID);
      const errors = [hidden, missing].map(async (domain) => {
        const error = await connection.lookupDomain(domain).catch((thrown: VirstreamError) => thrown);
        return error instanceof VirstreamError ? [error.code, error.message.replace(domain, "IT")] : error;
      });
      expect(await errors[0]).toEqual(await errors[1]);
    }
    expect(driver.asked).toEqual([driver.name(2), driver.uuid(1)].sort());
  });

  it("finds a domain of its list by the other of its two names, and gives it one record however often it is named", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.name(2), host.uuid(3)]);
    const records = await connection.domainListGetStats([
      driver.name(1),
      driver.uuid(1),
      driver.uuid(2),
      driver.name(7),
      driver.uuid(8),
    ]);
    const outcomes = records.map(({ domain, status }) => `${domain.name || domain.uuid} ${status}`);
    expect(outcomes.sort()).toEqual(
      [`${driver.name(1)} ok`, `${driver.name(2)} ok`, `${driver.name(7)} gone`, `${driver.uuid(8)} gone`].sort(),
    );
    expect(new Set(records.map(({ index }) => index)).size).toBe(4);
    expect(driver.asked).toEqual([driver.uuid(1), driver.name(2), driver.uuid(3)].sort());
    // Drivers are promised a query that names nothing twice.
    expect(driver.queries.at(-1)!.domains).toEqual([{ uuid: driver.uuid(1) }, { name: driver.name(2) }]);
  });

  it("asks for identities only where a domain is named otherwise than in its list", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.uuid(2)]);
    await connection.domainListGetStats([driver.uuid(1), STRANGER]);
    expect(driver.queries.map(({ domains }) => domains?.length)).toEqual([1]);
    await connection.domainListGetStats([driver.name(2)], { enforce: true, filter: ["running"], groups: ["vcpu"] });
    const { groups, flags, domains } = driver.queries[1]!;
    expect({ groups, flags, domains: domains?.length }).toEqual({ groups: 1, flags: 0, domains: 2 });
  });

  it("spends the time that it needs for identities of the query's own deadline", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1)], new RecordingDriver(10, "&latency=20"));
    await connection.domainListGetStats([driver.name(1)], { deadlineMs: 5_000 });
    expect(driver.queries).toHaveLength(2);
    expect(driver.queries[1]!.deadlineMs).toBeLessThan(5_000);
  });

  it("does not call a domain gone while one of its list cannot be identified", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1)], new UnidentifiedDriver(10));
    const [record] = await connection.domainListGetStats([driver.name(7)], { groups: ["state", "vcpu"] });
    expect(record).toMatchObject({
      status: "failed",
      reason: "timeout",
      missing: ["state", "vcpu"],
      domain: { uuid: NIL_UUID, name: driver.name(7) },
    });
  });

  it("hands on why a sweep failed", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1)]);
    await driver.close();
    await expect(connection.getAllDomainStats()).rejects.toMatchObject({ code: "connection-closed" });
    await expect(connection.lookupDomain("web")).rejects.toMatchObject({ code: "connection-closed" });
  });
});

describe("a driver that shows the domains whose names match", () => {
  /** A host of twelve guests, of which 1, 10 and 11 are visible. */
  function matching(driver = new RecordingDriver(12)) {
    const { names } = checkQuery({ names: ["guest-00001", "guest-0001?"] });
    return { driver, connection: new Connection(new VisibleDriver(driver, { names: names! })) };
  }

  it("asks its driver for these only, and combines its patterns with those of a query", async () => {
    const { driver, connection } = matching();
    const names = async (query = {}) => (await connection.getAllDomainStats(query)).map(({ domain }) => domain.name);
    expect(await names()).toEqual(["guest-00001", "guest-00010", "guest-00011"]);
    expect(driver.simulation.produced).toBe(3);
    expect(await names({ names: ["*1", "guest-00002"], groups: ["vcpu"] })).toEqual(["guest-00001", "guest-00011"]);
    expect(driver.queries.at(-1)!.domains).toEqual([1, 11].map((guest) => ({ uuid: driver.uuid(guest) })));
    expect(await names({ names: ["guest-00002"] })).toEqual([]);
    expect(await names({ hosts: [driver.host] })).toHaveLength(3);
    expect(await names({ hosts: ["other"] })).toEqual([]);
  });

  it("answers for a hidden domain as for one that does not exist, by uuid and by name, without asking for either", async () => {
    const { driver, connection } = matching();
    for (const [hidden, missing] of [
      [driver.uuid(7), STRANGER],
      [driver.name(7), "no-such-guest"],
    ] as const) {
      const [ofHidden] = await connection.domainListGetStats([hidden]);
      const [ofMissing] = await connection.domainListGetStats([missing]);
      expect(fields(ofHidden, hidden)).toBe(fields(ofMissing, missing));
    }
    expect(driver.queries.map(({ names, domains }) => [names?.length, domains])).toEqual(Array(4).fill([2, undefined]));
    const found = await connection.domainListGetStats([driver.name(10), driver.uuid(1)]);
    expect(found.map(({ domain, status }) => [domain.name, status])).toEqual([
      [driver.name(10), "ok"],
      [driver.name(1), "ok"],
    ]);
  });

  it("does not show a domain that is renamed between its identification and its query", async () => {
    const driver = new RenamingDriver(12);
    const { connection } = matching(driver);
    const records = await connection.domainListGetStats([driver.uuid(1), driver.uuid(10)]);
    expect(records.map(({ domain, status }) => [domain.name, status])).toEqual([
      ["", "gone"],
      ["guest-00010", "ok"],
    ]);
    const again = await connection.getAllDomainStats({ names: ["*"] });
    expect(again.map(({ domain }) => domain.name)).toEqual(["guest-00010", "guest-00011"]);
  });

  it("lets a driver that watches by itself select by its patterns, and hands on what it reports", async () => {
    const driver = new WatchingDriver([
      { type: "record", record: record("guest-00001", "ok") },
      { type: "sync", tick: 1, host: "script", overrun: 0, summary: summary(1, 1, 0) },
      { type: "gone", domain: record("guest-00001", "ok").domain },
      { type: "sync", tick: 2, host: "script", overrun: 0, summary: summary(0, 0, 0) },
    ]);
    const { connection } = matching(driver as never);
    expect(await eventsOf(connection, undefined)).toEqual([
      "record guest-00001",
      "sync 1 of 1",
      "gone guest-00001",
      "sync 0 of 0",
    ]);
    expect(driver.watched).toMatchObject([{ names: ["guest-00001", "guest-0001?"], domains: undefined }]);
    await connection.close();
  });
});

describe("a driver that shows a list", () => {
  it("asks for those domains of its list whose names match a query's patterns, however the list has them", async () => {
    const { driver, connection } = narrow((host) => [host.uuid(1), host.name(2), host.uuid(3), STRANGER, "no-such-1"]);
    const records = await connection.getAllDomainStats({ names: ["*1", "*2", "guest-00007"], groups: ["vcpu"] });
    expect(records.map(({ domain }) => domain.name)).toEqual([driver.name(1), driver.name(2)]);
    expect(driver.queries.map(({ groups, domains }) => [groups, domains?.length])).toEqual([
      [1, 5],
      [8, 2],
    ]);
    expect(await connection.getAllDomainStats({ hosts: ["other"] })).toEqual([]);
    expect(await connection.getAllDomainStats({ hosts: [driver.host] })).toHaveLength(3);
  });
});

describe("a narrowed driver that watches by itself", () => {
  const list = checkQuery({ domains: ["a", "b", "lost"] }).domains!;
  const events: WatchEvent[] = [
    { type: "record", record: record("a", "ok") },
    { type: "record", record: record("b", "ok") },
    { type: "record", record: record("lost", "gone") },
    { type: "sync", tick: 1, host: "script", overrun: 0, summary: summary(3, 2, 1) },
    { type: "record", record: record("b", "gone") },
    { type: "sync", tick: 2, host: "script", overrun: 1, summary: summary(3, 1, 2) },
  ];

  it("asks for its list, tells who leaves, and counts who is there", async () => {
    const driver = new WatchingDriver(events);
    const connection = new Connection(new VisibleDriver(driver, { domains: list }));
    const told = await eventsOf(connection, undefined);
    expect(told).toEqual(["record a", "record b", "sync 2 of 2", "gone b", "sync 1 of 1"]);
    expect(driver.watched.map(({ domains }) => domains)).toEqual([list]);
    await connection.close();
  });

  it("hands on what its driver tells of named domains of the list, and of those that are not there", async () => {
    const driver = new WatchingDriver(events);
    const connection = new Connection(new VisibleDriver(driver, { domains: list }));
    const told = await eventsOf(connection, ["a", "b", "lost"]);
    expect(told).toEqual(["record a", "record b", "record lost gone", "sync 2 of 3", "record b gone", "sync 1 of 3"]);
    await connection.close();
  });

  it("sweeps for names that are not in its list, and never asks its driver for them", async () => {
    const driver = new WatchingDriver(events);
    const connection = new Connection(new VisibleDriver(driver, { domains: list }));
    const told: string[] = [];
    for await (const event of connection.watch({ domains: ["a", "hidden"] }, { intervalMs: 10 }).events) {
      told.push(line(event));
      if (told.length === 6) break;
    }
    const sweep = ["record hidden gone", "record a", "sync 1 of 2"];
    expect(told).toEqual([...sweep, ...sweep]);
    expect(driver.watched).toEqual([]);
    const asked = driver.swept.flatMap(({ domains }) => domains);
    expect(asked.every((selector) => selector !== undefined && "name" in selector && selector.name === "a")).toBe(true);
    await connection.close();
  });
});

async function eventsOf(connection: Connection, domains: string[] | undefined): Promise<string[]> {
  const told: string[] = [];
  const query = domains === undefined ? {} : { domains };
  for await (const event of connection.watch(query, { intervalMs: 1_000 }).events) {
    told.push(line(event));
    if (event.type === "sync" && event.tick === 2) break;
  }
  return told;
}

function line(event: WatchEvent): string {
  if (event.type === "record") {
    return `record ${event.record.domain.name}${event.record.status === "ok" ? "" : ` ${event.record.status}`}`;
  }
  if (event.type === "sync") return `sync ${event.summary.ok} of ${event.summary.domains}`;
  return event.type === "gone" ? `gone ${event.domain.name}` : event.type;
}

function record(name: string, status: RecordStatus): DomainStatsRecord {
  const uuid = `00000000-0000-4000-8000-${Buffer.from(name).toString("hex").padStart(12, "0")}`;
  return new DomainStatsRecord({
    domain: new Domain(uuid, name, 1, "script"),
    params: TypedParams.EMPTY,
    status,
    reason: status === "gone" ? "unknown" : undefined,
    sampledAt: 0,
    tookMs: 0,
    index: 0,
  });
}

function summary(domains: number, ok: number, gone: number) {
  return { domains, ok, partial: 0, failed: 0, gone, startedAt: 0, tookMs: 1 };
}

/** A source that is a stream already: it tells these events to whoever watches, and has whatever it is asked for. */
class WatchingDriver implements Driver {
  readonly uri = "scripted:///";
  readonly hypervisor = "scripted";
  readonly host = "script";
  readonly swept: Query[] = [];
  readonly watched: Query[] = [];
  readonly #events: readonly WatchEvent[];

  constructor(events: readonly WatchEvent[]) {
    this.#events = events;
  }

  async *sweep(query: Query, { expect }: SweepContext): AsyncGenerator<DomainStatsRecord[]> {
    this.swept.push(query);
    expect(query.domains!.length);
    yield query.domains!.map((selector) => record("name" in selector ? selector.name : "", "ok"));
  }

  watch(query: Query, _cadence: Cadence, sink: WatchSink): () => void {
    this.watched.push(query);
    let stopped = false;
    const push = async (): Promise<void> => {
      for (const event of this.#events) {
        await turn();
        if (!stopped) pushAll(sink, [event]);
      }
    };
    void push();
    return () => {
      stopped = true;
    };
  }

  async close(): Promise<void> {}
}

/** A host on which guest 1 gets another name as soon as it has been identified. */
class RenamingDriver extends RecordingDriver {
  override sweep(query: Query, context: SweepContext) {
    const records = super.sweep(query, context);
    if (query.domains === undefined) return records;
    const renamed = (async function* () {
      for await (const chunk of records) {
        yield chunk.map((each) => {
          const { uuid, name, id, host } = each.domain;
          return name === "guest-00001"
            ? new DomainStatsRecord({ ...each, domain: new Domain(uuid, "secret", id, host) })
            : each;
        });
      }
    })();
    return renamed as unknown as ReturnType<RecordingDriver["sweep"]>;
  }
}

/** A host that cannot tell in time who a domain is. */
class UnidentifiedDriver extends RecordingDriver {
  override sweep(query: Query, context: SweepContext) {
    const records = super.sweep(query, context);
    return {
      next: async () => {
        const { value } = await records.next();
        if (value === undefined) return { done: true as const, value };
        const late = (value as readonly DomainStatsRecord[]).map(
          ({ domain, params, sampledAt, tookMs, index }) =>
            new DomainStatsRecord({
              domain: new Domain(domain.uuid, "", 0, this.host),
              params,
              sampledAt,
              tookMs,
              index,
              status: "failed",
              reason: "timeout",
            }),
        );
        return { done: false as const, value: late };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
