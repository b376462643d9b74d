import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GROUPS, groupMask, groupNames, MONITOR_FREE_GROUPS } from "../../src/model/group.ts";
import { checkQuery, StatsFlag } from "../../src/model/query.ts";
import { Domain } from "../../src/model/record.ts";
import { stateWords } from "../../src/model/state.ts";
import { formatUuid, parseUuid, writeUuid } from "../../src/model/uuid.ts";

describe("groups", () => {
  it("have libvirt's bits", () => {
    expect(GROUPS.map((group) => groupMask([group]))).toEqual(GROUPS.map((_, bit) => 2 ** bit));
    expect(groupNames(MONITOR_FREE_GROUPS)).toEqual(["state", "interface", "perf", "memory"]);
  });

  it("pass through by bit where they have no name yet", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (mask) => {
        expect(groupMask(groupNames(mask))).toBe(mask);
        expect(groupMask(mask)).toBe(mask);
      }),
    );
    expect(groupNames(2 ** 31)).toEqual(["group-31"]);
  });

  it("mean every group when none is named", () => {
    expect([groupMask(undefined), groupMask([]), groupMask(0)]).toEqual([0, 0, 0]);
  });
});

describe("a query", () => {
  it("has libvirt's flags, unsigned", () => {
    expect(checkQuery({ enforce: true }).flags).toBe(0x80000000);
    expect(checkQuery({ nowait: true, backing: true, filter: ["active", "shutoff"] }).flags).toBe(0x60000041);
    expect(checkQuery({ flags: StatsFlag.enforce + 1, filter: ["inactive"] }).flags).toBe(0x80000003);
  });

  it("has every default in it once it is checked", () => {
    expect(checkQuery()).toEqual({ groups: 0, flags: 0, deadlineMs: 2_000, domains: undefined });
  });

  it.each([
    [{ groups: ["cpu"] }, "unknown-group", /the groups are state, cpu-total/],
    [{ groups: -1 }, "unknown-group", /32 bits/],
    [{ groups: "state" }, "unknown-group", /a list of names or a bit mask, not "state"/],
    [{ deadlineMs: "5" }, "invalid-argument", /not "5"/],
    [{ groups: 2 ** 32 }, "unknown-group", /32 bits/],
    [{ flags: 0x100 }, "unknown-flag", /0x100/],
    [{ flags: -1 }, "unknown-flag", /-1/],
    [{ filter: ["alive"] }, "unknown-flag", /the filters are active/],
    [{ filter: ["constructor"] }, "unknown-flag", /the filters are active/],
    [{ enforce: 1 }, "invalid-argument", /true or false/],
    [{ deadlineMs: 0 }, "invalid-argument", /from 1 to 600000/],
    [{ deadlineMs: 1.5 }, "invalid-argument", /whole number/],
    [{ domains: [] }, "empty-domain-list", /leave it out to ask for all/],
    [{ domains: [""] }, "invalid-argument", /uuid or a name/],
    [{ domains: [7] }, "invalid-argument", /uuid or a name/],
    [{ timeout: 5 }, "invalid-argument", /"timeout"/],
    [{ names: [] }, "invalid-argument", /leave it out to ask for all/],
    [{ names: "web-*" }, "invalid-argument", /names must be a list of patterns, not "web-\*"/],
    [{ hosts: [""] }, "invalid-argument", /hosts takes patterns/],
    [{ hosts: [7] }, "invalid-argument", /hosts takes patterns/],
    [{ names: ["web-["] }, "invalid-argument", /"web-\[" is malformed at "\["/],
    [{ names: ["web-*"], domains: ["web-1"] }, "invalid-argument", /names does not go with domains/],
    [{ hosts: ["hv1"], domains: ["web-1"] }, "invalid-argument", /hosts does not go with domains/],
  ])("such as %j is refused with a code and a reason", (query, code, message) => {
    expect(() => checkQuery(query as never)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });

  it("is the same query whatever the order of its patterns, so that its watches share sweeps", () => {
    const [one, other] = [
      ["web-*", "db-*", "web-*"],
      ["db-*", "web-*"],
    ].map((names) => checkQuery({ names }));
    expect(JSON.stringify(one)).toBe(JSON.stringify(other));
  });

  it("names each domain once, and refuses those of another connection", () => {
    const uuid = "8f1c3b9e-2f3a-4c5d-8e7f-001122334455";
    const driver = {};
    const domain = new Domain(uuid, "web", 1, "hv1", driver);
    expect(
      checkQuery({ domains: [uuid, uuid.toUpperCase(), uuid.replaceAll("-", ""), domain, "web", "web"] }, driver)
        .domains,
    ).toEqual([{ uuid }, { name: "web" }]);
    expect(() => checkQuery({ domains: [domain] }, {})).toThrow(expect.objectContaining({ code: "foreign-domain" }));
  });
});

describe("states", () => {
  it("have words, and numbers where there is no word yet", () => {
    expect(stateWords(3, 5)).toEqual({ state: "paused", reason: "ioerror" });
    expect(stateWords(5, 8)).toEqual({ state: "shutoff", reason: "daemon" });
    expect(stateWords(1, 99)).toEqual({ state: "running", reason: "reason-99" });
    expect(stateWords(42, 0)).toEqual({ state: "state-42", reason: "reason-0" });
  });
});

describe("a uuid", () => {
  it("is the same as bytes and as text", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 18, maxLength: 18 }), (bytes) => {
        const text = formatUuid(bytes, 1);
        expect(parseUuid(text)).toBe(text);
        expect(parseUuid(text.toUpperCase().replaceAll("-", ""))).toBe(text);
        const written = new Uint8Array(18);
        expect(writeUuid(text, written, 1)).toBe(true);
        expect(written.subarray(1, 17)).toEqual(bytes.subarray(1, 17));
      }),
    );
  });

  it("is not any text", () => {
    expect(parseUuid("web-server")).toBeUndefined();
    for (const text of [
      "",
      "8f1c3b9e-2f3a-4c5d-8e7f-00112233445",
      "8f1c3b9e-2f3a-4c5d-8e7f-00112233445g",
      "\u{1f600}".repeat(18),
    ]) {
      expect(writeUuid(text, new Uint8Array(16), 0)).toBe(false);
    }
  });
});
