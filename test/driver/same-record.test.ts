import { describe, expect, it } from "vitest";
import { sameRecord } from "../../src/driver/same-record.ts";
import { VirstreamError } from "../../src/model/error.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";
import { type Sample, sample, uuidOf } from "../sampling/sample.ts";

const error = (message: string) => new VirstreamError("hypervisor-error", message);

const CHANGES: Record<string, [Sample, Sample]> = {
  "a value": [{ cells: [1, 2] }, { cells: [1, 3] }],
  "a value beyond 2^53": [{ cells: [2n ** 60n] }, { cells: [2n ** 60n + 1n] }],
  "a value that becomes a nan": [
    { cells: [1], types: [5] },
    { cells: [Number.NaN], types: [5] },
  ],
  "a text": [
    { cells: [1, "vda"], types: [4, 7] },
    { cells: [1, "vdb"], types: [4, 7] },
  ],
  "a value that is no longer beyond 2^53": [{ cells: [2n ** 60n] }, { cells: [1] }],
  "a parameter more": [{ cells: [1] }, { cells: [1, 1] }],
  "a type": [
    { cells: [1], types: [3] },
    { cells: [1], types: [4] },
  ],
  "the name": [{ name: "web" }, { name: "db" }],
  "the id, as after a restart": [{ id: 7 }, { id: -1 }],
  "the status": [{}, { status: "gone" }],
  "the reason": [
    { status: "partial", reason: "timeout" },
    { status: "partial", reason: "quarantined" },
  ],
  "the groups that are missing": [
    { status: "partial", missing: ["block"] },
    { status: "partial", missing: ["balloon"] },
  ],
  "the error": [
    { status: "failed", error: error("one thing") },
    { status: "failed", error: error("another") },
  ],
};

describe("a record is a change when its successor differs in", () => {
  it.each(Object.entries(CHANGES))("%s", (_, [one, other]) => {
    expect(sameRecord(sample(one), sample(other))).toBe(false);
    expect(sameRecord(sample(other), sample(one))).toBe(false);
    expect(sameRecord(sample(one), sample(one))).toBe(true);
  });
});

describe("a record is no change when its successor differs in", () => {
  it("nothing but its times", () => {
    expect(sameRecord(sample({ sampledAt: 1, tookMs: 1 }), sample({ sampledAt: 2, tookMs: 5 }))).toBe(true);
  });

  it("nothing but the processor time of a domain that does not run: it is libvirtd's own", () => {
    const off = (time: bigint, count: number, id = -1) =>
      new DomainStatsRecord({
        domain: new Domain(uuidOf(1), "off", id, "hv1"),
        params: TypedParams.from([
          ["state.state", "int", 5],
          ["cpu.time", "ullong", time],
          ["block.count", "uint", count],
        ]),
        status: "ok",
        index: 1,
        sampledAt: 1,
        tookMs: 1,
      });
    expect(sameRecord(off(1_600n, 0), off(1_700n, 0))).toBe(true);
    expect(sameRecord(off(2n ** 60n, 0), off(2n ** 60n + 1n, 0))).toBe(true);
    expect(sameRecord(off(1_600n, 0), off(1_700n, 1))).toBe(false);
    expect(sameRecord(off(1_600n, 0, 7), off(1_700n, 0, 7))).toBe(false);
  });

  it("nothing but its place in the listing, which moves with other domains", () => {
    expect(sameRecord(sample({ index: 1 }), sample({ index: 2 }))).toBe(true);
  });

  it("nothing but a nan, which equals no number, itself included", () => {
    const nan: Sample = { cells: [Number.NaN, 1], types: [5, 4] };
    expect(sameRecord(sample(nan), sample(nan))).toBe(true);
  });
});
