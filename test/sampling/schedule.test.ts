import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Schedule } from "../../src/sampling/schedule.ts";

/** One cadence: what it asks for, and what it got. */
class Cadence {
  readonly intervalMs: number;
  /** When it took part in sweeps. */
  readonly served: number[] = [];
  /** What it was told at the end of each. */
  readonly overruns: number[] = [];
  /** How many of its times are dealt with. */
  counted = 0;

  constructor(intervalMs: number) {
    this.intervalMs = intervalMs;
  }

  /** A time of its own, from 0, the one when it began. */
  nominal(k: number): number {
    return this.served[0]! + k * this.intervalMs;
  }
}

/** Who comes (with an interval) or goes (the oldest, or the newest) at a time. */
type Change = readonly [at: number, change: { join: number } | { leave: "oldest" | "newest" }];

/** A sampler without anything but its schedule. */
class Simulation {
  readonly schedule = new Schedule<Cadence>();
  readonly all: Cadence[] = [];
  readonly there: Cadence[] = [];
  readonly sweeps: number[] = [];
  /** How many sweeps the fastest alone would have caused until now. */
  allowance = 1;
  now = 0;

  run(until: number, changes: readonly Change[], tookMs = () => 0, lateMs = () => 0): this {
    const waiting = [...changes].sort(([one], [other]) => one - other);
    let sweep: { endsAt: number; members: Cadence[]; beganAt: number } | undefined;
    let late = lateMs();
    for (;;) {
      const next = this.schedule.next();
      const sweepAt = sweep?.endsAt ?? (next === undefined ? Infinity : Math.max(this.now, next + late));
      const changeAt = waiting[0]?.[0] ?? Infinity;
      const at = Math.min(sweepAt, changeAt);
      if (at > until) return this;
      this.#pass(at);
      if (changeAt <= sweepAt) {
        this.#change(waiting.shift()!);
      } else if (sweep !== undefined) {
        this.#end(sweep.members, sweep.beganAt);
        sweep = undefined;
      } else {
        const members = this.schedule.begin(at);
        this.sweeps.push(at);
        for (const member of members) member.served.push(at);
        sweep = { endsAt: at + tookMs(), members, beganAt: at };
        late = lateMs();
      }
    }
  }

  #pass(at: number): void {
    if (this.there.length > 0) this.allowance += (at - this.now) / this.fastest();
    this.now = at;
  }

  fastest(): number {
    return Math.min(...this.there.map(({ intervalMs }) => intervalMs));
  }

  #change([at, change]: Change): void {
    this.allowance++;
    if ("join" in change) {
      const cadence = new Cadence(change.join);
      this.all.push(cadence);
      this.there.push(cadence);
      this.schedule.add(cadence, change.join, at);
    } else {
      const leaver = change.leave === "oldest" ? this.there.shift() : this.there.pop();
      if (leaver !== undefined) this.schedule.remove(leaver);
    }
  }

  #end(members: readonly Cadence[], beganAt: number): void {
    for (const member of members) {
      const overrun = this.schedule.end(member, this.now);
      if (!this.there.includes(member)) {
        expect(overrun).toBe(0);
        continue;
      }
      member.overruns.push(overrun);
      member.counted += 1 + overrun;
      // All times that have passed are dealt with, and none that has not come but the one that this sweep was nearest to.
      const next = member.nominal(member.counted);
      const last = next - member.intervalMs;
      if (next <= this.now || last > Math.max(this.now, beganAt + member.intervalMs / 2)) {
        throw new Error(`at ${this.now} times up to ${last} of ${member.intervalMs} ms are dealt with`);
      }
    }
  }
}

const interval = fc.integer({ min: 10, max: 20_000 });
const changes = fc.array(
  fc.tuple(
    fc.integer({ min: 0, max: 200_000 }),
    fc.oneof(
      fc.record({ join: interval }),
      fc.record({ join: fc.constantFrom(1_000, 10_000) }),
      fc.record({ leave: fc.constantFrom("oldest" as const, "newest" as const) }),
    ),
  ),
  { minLength: 1, maxLength: 12 },
);
const together = (intervals: readonly number[]): Change[] => intervals.map((join): Change => [0, { join }]);

/** One number after the other, round and round. */
function cycle(numbers: readonly number[]): () => number {
  let i = 0;
  return () => numbers[i++ % numbers.length]!;
}

describe("a schedule", () => {
  it("sweeps for one cadence at once and then at each of its times", () => {
    const { sweeps } = new Simulation().run(5_000, [[500, { join: 1_000 }]]);
    expect(sweeps).toEqual([500, 1_500, 2_500, 3_500, 4_500]);
  });

  it("lets the fastest set the pace, and every other one take part in the sweeps nearest to its own times", () => {
    fc.assert(
      fc.property(fc.array(interval, { minLength: 1, maxLength: 6 }), (intervals) => {
        const simulation = new Simulation().run(100_000, together(intervals));
        const fastest = Math.min(...intervals);
        expect(simulation.sweeps).toEqual(
          Array.from({ length: Math.floor(100_000 / fastest) + 1 }, (_, i) => i * fastest),
        );
        for (const cadence of simulation.all) {
          expect(cadence.served.filter((at, k) => Math.abs(at - cadence.nominal(k)) > fastest / 2)).toEqual([]);
          expect(cadence.counted).toBe(cadence.served.length);
        }
      }),
      { numRuns: 60 },
    );
  });

  it("keeps the mean interval of one that is no multiple of the fastest", () => {
    const { all } = new Simulation().run(15_000_000, together([1_000, 1_500]));
    expect(all[1]!.served.slice(0, 5)).toEqual([0, 1_000, 3_000, 4_000, 6_000]);
    expect(all[1]!.served).toHaveLength(10_001);
  });

  it("causes no more sweeps than the fastest alone, and one for each watcher that comes or goes", () => {
    fc.assert(
      fc.property(changes, (script) => {
        const simulation = new Simulation().run(300_000, script);
        expect(simulation.sweeps.length).toBeLessThanOrEqual(simulation.allowance + 1e-6);
      }),
      { numRuns: 300 },
    );
  });

  it("sweeps no more often for many of one interval that began at different times", () => {
    const script = Array.from({ length: 10 }, (_, i): Change => [i * 1_000, { join: 10_000 }]);
    const { sweeps, all } = new Simulation().run(1_000_000, script);
    // At 5 s the first one is served early, what was due at 10 s; from 20 s on its times are everybody's.
    expect(sweeps).toHaveLength(10 + 99);
    for (const { served } of all) expect(served.length).toBeGreaterThanOrEqual(100);
  });

  it("serves every time of every cadence once, whichever watchers come and go meanwhile", () => {
    fc.assert(
      fc.property(changes, (script) => {
        for (const cadence of new Simulation().run(300_000, script).all) {
          expect(cadence.overruns.every((overrun) => overrun === 0)).toBe(true);
          const early = (at: number, k: number) => cadence.nominal(k) - at;
          expect(cadence.served.filter((at, k) => early(at, k) > cadence.intervalMs / 2)).toEqual([]);
          expect(cadence.served.filter((at, k) => early(at, k) < -cadence.intervalMs)).toEqual([]);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("begins with a newcomer at once, yet never sweeps faster than the fastest asks for, or once a second", () => {
    const joins = [0, 5_300, 5_400, 5_500, 6_900].map((at): Change => [at, { join: 10_000 }]);
    expect(new Simulation().run(9_000, joins).sweeps).toEqual([0, 5_300, 6_300, 7_300]);
    const fast = [0, 5, 6, 7].map((at): Change => [at, { join: at === 0 ? 10 : 10_000 }]);
    expect(new Simulation().run(35, fast).sweeps).toEqual([0, 10, 20, 30]);
    fc.assert(
      fc.property(changes, (script) => {
        const joins = script.filter(([, change]) => "join" in change);
        const { sweeps, all } = new Simulation().run(300_000, joins);
        const spacing = Math.min(1_000, ...all.map(({ intervalMs }) => intervalMs)) / 2;
        expect(sweeps.filter((at, i) => i > 0 && at - sweeps[i - 1]! < spacing - 1e-6)).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  it("leaves out the times that pass while a sweep is at work, tells how many, and rests until the next", () => {
    const { sweeps, all } = new Simulation().run(10_000, together([1_000]), cycle([2_500, 100]));
    expect(sweeps).toEqual([0, 3_000, 4_000, 7_000, 8_000]);
    expect(all[0]!.overruns).toEqual([2, 0, 2, 0]);
  });

  it("counts what a slow cadence missed during a sweep that it took no part in", () => {
    const [fast, slow] = new Simulation().run(
      40_000,
      together([1_000, 10_000]),
      cycle([...Array(9).fill(0), 15_500, ...Array(30).fill(0)]),
    ).all;
    expect(fast!.served.slice(8, 11)).toEqual([8_000, 9_000, 25_000]);
    expect(slow!.served).toEqual([0, 25_000, 30_000, 40_000]);
    expect(slow!.overruns.slice(0, 2)).toEqual([0, 1]);
  });

  it("deals with every time exactly once, served or reported, however long sweeps take and however late timers fire", () => {
    const durations = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 30_000 })), { minLength: 1 });
    const lateness = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000 })), { minLength: 1 });
    fc.assert(
      // What is to be shown is expected within the simulation, at the end of each sweep.
      fc.property(changes, durations, lateness, (script, tookMs, lateMs) => {
        new Simulation().run(300_000, script, cycle(tookMs), cycle(lateMs));
      }),
      { numRuns: 300 },
    );
  });

  it("does not drift when timers fire late", () => {
    const { sweeps } = new Simulation().run(1_000_000, together([1_000]), undefined, cycle([0, 300, 999, 20]));
    expect(sweeps).toHaveLength(1_001);
    expect(sweeps.at(-1)).toBe(1_000_000);
  });

  it("has nothing to do when everybody has left, and begins again with the next", () => {
    const { sweeps, schedule } = new Simulation().run(20_000, [
      [0, { join: 1_000 }],
      [2_500, { leave: "oldest" }],
      [10_000, { join: 5_000 }],
    ]);
    expect(sweeps).toEqual([0, 1_000, 2_000, 10_000, 15_000, 20_000]);
    expect(schedule.size).toBe(1);
  });
});
