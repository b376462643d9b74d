import { afterEach, describe, expect, it, vi } from "vitest";
import { Backoff } from "../../src/driver/reconnector.ts";

/** A clock and dice in the test's hand. */
function setUp() {
  const world = { now: 0, dice: 0 };
  vi.spyOn(Math, "random").mockImplementation(() => world.dice);
  return { world, backoff: new Backoff(() => world.now) };
}

afterEach(() => void vi.restoreAllMocks());

/** The largest dice there are. */
const ALMOST_ONE = 1 - 2 ** -53;

describe("The waits before connecting again", () => {
  it("have a limit that doubles from 250 ms to 30 s, and stays there", () => {
    const { world, backoff } = setUp();
    world.dice = ALMOST_ONE;
    const limits = Array.from({ length: 10 }, () => Math.ceil(backoff.next()));
    expect(limits).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  it("are anywhere between nothing and the limit, as the dice fall", () => {
    for (const dice of [0, 0.25, 0.5, ALMOST_ONE]) {
      const { world, backoff } = setUp();
      world.dice = dice;
      for (let attempt = 0; attempt < 12; attempt++) {
        const limit = Math.min(30_000, 250 * 2 ** attempt);
        expect(backoff.next()).toBeCloseTo(dice * limit, 6);
      }
    }
  });

  it("grow on after a connection that did not last", () => {
    const { world, backoff } = setUp();
    world.dice = ALMOST_ONE;
    for (let i = 0; i < 3; i++) backoff.next();
    backoff.connected();
    world.now += 29_999;
    expect(Math.ceil(backoff.next())).toBe(2_000);
  });

  it("begin with the shortest again after a connection that has lived for 30 s", () => {
    const { world, backoff } = setUp();
    world.dice = ALMOST_ONE;
    for (let i = 0; i < 9; i++) backoff.next();
    backoff.connected();
    world.now += 30_000;
    expect(Math.ceil(backoff.next())).toBe(250);
    expect(Math.ceil(backoff.next())).toBe(500);
  });

  it("take no time without a connection for health", () => {
    const { world, backoff } = setUp();
    world.dice = ALMOST_ONE;
    backoff.connected();
    backoff.next();
    world.now += 3_600_000;
    expect(Math.ceil(backoff.next())).toBe(500);
    world.now += 3_600_000;
    expect(Math.ceil(backoff.next())).toBe(1_000);
  });

  it("differ from each other, unless the dice are given", () => {
    const waits = Array.from({ length: 20 }, () => new Backoff(() => 0).next());
    for (const wait of waits) {
      expect(wait).toBeGreaterThanOrEqual(0);
      expect(wait).toBeLessThan(250);
    }
    expect(new Set(waits).size).toBeGreaterThan(1);
  });
});
