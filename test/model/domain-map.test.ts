import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DomainMap } from "../../src/model/domain-map.ts";
import type { DomainIdentity } from "../../src/model/record.ts";
import { NIL_UUID } from "../../src/model/uuid.ts";

const identity = fc.record({
  uuid: fc.constantFrom("u1", "u2", NIL_UUID),
  name: fc.constantFrom("n1", "n2"),
  id: fc.constant(1),
  host: fc.constantFrom("h1", "h2"),
});

/** What tells domains apart: the host, and the uuid, or the name of one that nobody has. */
function keyOf({ uuid, name, host }: DomainIdentity): string {
  return JSON.stringify([host, uuid, uuid === NIL_UUID ? name : ""]);
}

describe("a map of domains", () => {
  it("does what a map by host and uuid does, and by name where there is no uuid", () => {
    const step = fc.tuple(fc.constantFrom("set", "delete", "get"), identity);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const map = new DomainMap<number>();
        const model = new Map<string, number>();
        steps.forEach(([action, domain], i) => {
          if (action === "set") {
            map.set(domain, i);
            model.set(keyOf(domain), i);
          } else if (action === "delete") {
            map.delete(domain);
            model.delete(keyOf(domain));
          }
          expect(map.get(domain)).toBe(model.get(keyOf(domain)));
          expect(map.size).toBe(model.size);
          for (const uuid of ["u1", "u2"]) {
            expect(map.hasUuid(uuid)).toBe([...model.keys()].some((key) => JSON.parse(key)[1] === uuid));
          }
          expect(map.hosts).toBe(new Set([...model.keys()].map((key) => JSON.parse(key)[0])).size);
        });
        expect([...map].sort()).toEqual([...model.values()].sort());
      }),
      { numRuns: 300 },
    );
  });
});
