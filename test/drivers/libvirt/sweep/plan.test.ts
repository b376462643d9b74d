import { describe, expect, it } from "vitest";
import { planOf } from "../../../../src/drivers/libvirt/sweep/plan.ts";
import { ALL_GROUPS, groupNames } from "../../../../src/model/group.ts";
import { checkQuery, type StatsQuery } from "../../../../src/model/query.ts";

const plan = (query: StatsQuery) => planOf(checkQuery(query));

describe("The plan of a sweep", () => {
  it("for all groups asks for all, and rescues what needs no monitor", () => {
    expect(plan({})).toEqual({
      kind: "monitor",
      filter: 0,
      first: { groups: 0, flags: 0 },
      rescue: { groups: 0x151, flags: 0 },
      groups: groupNames(ALL_GROUPS),
    });
  });

  it("rescues only what was asked for, and never by a mask of 0, which would mean everything", () => {
    expect(plan({ groups: ["state", "block"] })).toMatchObject({ rescue: { groups: 1 } });
    expect(plan({ groups: ["block"] }).rescue).toBeUndefined();
    expect(plan({ groups: ["group-31"] })).toMatchObject({ kind: "monitor", rescue: undefined });
  });

  it("needs no rescue where nothing needs the monitor", () => {
    expect(plan({ groups: 0x151 })).toMatchObject({ kind: "free", rescue: undefined });
  });

  it("filters the listing and not the listed, but named domains wherever they are asked", () => {
    const query = { filter: ["running"] as const, enforce: true, backing: true, nowait: true };
    expect(plan(query)).toMatchObject({ filter: 0x10, first: { flags: 0xe0000000 }, rescue: { flags: 0 } });
    expect(plan({ ...query, domains: ["a"] })).toMatchObject({ first: { flags: 0xe0000010 }, rescue: { flags: 0x10 } });
  });
});
