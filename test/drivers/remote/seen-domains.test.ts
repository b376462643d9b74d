import { afterEach, describe, expect, it, vi } from "vitest";
import { SeenDomains } from "../../../src/drivers/remote/seen-domains.ts";
import type { DomainIdentity } from "../../../src/model/record.ts";
import { NIL_UUID } from "../../../src/model/uuid.ts";

const DOMAINS = 300_000;
const hex = (number: number, width: number): string => number.toString(16).padStart(width, "0");

const FORMS: readonly (readonly [what: string, domain: (i: number) => DomainIdentity])[] = [
  ["uuids that count on at their end", (i) => of(`00000000-0000-4000-8000-${hex(i, 12)}`)],
  ["uuids that count on at their beginning", (i) => of(`${hex(i, 8)}-0000-4000-8000-000000000000`)],
  ["uuids that differ in two places", (i) => of(`${hex(i & 511, 8)}-0000-4000-8000-${hex(i >> 9, 12)}`)],
  ["one uuid on many hosts", (i) => ({ ...of("12345678-0000-4000-8000-000000000000"), host: `hv${i}` })],
  ["where the host ends and the name begins", (i) => ({ ...of(NIL_UUID), ...divided(`guest-${i >> 3}`, i & 7) })],
  ["names that no host has", (i) => ({ ...of(NIL_UUID), name: `guest-${i}` })],
];

function of(uuid: string): DomainIdentity {
  return { host: "hv1", uuid, name: "web", id: 1 };
}

afterEach(() => vi.unstubAllGlobals());

/** A text, divided into a host and a name. */
function divided(text: string, at: number): { host: string; name: string } {
  return { host: text.slice(0, at), name: text.slice(at) };
}

describe("the domains that had their record", () => {
  it.each(FORMS)("are known when they come again, and take at most 22 bytes each: %s", (_, domain) => {
    const made: number[] = [];
    vi.stubGlobal(
      "Int32Array",
      class extends Int32Array {
        constructor(length: number) {
          super(length);
          if (this.byteLength > 8) made.push(this.byteLength);
        }
      },
    );
    const seen = new SeenDomains();
    let taken = 0;
    for (let i = 0; i < DOMAINS; i++) if (seen.add([{ domain: domain(i) }])) taken++;
    for (let i = 0; i < DOMAINS; i++) if (seen.add([{ domain: domain(i) }])) taken++;
    expect([taken, seen.size]).toEqual([DOMAINS, DOMAINS]);
    expect(Math.max(...made)).toBeLessThan(22 * DOMAINS);
  });
});
