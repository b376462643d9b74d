import { describe, expect, it } from "vitest";
import { KnownDomains } from "../../src/aggregate/known-domains.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";

function record(number: number): DomainStatsRecord {
  const uuid = `00000000-0000-4000-8000-${String(number).padStart(12, "0")}`;
  const domain = new Domain(uuid, `guest-${number}`, 1, "hv1");
  return new DomainStatsRecord({
    domain,
    params: TypedParams.EMPTY,
    status: "ok",
    sampledAt: 1,
    tookMs: 1,
    index: number,
  });
}

describe("The known domains of a host", () => {
  it("are at most 100,000: further ones are remembered only when others have left", () => {
    const known = new KnownDomains();
    for (let number = 0; number < 100_002; number++) known.add(record(number));
    expect([...known]).toHaveLength(100_000);
    known.delete(record(0).domain);
    for (const number of [1, 100_000, 100_001]) known.add(record(number));
    const indexes = [...known].map(({ index }) => index);
    expect([indexes.length, indexes.includes(100_000), indexes.includes(100_001)]).toEqual([100_000, true, false]);
  });
});
