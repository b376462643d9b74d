import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { connect } from "../../src/client/connect.ts";
import "../../src/drivers/builtin.ts";
import { FaultLab, faultRequirements } from "../lab/fault-lab.ts";
import { RandomFaults } from "../lab/random-faults.ts";
import { describeWith } from "../lab/requirement.ts";
import { timedSweep } from "../lab/timed-sweep.ts";
import { workerPool } from "../lab/workers.ts";

const SWEEPS = 80;
const DEADLINE_MS = 300;
/** Listing, deadline and fallback take a second together; the rest is for a busy machine. */
const BOUND_MS = 6_000;

describeWith(faultRequirements, "With twelve guests that freeze, thaw, die, start, come and go at random", () => {
  it("every sweep has exactly one record for every domain", { timeout: 240_000 }, async () => {
    await using lab = await FaultLab.start();
    await using connection = await connect(lab.libvirtd.uri);
    expect((await timedSweep(connection)).count("ok")).toBe(12);
    const faults = new RandomFaults(lab, 20_250_101);
    faults.start();
    const complaints: string[] = [];
    let longest = 0;
    for (let number = 1; number <= SWEEPS; number++) {
      const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
      complaints.push(...faults.audit(sweep).map((complaint) => `sweep ${number}: ${complaint}`));
      longest = Math.max(longest, sweep.tookMs);
      await sleep(20);
    }
    await faults.stop();
    expect(complaints).toEqual([]);
    expect(longest).toBeLessThan(BOUND_MS);
    expect(faults.counts.freeze).toBeGreaterThan(10);
    await lab.calm();
    expect((await timedSweep(connection)).count("ok")).toBe(12);
    expect((await workerPool(lab.libvirtd)).busy).toBe(0);
  });
});
