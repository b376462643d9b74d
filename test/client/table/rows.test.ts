import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { DomainRates } from "../../../src/client/rates/domain-rates.ts";
import { RateMeter } from "../../../src/client/rates.ts";
import type { ChangeReader, TableChange } from "../../../src/client/table/changes.ts";
import { ranked, type SortValue } from "../../../src/client/table/ranking.ts";
import { TableRows } from "../../../src/client/table/rows.ts";
import { VirstreamError } from "../../../src/model/error.ts";
import { TypedParams } from "../../../src/model/params.ts";
import { Domain, DomainStatsRecord, domainKey } from "../../../src/model/record.ts";
import { ParamType, Schema } from "../../../src/model/schema.ts";
import { checkCadence } from "../../../src/model/watch.ts";
import { Feed } from "../../../src/sampling/feed.ts";

const SCHEMA = new Schema(["state.state", "cpu.time"], Uint8Array.of(ParamType.int, ParamType.ullong));
const HOSTS = ["hv1", "hv2", "hv3"];
const LOST = new VirstreamError("connection-lost", "it hangs");
const CLOSED = new VirstreamError("connection-closed", "closed");

/** A uuid may be on several hosts: it migrates when it comes on one and is gone from another. */
const host = fc.integer({ min: 0, max: HOSTS.length - 1 });
const uuid = fc.integer({ min: 0, max: 5 });
const step = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ type: fc.constant("record" as const), host, uuid, cpu: fc.nat(1_000), ms: fc.nat(50) }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("gone" as const), host, uuid }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("sync" as const), host }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("gap" as const), host: fc.option(host) }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("status" as const), host: fc.option(host), connected: fc.boolean() }),
  },
  // What readers do: one joins, one of them takes what waits.
  { weight: 2, arbitrary: fc.constant({ type: "join" as const }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("read" as const), reader: fc.nat(5) }) },
);

interface Naive {
  readonly record: DomainStatsRecord;
  readonly rates: DomainRates;
  stale: boolean;
}

/** A reader, and the keys that it knows by its items. */
class Follower {
  readonly known = new Set<string>();
  readonly #reader: ChangeReader;
  #pulled: Promise<IteratorResult<readonly TableChange[]>> | undefined;

  constructor(reader: ChangeReader) {
    this.#reader = reader;
  }

  /** Takes what waits; undefined if nothing does. */
  async take(): Promise<TableChange | undefined> {
    const none = Symbol("none");
    // An iterator has one call at a time: one that waits is kept for the next take.
    this.#pulled ??= this.#reader.next();
    const result = await Promise.race([this.#pulled, new Promise<typeof none>((r) => setImmediate(() => r(none)))]);
    if (result === none) return undefined;
    this.#pulled = undefined;
    if (result.done) return undefined;
    const [change] = result.value as [TableChange];
    for (const key of change.came) expect(this.known.has(key)).toBe(false);
    for (const key of [...change.changed, ...change.left]) expect(this.known.has(key)).toBe(true);
    expect(new Set([...change.came, ...change.changed, ...change.left]).size).toBe(
      change.came.length + change.changed.length + change.left.length,
    );
    for (const key of change.came) this.known.add(key);
    for (const key of change.left) this.known.delete(key);
    return change;
  }
}

describe("the rows of a table", () => {
  it("are at every moment those of a naive model, and every reader's items add up to them, whatever events come", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), async (steps) => {
        const source = { host: HOSTS.join() };
        const feed = new Feed({
          scope: { source, pushed: true, patterns: undefined },
          ...{ cadence: checkCadence(), now: () => 0, over: () => {} },
        });
        let ready = 0;
        const rows = new TableRows({
          ...{ now: () => 5_000, source, patterns: undefined, onReady: () => ready++, onEnd: () => {} },
        });
        rows.follow(() => feed);
        const model = new Map<string, Naive>();
        const meter = new RateMeter();
        const absent = new Map<string | undefined, VirstreamError>();
        const swept = new Set<string>();
        /** The keys as of the last tick. */
        let ticked: string[] | undefined;
        const followers: Follower[] = [];
        let now = 0;
        for (const each of steps) {
          const name = "host" in each && each.host !== null ? HOSTS[each.host]! : undefined;
          switch (each.type) {
            case "record": {
              now += each.ms;
              const domain = new Domain(`u${each.uuid}`, `guest-${each.uuid}`, 1, name!);
              const params = new TypedParams(SCHEMA, [1, each.cpu]);
              const record = new DomainStatsRecord({
                ...{ domain, params, status: "ok", sampledAt: now, steadyAt: now, tookMs: 0, index: each.uuid },
              });
              model.set(domainKey(domain), { record, rates: meter.take(record), stale: false });
              feed.record(record);
              break;
            }
            case "gone": {
              const domain = new Domain(`u${each.uuid}`, "", -1, name!);
              model.delete(domainKey(domain));
              meter.forget(domain);
              feed.gone(domain);
              break;
            }
            case "sync":
              swept.add(name!);
              feed.event({
                ...{ type: "sync", tick: 0, host: name!, overrun: 0 },
                summary: { domains: 0, ok: 0, partial: 0, failed: 0, gone: 0, startedAt: 0, tookMs: 0 },
              });
              ticked = [...model.keys()];
              break;
            case "gap":
              meter.gap(name);
              feed.event({ type: "gap", reason: "source", skipped: 1, host: name });
              // A gap is a tick only where something has changed.
              if (ticked !== undefined || model.size > 0) ticked = [...model.keys()];
              break;
            case "status":
              if (each.connected) absent.delete(name);
              else {
                absent.set(name, LOST);
                for (const row of model.values()) row.stale ||= name === undefined || row.record.domain.host === name;
              }
              feed.event({
                ...{ type: "status", state: each.connected ? "connected" : "degraded", host: name },
                error: each.connected ? undefined : LOST,
              });
              ticked = [...model.keys()];
              break;
            case "join":
              followers.push(new Follower(rows.read()));
              break;
            case "read": {
              const follower = followers[each.reader];
              if (follower === undefined) break;
              while ((await follower.take()) !== undefined);
              if (ticked !== undefined) expect([...follower.known].sort()).toEqual([...ticked].sort());
              break;
            }
          }
          expect(rows.size).toBe(model.size);
          for (const [key, { record, rates, stale }] of model) {
            const row = rows.get(key)!;
            expect([row.key, row.record, row.stale]).toEqual([key, record, stale]);
            expect(row.glance.cpu).toEqual(rates.cpu);
            expect(row.glance.intervalMs).toBe(rates.intervalMs);
            expect(row.rates).toEqual(rates);
            expect(row.rates).toBe(row.rates);
            expect(JSON.stringify(row)).toBe(JSON.stringify({ key, record, rates, stale }));
            expect(row.ageMs).toBe(5_000 - record.steadyAt);
          }
          expect(
            rows
              .values()
              .map(({ key }) => key)
              .sort(),
          ).toEqual([...model.keys()].sort());
          const lost = absent.has(undefined) ? HOSTS : HOSTS.filter((each) => absent.has(each));
          expect(rows.absent.map(({ host }) => host).sort()).toEqual(lost);
          // An event came after which each host was swept or absent.
          const accounted = HOSTS.every((each) => swept.has(each) || lost.includes(each));
          if (accounted && (each.type === "sync" || each.type === "status")) expect(ready).toBeGreaterThan(0);
          if (swept.size === 0 && ![...steps].some(({ type }) => type === "status")) expect(ready).toBe(0);
        }
        feed.end(CLOSED);
        for (const follower of followers) {
          while ((await follower.take()) !== undefined);
          expect([...follower.known].sort()).toEqual([...model.keys()].sort());
        }
        expect([...rows.values()].every(({ stale }) => stale)).toBe(true);
        expect(rows.absent.map(({ host }) => host)).toEqual(HOSTS);
      }),
      { numRuns: 300 },
    );
  });

  it("are ranked as by a stable sort of all rows, with unknown values last, for any limit", () => {
    const value: fc.Arbitrary<SortValue> = fc.oneof(
      fc.integer({ min: -3, max: 3 }),
      fc.bigInt({ min: -3n, max: 3n }),
      fc.constantFrom("a", "B", "b", "", undefined, null, Number.NaN, Number.POSITIVE_INFINITY, true),
    );
    fc.assert(
      fc.property(
        fc.array(value, { maxLength: 60 }),
        fc.nat(70),
        fc.constantFrom("ascending" as const, "descending" as const),
        (values, limit, order) => {
          const rows = values.map((value, i) => ({ value, i }));
          const unknown = (value: SortValue) => value === undefined || value === null || Number.isNaN(value);
          const known = rows.filter(({ value }) => !unknown(value));
          const sign = order === "ascending" ? 1 : -1;
          const expected = known.sort((a, b) => {
            const [one, other] = [a.value!, b.value!].map((each) => (each === true ? 1 : each));
            const texts = Number(typeof one === "string") - Number(typeof other === "string");
            return sign * (texts !== 0 ? texts : Number(one! > other!) - Number(one! < other!));
          });
          expected.push(...rows.filter(({ value }) => unknown(value)));
          expect(ranked(rows, ({ value }) => value, order, limit)).toEqual(expected.slice(0, limit));
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
