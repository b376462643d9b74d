import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { passesFilter } from "../../../src/driver/matcher.ts";
import { parseSimulatedUri } from "../../../src/drivers/simulated/parameters.ts";
import { populate, stateOf } from "../../../src/drivers/simulated/population.ts";
import { STATE_NUMBERS } from "../../../src/model/field/state-numbers.ts";
import { LIST_FILTERS } from "../../../src/model/query.ts";

const mix = fc.integer({ min: 0, max: 300 }).chain((domains) =>
  fc.integer({ min: 0, max: domains }).chain((shutoff) =>
    fc.record({
      domains: fc.constant(domains),
      shutoff: fc.constant(shutoff),
      paused: fc.integer({ min: 0, max: domains - shutoff }),
      transient: fc.integer({ min: 0, max: domains - shutoff }),
      seed: fc.integer({ min: 0, max: 0xffffffff }),
    }),
  ),
);

function guests(parameters: Record<string, number>): Uint8Array {
  const search = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
  return populate(parseSimulatedUri(`test:///default?${search}`));
}

describe("the guests of a host", () => {
  it("are shut off and paused in exactly the numbers asked for", () => {
    fc.assert(
      fc.property(mix, (parameters) => {
        const counts = [0, 0, 0, 0, 0, 0];
        for (const traits of guests(parameters)) counts[stateOf(traits)]!++;
        const running = parameters.domains - parameters.shutoff - parameters.paused;
        expect(counts).toEqual([0, running, 0, parameters.paused, 0, parameters.shutoff]);
      }),
    );
  });

  it("are transient in exactly the number asked for, and none of those is shut off", () => {
    fc.assert(
      fc.property(mix, (parameters) => {
        const transient = guests(parameters).filter((traits) => passesFilter(traits, LIST_FILTERS.transient));
        expect(transient.length).toBe(parameters.transient);
        expect(transient.some((traits) => stateOf(traits) === STATE_NUMBERS.shutoff)).toBe(false);
      }),
    );
  });

  it("are mixed: their states do not follow their order", () => {
    const states = [...guests({ domains: 300, shutoff: 100, paused: 100 })].map(stateOf);
    for (const third of [states.slice(0, 100), states.slice(100, 200), states.slice(200)]) {
      expect(new Set(third).size).toBe(3);
    }
  });

  it("are filtered as by libvirt: one family adds up, the families narrow each other", () => {
    const population = guests({ domains: 100, shutoff: 20, paused: 10, transient: 30 });
    const count = (...bits: number[]) => {
      const filter = bits.reduce((sum, bit) => sum | bit, 0);
      return population.filter((traits) => passesFilter(traits, filter)).length;
    };
    expect(count()).toBe(100);
    expect(count(0x1)).toBe(80);
    expect(count(0x2)).toBe(20);
    expect(count(0x1, 0x2)).toBe(100);
    expect(count(0x4)).toBe(70);
    expect(count(0x8)).toBe(30);
    expect(count(0x10, 0x20)).toBe(80);
    expect(count(0x2, 0x10)).toBe(0);
    expect(count(0x80)).toBe(0);
    expect(count(0x80, 0x40)).toBe(20);
    expect(count(0x2, 0x8)).toBe(0);
  });
});
