/** @module-tag any-node */

import { describe, expect, it } from "vitest";
import { randomFrom } from "./random.ts";
import { advance, Run, turnTheClock } from "./run.ts";
import { ProcessOfMany, SharedDaemon } from "./shared-daemon.ts";

turnTheClock();

/** VIRSTREAM_SEEDS=1000 looks for rarer orders of events. */
const SEEDS = Number(process.env.VIRSTREAM_SEEDS ?? 12);
const SWEEPS = 3;
/** For how long a process counts a call of another client that it has seen, in ms. */
const SEEN_MS = 10_000;

/**
 * Why twelve: libvirt gives a frozen guest's job to one process, and the calls of all others return at once. Of all calls
 * that hang, look at the process that asked the domain that is last in the list. When it did so, it had counted fewer than
 * eight calls that hang, its own and others', in the domains before. It may have missed those in four domains, whose
 * check was under way when that of the last one was answered. So at most 7 + 4 + 1 domains have a call that hangs.
 */
describe("Processes that start to watch at the same instant", () => {
  interface World {
    readonly processes: number;
    readonly domains: number;
    /** How likely a guest is to be frozen. */
    readonly frozen: number;
  }

  /** Each process sweeps again and again. Returns the most calls that hung in frozen guests at a time. */
  async function watch(seed: number, { processes, domains, frozen }: World): Promise<number> {
    const random = randomFrom(seed);
    const daemon = new SharedDaemon(domains, random, () => random() < frozen);
    const starters = Array.from({ length: processes }, () => new ProcessOfMany(daemon));
    const sweep = async (): Promise<Run[]> => {
      const runs: Run[] = [];
      for (const each of starters) setTimeout(() => runs.push(new Run(each, { deadlineMs: 1_000 })), random() * 5);
      await advance(3_000);
      return runs;
    };
    for (let sweeps = 0; sweeps < SWEEPS; sweeps++) {
      for (const { records } of await sweep()) {
        expect(new Set(records.map(({ record }) => record.index)).size, "each domain has its record").toBe(domains);
        expect(records).toHaveLength(domains);
      }
    }
    daemon.thaw();
    await advance(SEEN_MS);
    for (const run of await sweep()) expect(run.count("ok"), "after the thaw").toBe(domains);
    expect(daemon.stuck).toBe(0);
    return daemon.most;
  }

  it.each([
    { processes: 1, domains: 12, frozen: 1, most: 8 },
    { processes: 2, domains: 12, frozen: 1, most: 12 },
    { processes: 2, domains: 40, frozen: 1, most: 12 },
    { processes: 2, domains: 40, frozen: 0.3, most: 12 },
    { processes: 3, domains: 40, frozen: 0.5, most: 12 },
    { processes: 5, domains: 16, frozen: 1, most: 12 },
  ])(
    "hold $most workers at most in frozen guests: $processes processes, $domains guests, $frozen of them frozen",
    {
      timeout: SEEDS * 5_000,
    },
    async ({ most, ...world }) => {
      const seen = new Map<number, number>();
      for (let seed = 1; seed <= SEEDS; seed++) {
        const held = await watch(seed, world);
        seen.set(held, (seen.get(held) ?? 0) + 1);
        expect(held, `seed ${seed}`).toBeLessThanOrEqual(most);
      }
      if (process.env.SEEN) console.log(world, seen);
    },
  );
});
