import { afterEach, expect, it, vi } from "vitest";
import { steadyTimeOf } from "../../src/model/record.ts";

const WALL = 1_700_000_000_000;

/** Both clocks, which go on by 0.01 ms at each reading. */
class Clocks {
  wall = WALL;
  steady = 5_000;
  /** Before which readings the process is stopped for 40 ms; the readings are counted from 1. */
  stops = new Set<number>();
  #readings = 0;

  constructor() {
    vi.spyOn(Date, "now").mockImplementation(() => this.#read(() => Math.floor(this.wall)));
    vi.spyOn(performance, "now").mockImplementation(() => this.#read(() => this.steady));
  }

  /** Lets time pass. */
  pass(ms: number): void {
    this.wall += ms;
    this.steady += ms;
  }

  #read(clock: () => number): number {
    this.pass(this.stops.has(++this.#readings) ? 40 : 0.01);
    return clock();
  }
}

afterEach(() => {
  vi.restoreAllMocks();
});

it("two samples are the same time apart on the steady clock as on the wall clock, wherever the process is stopped", () => {
  for (let stop = 1; stop <= 12; stop++) {
    const clocks = new Clocks();
    const first = steadyTimeOf(WALL);
    clocks.stops = new Set(Array.from({ length: 2 }, (_, i) => stop + i));
    for (let second = 1; second <= 4; second++) {
      clocks.pass(1_000);
      expect([stop, steadyTimeOf(WALL + 1_000 * second) - first]).toEqual([stop, 1_000 * second]);
    }
    vi.restoreAllMocks();
  }
});

it("the steady time takes no part in a step of the wall clock", () => {
  const clocks = new Clocks();
  const before = steadyTimeOf(WALL);
  clocks.pass(1_000);
  clocks.wall -= 800;
  expect(Math.abs(steadyTimeOf(WALL + 200) - before - 1_000)).toBeLessThanOrEqual(1);
});
