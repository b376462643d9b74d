import { expect, it } from "vitest";
import { Selection } from "../../src/driver/selection.ts";
import { SimulatedDriver } from "../../src/drivers/simulated/driver.ts";
import { ALL_GROUPS, GROUPS, groupMask } from "../../src/model/group.ts";
import { TypedParams } from "../../src/model/params.ts";
import { checkQuery, type StatsQuery } from "../../src/model/query.ts";
import { DomainStatsRecord } from "../../src/model/record.ts";
import { codeOf } from "../code-of.ts";
import { ManualClock } from "../server/manual-clock.ts";

async function sweepOf(driver: SimulatedDriver, query: StatsQuery): Promise<DomainStatsRecord[]> {
  const records: DomainStatsRecord[] = [];
  const context = { signal: new AbortController().signal, expect: () => {} };
  for await (const chunk of driver.sweep(checkQuery(query), context)) records.push(...chunk);
  return records;
}

/** All of a record but its place, and its steady time, which differs between two sweeps although the test's clock stands still. */
function contentOf(record: DomainStatsRecord): object {
  return { ...record.toJSON(), steadyAt: 0, index: 0 };
}

it("answers every choice of groups, filters and names as the driver would have answered it", async () => {
  const uri = "test:///default?domains=40&shutoff=7&paused=3&seed=5";
  const driver = new SimulatedDriver(uri, { clock: new ManualClock() });
  const all = await sweepOf(driver, {});
  const queries: StatsQuery[] = [
    {},
    ...GROUPS.map((group) => ({ groups: [group] })),
    { groups: ["state", "block", "interface"] },
    { filter: ["inactive"] },
    { filter: ["active", "paused"], groups: ["cpu-total"] },
    { filter: ["other"] },
    { names: ["guest-0000[1-5]"], groups: ["vcpu"] },
    { hosts: ["nowhere"] },
  ];
  for (const query of queries) {
    const selection = new Selection(checkQuery(query), ALL_GROUPS);
    const answered = all.flatMap((record) => selection.of(record) ?? []);
    const expected = await sweepOf(driver, query);
    expect(answered.map(contentOf), JSON.stringify(query)).toEqual(expected.map(contentOf));
  }
  await driver.close();
});

it("finds a record complete when it lacks only groups that the query does not ask for", async () => {
  const driver = new SimulatedDriver("test:///default?domains=1");
  const [whole] = await sweepOf(driver, {});
  const { domain, sampledAt, tookMs, index } = whole!;
  const params = TypedParams.from([
    ["state.state", "int", 1],
    ["net.0.name", "string", "vnet0"],
    ["vcpu.0.time", "ullong", 2n ** 63n],
  ]);
  const init = { domain, params, sampledAt, tookMs, index, status: "partial", reason: "timeout" } as const;
  const partial = new DomainStatsRecord({ ...init, missing: ["block", "balloon"] });
  const view = (groups: StatsQuery["groups"]) =>
    new Selection(checkQuery({ groups: groups! }), ALL_GROUPS).of(partial)!;
  expect(view(["state"])).toMatchObject({ status: "ok", missing: [], reason: undefined });
  expect(view(["state", "block"])).toMatchObject({ status: "partial", missing: ["block"], reason: "timeout" });
  expect([...view(["vcpu", "interface"]).params]).toEqual([...params].slice(1));
  await driver.close();
});

it("refuses what records cannot answer", async () => {
  const refusal = (query: StatsQuery) => codeOf(() => new Selection(checkQuery(query), ALL_GROUPS));
  expect(await refusal({ filter: ["persistent"] })).toBe("unsupported");
  expect(await refusal({ groups: groupMask(["state"]) + 2 ** 20, enforce: true })).toBe("unsupported");
  expect(await refusal({ groups: groupMask(["state"]) + 2 ** 20 })).toBe("none");
});
