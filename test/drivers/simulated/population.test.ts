import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseSimulatedUri } from "../../../src/drivers/simulated/parameters.ts";
import { Population } from "../../../src/drivers/simulated/population.ts";

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

function populate(parameters: Record<string, number>): Population {
  const search = new URLSearchParams(Object.entries(parameters).map(([name, value]) => [name, String(value)]));
  return new Population(parseSimulatedUri(`test:///default?${search}`));
}

describe("the guests of a host", () => {
  it("are shut off and paused in exactly the numbers asked for", () => {
    fc.assert(
      fc.property(mix, (parameters) => {
        const population = populate(parameters);
        const counts = [0, 0, 0, 0, 0, 0];
        for (let i = 0; i < parameters.domains; i++) counts[population.state(i)]!++;
        const running = parameters.domains - parameters.shutoff - parameters.paused;
        expect(counts).toEqual([0, running, 0, parameters.paused, 0, parameters.shutoff]);
      }),
    );
  });

  it("are counted for a filter without being looked at, and the count is right", () => {
    fc.assert(
      fc.property(mix, fc.nat(0xff), (parameters, filter) => {
        const population = populate(parameters);
        let passing = 0;
        for (let i = 0; i < parameters.domains; i++) if (population.passes(i, filter)) passing++;
        expect(population.count(filter)).toBe(passing);
      }),
    );
  });

  it("are filtered as by libvirt: one family adds up, the families narrow each other", () => {
    const population = populate({ domains: 100, shutoff: 20, paused: 10, transient: 30 });
    const count = (...bits: number[]) => population.count(bits.reduce((sum, bit) => sum | bit, 0));
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
