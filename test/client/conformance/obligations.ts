import { firstValueFrom, lastValueFrom, take, toArray } from "rxjs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect } from "../../../src/client/connect.ts";
import type { Connection } from "../../../src/client/connection.ts";
import type { StatsStream } from "../../../src/client/stream.ts";
import { fieldOf } from "../../../src/model/field/field.ts";
import { Domain, type DomainStatsRecord } from "../../../src/model/record.ts";
import { codeOf } from "../../code-of.ts";

/** How the obligations watch; a server must allow this interval. */
export const WATCH = { intervalMs: 200 };

/** A host to hold the obligations against, and what a test must know of it. */
export interface Subject {
  readonly connection: Connection;
  readonly names: string[];
  readonly running: string[];
  readonly shutOff: string[];
  /** A group of which this host's hypervisor knows nothing. */
  readonly unsupported: number;
  /** Makes one running domain answer no more, until the returned function is called; gives its name. */
  freeze(): { name: string; thaw: () => void };
  close(): Promise<void>;
}

/** Every way of consuming a stream gives an array in the end. */
const CONSUMERS: Record<string, (stream: StatsStream) => Promise<DomainStatsRecord[]>> = {
  "as an Observable": (stream) => lastValueFrom(stream.pipe(toArray())),
  "as an async iterable": async (stream) => {
    const records: DomainStatsRecord[] = [];
    for await (const record of stream) records.push(record);
    return records;
  },
  "by a callback": async (stream) => {
    const records: DomainStatsRecord[] = [];
    await stream.forEach((record) => void records.push(record));
    return records;
  },
  "by a callback that takes its time": async (stream) => {
    const records: DomainStatsRecord[] = [];
    await stream.forEach(async (record) => {
      await new Promise((resolve) => setTimeout(resolve));
      records.push(record);
    });
    return records;
  },
  collected: (stream) => stream.toArray(),
  "as events": async (stream) => {
    const events = await stream.events.toArray();
    return events.flatMap((event) => (event.type === "record" ? [event.record] : []));
  },
};

const namesOf = (records: readonly DomainStatsRecord[]): string[] => records.map((record) => record.domain.name).sort();

/**
 * What each kind of connection must do, in every runtime.
 *
 * @param asks whether a sweep asks the hypervisor; otherwise its records are those of a sweep that somebody else made, and a domain
 *   that freezes now shows only in later ones
 */
export function obligations(open: () => Promise<Subject>, asks = true): void {
  let subject: Subject;
  let connection: Connection;
  /** Every domain but the one that may be frozen: the embedded host's is frozen from the start. */
  const quick = { groups: ["state", "interface"] as const };

  beforeAll(async () => {
    subject = await open();
    connection = subject.connection;
  });
  afterAll(() => subject?.close());

  it.each(Object.keys(CONSUMERS))("yields exactly one record for every domain, consumed %s", async (way) => {
    const records = await CONSUMERS[way]!(connection.stats({ ...quick, deadlineMs: 1_000 }));
    expect(namesOf(records)).toEqual([...subject.names].sort());
    expect(new Set(records.map((record) => record.domain.uuid)).size).toBe(subject.names.length);
  });

  it("collects the stream into the batch", async () => {
    const batch = await connection.getAllDomainStats({ ...quick, deadlineMs: 1_000 });
    expect(namesOf(batch)).toEqual([...subject.names].sort());
  });

  it("numbers the records by their place in the listing, whatever the order they come in", async () => {
    const records = await connection.getAllDomainStats({ ...quick, deadlineMs: 1_000 });
    const indexes = records.map((record) => record.index).sort((one, other) => one - other);
    expect(indexes).toEqual(subject.names.map((_, i) => i));
  });

  it("gives the keys of the groups that were asked for, in their documented types", async () => {
    const [name] = subject.running;
    const [record] = await connection.domainListGetStats([name!], { groups: ["state", "vcpu", "interface"] });
    const groups = new Set([...record!.params].map(([key]) => fieldOf(key)?.group));
    expect(groups).toContain("state");
    expect(groups).toContain("vcpu");
    for (const group of groups) expect(["state", "vcpu", "interface"]).toContain(group);
    for (const { key, type } of record!.params.list())
      expect([key, fieldOf(key)?.types]).toEqual([key, expect.arrayContaining([type])]);
    expect(record!.state?.state).toMatch(/^(running|paused)$/);
    expect(record!.sampledAt).toBeGreaterThan(Date.UTC(2020));
    expect(record!.tookMs).toBeGreaterThanOrEqual(0);
    expect(record!.domain.host).toBe(connection.host);
  });

  it("asks for every group when none is named", async () => {
    const [record] = await connection.domainListGetStats([subject.running[0]!]);
    const groups = new Set([...record!.params].map(([key]) => fieldOf(key)?.group));
    for (const group of ["state", "cpu-total", "balloon", "vcpu", "block"]) expect(groups).toContain(group);
  });

  it("applies the list filters as libvirt does", async () => {
    const by = async (filter: ("active" | "inactive" | "persistent" | "running" | "shutoff")[]) =>
      namesOf(await connection.getAllDomainStats({ ...quick, filter, deadlineMs: 1_000 }));
    expect(await by(["active"])).toEqual([...subject.running].sort());
    expect(await by(["inactive"])).toEqual([...subject.shutOff].sort());
    expect(await by(["active", "inactive"])).toEqual([...subject.names].sort());
    expect(await by(["active", "shutoff"])).toEqual([]);
  });

  it("finds domains by name, by uuid and as it gave them out, and answers each once", async () => {
    const domains = await connection.listDomains();
    expect(domains.map((domain) => domain.name).sort()).toEqual([...subject.names].sort());
    const [one, two] = domains;
    const records = await connection.domainListGetStats([one!, one!.uuid, one!.name, two!.name], quick);
    expect(namesOf(records)).toEqual([one!.name, two!.name].sort());
    expect((await connection.lookupDomain(two!.name)).uuid).toBe(two!.uuid);
    expect((await connection.lookupDomain(two!.uuid)).name).toBe(two!.name);
  });

  it("answers a domain that is not there with a record that says so, beside the others", async () => {
    const missing = "00000000-dead-4000-8000-000000000000";
    const records = await connection.domainListGetStats([missing, "no such domain", subject.names[0]!], quick);
    const byStatus = records.map((record) => [record.status, record.reason, record.error?.code]).sort();
    expect(byStatus).toEqual([
      ["gone", "unknown", "unknown-domain"],
      ["gone", "unknown", "unknown-domain"],
      ["ok", undefined, undefined],
    ]);
    expect(await codeOf(() => connection.lookupDomain("no such domain"))).toBe("unknown-domain");
  });

  it("refuses what is not a query, each with its own code", async () => {
    expect(await codeOf(() => connection.domainListGetStats([]))).toBe("empty-domain-list");
    const foreign = new Domain(subject.names[0]!, "x", 1, "y", {});
    expect(await codeOf(() => connection.domainListGetStats([foreign]))).toBe("foreign-domain");
    expect(await codeOf(() => connection.stats({ groups: ["cpu" as "vcpu"] }))).toBe("unknown-group");
    expect(await codeOf(() => connection.stats({ flags: 0x100 }))).toBe("unknown-flag");
    expect(await codeOf(() => connection.stats({ deadlineMs: 0 }))).toBe("invalid-argument");
    expect(await codeOf(() => connection.stats({ group: [] } as never))).toBe("invalid-argument");
    expect(await codeOf(() => connect(connection.uri, { tokn: "x" } as never))).toBe("invalid-argument");
  });

  it("fails a sweep that enforces a group which is not supported, and only then", async () => {
    const groups = subject.unsupported + 1;
    const domains = [subject.running[0]!];
    expect(await codeOf(() => connection.domainListGetStats(domains, { groups, enforce: true }))).toBe("unsupported");
    const [record] = await connection.domainListGetStats(domains, { groups });
    expect(record!.params.number("state.state")).toBeGreaterThan(0);
  });

  // Where a driver asks no domain, these are no obligations: they are not skipped, there are none.
  const itAsks: (name: string, body: () => Promise<void>) => void = asks ? it : () => {};
  itAsks("yields a frozen domain's record at the deadline, and the others before it", async () => {
    const { name, thaw } = subject.freeze();
    try {
      const order: string[] = [];
      await connection.stats({ filter: ["active"], deadlineMs: 500 }).forEach((record) => {
        order.push(record.domain.name);
        if (record.domain.name !== name) {
          expect([record.domain.name, record.status]).toEqual([record.domain.name, "ok"]);
          return;
        }
        expect(record.status).toBe("partial");
        expect(record.reason).toBe("timeout");
        expect(record.missing).toEqual(expect.arrayContaining(["balloon", "block"]));
        expect(record.state).toBeDefined();
        expect(record.params.has("balloon.rss")).toBe(false);
      });
      expect(order.at(-1)).toBe(name);
      expect([...order].sort()).toEqual([...subject.running].sort());
    } finally {
      thaw();
    }
  });

  it("ends a consumption when its consumer leaves, however it leaves", async () => {
    for await (const _ of connection.stats(quick)) break;
    await firstValueFrom(connection.stats(quick).pipe(take(1)));
    await expect(
      connection.stats(quick).forEach(() => {
        throw new Error("enough");
      }),
    ).rejects.toThrow("enough");
    const abort = new AbortController();
    const reason = new Error("enough of this");
    const aborted = connection.stats(quick, { signal: abort.signal }).forEach(() => {
      abort.abort(reason);
    });
    await expect(aborted).rejects.toBe(reason);
    await expect(connection.getAllDomainStats(quick, { signal: abort.signal })).rejects.toBe(reason);
    expect(namesOf(await connection.getAllDomainStats({ ...quick, deadlineMs: 1_000 }))).toHaveLength(
      subject.names.length,
    );
  });

  it("runs several sweeps at once on one connection, each whole", async () => {
    const sweeps = await Promise.all(
      Array.from({ length: 5 }, () => connection.getAllDomainStats({ ...quick, deadlineMs: 2_000 })),
    );
    for (const records of sweeps) expect(namesOf(records)).toEqual([...subject.names].sort());
  });

  it("watches: each sweep has every domain once, and a sync that counts them", async () => {
    const ticks: number[] = [];
    let names: string[] = [];
    for await (const event of connection.watch({ ...quick, deadlineMs: 1_000 }, WATCH).events) {
      if (event.type === "record") names.push(event.record.domain.name);
      if (event.type !== "sync") continue;
      expect(names.sort()).toEqual([...subject.names].sort());
      expect(event.summary.domains).toBe(subject.names.length);
      expect(event.host).toBe(connection.host);
      names = [];
      ticks.push(event.tick);
      if (ticks.length === 3) break;
    }
    expect(ticks).toEqual([1, 2, 3]);
    expect(connection.sampling.snapshot().subscribers).toBe(0);
  });

  itAsks("watches: in every sweep a frozen domain's record comes, and holds back no other", async () => {
    const { name, thaw } = subject.freeze();
    try {
      const query = { groups: ["state", "balloon"] as const, filter: ["active"] as const, deadlineMs: 1_000 };
      let syncs = 0;
      let records: DomainStatsRecord[] = [];
      for await (const event of connection.watch(query, WATCH).events) {
        if (event.type === "record") records.push(event.record);
        if (event.type !== "sync") continue;
        expect(namesOf(records)).toEqual([...subject.running].sort());
        expect(records.filter(({ status }) => status === "partial").map(({ domain }) => domain.name)).toEqual([name]);
        records = [];
        if (++syncs === 2) break;
      }
    } finally {
      thaw();
    }
  });

  it("watches on change: sweeps go on, and say nothing of what stays as it is", async () => {
    const options = { ...WATCH, mode: "on-change" } as const;
    const query = { groups: ["state"] as const, domains: subject.shutOff };
    const seen: string[] = [];
    for await (const event of connection.watch(query, options).events) {
      seen.push(event.type);
      if (seen.filter((type) => type === "sync").length === 3) break;
    }
    expect(seen).toEqual([...subject.shutOff.map(() => "record"), "sync", "sync", "sync"]);
  });

  it("refuses to watch as it cannot be watched", async () => {
    const watch = (options: object) => codeOf(() => connection.watch(quick, options).toArray());
    expect(await watch({ intervalMs: 9 })).toBe("invalid-argument");
    expect(await watch({ heartbeatMs: 1_000 })).toBe("invalid-argument");
    expect(await watch({ mode: "polling" })).toBe("invalid-argument");
    const enforced = { groups: subject.unsupported + 1, enforce: true };
    expect(await codeOf(() => connection.watch(enforced, WATCH).toArray())).toBe("unsupported");
  });

  it("tells how many domains there are before their records, and sums up after them", async () => {
    const events = await connection.stats({ ...quick, deadlineMs: 1_000 }).events.toArray();
    expect(events[0]).toEqual({ type: "expect", domains: subject.names.length });
    expect(events.at(-1)).toMatchObject({ type: "sync", summary: { domains: subject.names.length } });
  });
}
