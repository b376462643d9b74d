import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Ownership } from "../../src/aggregate/ownership.ts";
import { TypedParams } from "../../src/model/params.ts";
import { Domain, DomainStatsRecord } from "../../src/model/record.ts";

const owner = {};
const theirs = new Domain("00000000-0000-4000-8000-000000000001", "web", 3, "hv1", {});

const unlabelled = (hosts: number): undefined[] => Array.from({ length: hosts }, () => undefined);

describe("Domains of several hosts", () => {
  it("belong to the aggregate, and are the same otherwise", () => {
    const ownership = new Ownership(owner, unlabelled(2));
    const domain = ownership.domain(theirs, 0);
    expect(Domain.belongsTo(theirs, owner)).toBe(false);
    expect(Domain.belongsTo(domain, owner)).toBe(true);
    expect(domain).toMatchObject({ uuid: theirs.uuid, name: "web", id: 3, host: "hv1" });
  });

  it("keep everything of their records but owner and place", () => {
    const ownership = new Ownership(owner, unlabelled(2));
    const init = {
      params: TypedParams.EMPTY,
      status: "partial",
      reason: "timeout",
      missing: ["block"],
      sampledAt: 5,
      steadyAt: 77,
      tookMs: 2,
    } as const;
    const record = ownership.record(new DomainStatsRecord({ ...init, domain: theirs, index: 4 }), 1);
    expect(record).toMatchObject({ ...init, index: ownership.index(4, 1), error: undefined });
  });

  it("have places that are unique, steady, and sorted by host and then by the host's own", () => {
    const hosts = 3;
    const place = fc.record({ host: fc.nat(hosts - 1), index: fc.nat(2 ** 24 - 1) });
    fc.assert(
      fc.property(place, place, (one, other) => {
        const ownership = new Ownership(owner, unlabelled(hosts));
        const [a, b] = [one, other].map(({ index, host }) => ownership.index(index, host));
        const order = one.host - other.host || one.index - other.index;
        expect(Math.sign(a! - b!)).toBe(Math.sign(order));
        expect(ownership.index(one.index, one.host)).toBe(a);
      }),
    );
  });

  it("have unique places also where a host is itself several, and where that is so of one behind it", () => {
    const place = fc.record({ outer: fc.nat(2), inner: fc.nat(3), index: fc.nat(2 ** 24 - 1) });
    fc.assert(
      fc.property(
        fc.uniqueArray(place, { selector: ({ outer, inner, index }) => `${outer} ${inner} ${index}` }),
        (all) => {
          const inner = [0, 1, 2].map(() => new Ownership(owner, unlabelled(4)));
          const ownership = new Ownership(owner, unlabelled(3));
          const further = new Ownership(owner, unlabelled(1));
          const places = all.map((each) =>
            further.index(ownership.index(inner[each.outer]!.index(each.index, each.inner), each.outer), 0),
          );
          expect(new Set(places).size).toBe(all.length);
          expect(places.every(Number.isSafeInteger)).toBe(true);
        },
      ),
    );
  });
});
