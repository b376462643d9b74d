import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { rates } from "../../src/client/rates.ts";
import { connect, connectAll } from "../../src/index.ts";
import { type Lab, standardLab } from "../lab/hypervisor.ts";
import { describeWith, FAKETIME, labRequirements } from "../lab/requirement.ts";
import { ServedProcess } from "../lab/served-process.ts";

/** How far the wall clock is set back, in ms. */
const STEP = 800;

describeWith([...labRequirements, "faketime"], "When the wall clock of a collector is set back", () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await standardLab();
    folder = await mkdtemp(join(tmpdir(), "virstream-clock-"));
  });
  afterAll(async () => {
    await lab?.stop();
    await rm(folder, { recursive: true });
  });

  it.each([
    ["over a WebSocket", (url: string) => connect(url)],
    ["and through an aggregate", (url: string) => connectAll([url, "test:///default?domains=1&host=other"])],
  ])("the rates of its guests have the intervals of the steady clock, %s", async (_, open) => {
    const offset = join(folder, "offset");
    writeFileSync(offset, "+0");
    const settings = [`FAKETIME_TIMESTAMP_FILE=${offset}`, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    const runBy = ["env", `LD_PRELOAD=${FAKETIME}`, ...settings];
    await using server = await ServedProcess.start({ uri: lab.libvirtd.uri, runBy });
    await using connection = await open(server.url);
    const { name } = lab.guests[0]!;
    const samples: { sampledAt: number; steadyAt: number; intervalMs: number | undefined }[] = [];
    await new Promise<void>((resolve, reject) => {
      const watching = connection
        .watch({}, { intervalMs: 1_000 })
        .events.pipe(rates())
        .subscribe({
          next: ({ record, cpu }) => {
            if (record.domain.name !== name) return;
            samples.push({ sampledAt: record.sampledAt, steadyAt: record.steadyAt, intervalMs: cpu.intervalMs });
            if (samples.length === 2) writeFileSync(offset, `-${STEP / 1_000}`);
            if (samples.length < 5) return;
            watching.unsubscribe();
            resolve();
          },
          error: reject,
        });
    });
    // How much longer each interval is on the steady clock than on the wall clock.
    const differences = samples.slice(1).map(({ sampledAt, steadyAt }, i) => {
      const before = samples[i]!;
      return steadyAt - before.steadyAt - (sampledAt - before.sampledAt);
    });
    const set = differences.filter((difference) => Math.abs(difference) > 10);
    expect(set).toHaveLength(1);
    expect(Math.abs(set[0]! - STEP)).toBeLessThanOrEqual(10);
    for (const [i, { steadyAt, intervalMs }] of samples.entries()) {
      expect(intervalMs).toBe(i === 0 ? undefined : steadyAt - samples[i - 1]!.steadyAt);
    }
  });
});
