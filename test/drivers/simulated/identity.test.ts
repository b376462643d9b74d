import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decimal, Identities } from "../../../src/drivers/simulated/population.ts";
import { parseUuid } from "../../../src/model/uuid.ts";

const DOMAINS = 1_000_000;
const index = fc.nat(DOMAINS - 1);
const key = fc.integer();

describe("the identity of a guest", () => {
  it("is found again by its uuid and by its name, in a host of a million", () => {
    fc.assert(
      fc.property(key, index, (key, index) => {
        const identities = new Identities(DOMAINS, key);
        expect(identities.find({ uuid: identities.uuid(index) })).toBe(index);
        expect(identities.find({ name: identities.name(index) })).toBe(index);
      }),
    );
  });

  it("has a uuid of version 4, in lower case with dashes", () => {
    fc.assert(
      fc.property(key, index, (key, index) => {
        const uuid = new Identities(DOMAINS, key).uuid(index);
        expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(parseUuid(uuid)).toBe(uuid);
      }),
    );
  });

  it("is shared with no other guest, nor with one of a host with another key", () => {
    const first = new Identities(20_000, 1);
    const second = new Identities(20_000, 2);
    const uuids = new Set<string>();
    for (let i = 0; i < 20_000; i++) uuids.add(first.uuid(i)).add(second.uuid(i));
    expect(uuids.size).toBe(40_000);
  });

  it("is not found for what only looks like one", () => {
    const identities = new Identities(100, 7);
    const uuid = identities.uuid(5);
    const changed = uuid.slice(0, -1) + (uuid.endsWith("0") ? "1" : "0");
    expect(identities.find({ uuid: changed })).toBe(-1);
    expect(identities.find({ uuid: new Identities(200, 7).uuid(150) })).toBe(-1);
    expect(identities.find({ uuid: "00000000-0000-0000-0000-000000000000" })).toBe(-1);
    const strangers = ["guest-5", "guest-000005", "guest-00100", "guest-0x005", "guest-", "guest- 0005", "Guest-00005"];
    for (const name of [...strangers, "guest-1e001", "guest--0001", "guest-00.50", "guest--99999999999"]) {
      expect(identities.find({ name: name }), name).toBe(-1);
    }
    expect(identities.find({ name: "guest-00005" })).toBe(5);
  });

  it("carries the index in the name, with five digits or as many as it takes", () => {
    const identities = new Identities(DOMAINS, 1);
    expect([0, 42, 99_999, 100_000, 999_999].map((i) => identities.name(i))).toEqual([
      "guest-00000",
      "guest-00042",
      "guest-99999",
      "guest-100000",
      "guest-999999",
    ]);
  });

  it("is written with decimals as String would", () => {
    fc.assert(fc.property(fc.nat(999_999_999), (value) => decimal(value) === String(value)));
    expect([0, 999, 1000, 999_999, 1_000_000, 1_000_001].map(decimal)).toEqual([
      "0",
      "999",
      "1000",
      "999999",
      "1000000",
      "1000001",
    ]);
  });
});
