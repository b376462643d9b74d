import { setTimeout as sleep } from "node:timers/promises";
import type { FanoutServerCalls } from "./fanout-server.ts";
import { BenchProcess } from "./process.ts";
import { median } from "./rounds.ts";
import type { Benchmark, BenchRow } from "./row.ts";
import type { SlowClientCalls } from "./slow-client.ts";

const DOMAINS = 10_000;
const WARM_UP_MS = 15_000;
const CALM_MS = 20_000;
const ASLEEP_MS = 60_000;
const AWAKE_MS = 8_000;

/**
 * Two subscribers of a watch of 10,000 domains, once a second. One of them stops reading for 60 s: in the first
 * measurement it does not pull its stream, in the second its whole process is stopped (SIGSTOP). It measures the
 * server's memory, the latency of the subscriber that goes on reading, and the gap that the stopped subscriber gets
 * afterwards.
 */
export const benchSlow: Benchmark = async () => [...(await measure("not pulling")), ...(await measure("stopped"))];

async function measure(how: "not pulling" | "stopped"): Promise<BenchRow[]> {
  await using server = await BenchProcess.start<FanoutServerCalls>("fanout-server.ts");
  await using other = await BenchProcess.start<SlowClientCalls>("slow-client.ts");
  await using sleeper = await BenchProcess.start<SlowClientCalls>("slow-client.ts");
  const port = await server.call("listen", DOMAINS);
  await other.call("watch", { port });
  await sleeper.call("watch", { port });
  console.error(`slow: ${how}: warming up`);
  await sleep(WARM_UP_MS);
  const peakOf = async (ms: number): Promise<number> => {
    let peak = 0;
    for (const until = performance.now() + ms; performance.now() < until; await sleep(500)) {
      peak = Math.max(peak, (await server.call("spent")).rss);
    }
    return peak;
  };
  await other.call("figures");
  const calmPeak = await peakOf(CALM_MS);
  const calm = await other.call("figures");
  const before = await sleeper.call("figures");
  console.error(`slow: ${how}: one sleeps for ${ASLEEP_MS / 1000} s`);
  if (how === "stopped") sleeper.signal("SIGSTOP");
  else await sleeper.call("sleep");
  const sleepPeak = await peakOf(ASLEEP_MS);
  const during = await other.call("figures");
  if (how === "stopped") sleeper.signal("SIGCONT");
  else await sleeper.call("wake");
  await sleep(AWAKE_MS);
  const woken = await sleeper.call("figures");
  if (during.gaps > 0) throw new Error("the subscriber that did not sleep had a gap");
  // The skipped sweeps are those that the other subscriber got between two consecutive sweeps of the subscriber that
  // slept.
  const last = before.began.at(-1)!;
  const first = woken.began.find((_, i) => woken.gaps > 0 && woken.began[i]! - (woken.began[i - 1] ?? last) > 1_500)!;
  const lastBefore = woken.began.filter((time) => time < first).at(-1) ?? last;
  const all = [...during.began, ...(await other.call("figures")).began];
  const really = all.filter((time) => time > lastBefore && time < first).length;
  if (woken.gaps === 0 || woken.skipped !== really) {
    throw new Error(`${woken.gaps} gaps reported ${woken.skipped} ticks as skipped, not ${really}`);
  }
  console.error(`slow: ${how}: oldest record after the gap ${Math.round(woken.oldestMs)} ms, ${woken.gaps} gaps`);
  return [
    {
      what: `server's memory while one of two is ${how} for 60 s, growth in MiB against the target`,
      ours: `${sleepPeak.toFixed(0)} MiB`,
      peer: `${calmPeak.toFixed(0)} MiB`,
      ratio: (sleepPeak - calmPeak) / 20,
      target: 1,
    },
    {
      what: `the other's latency in that time, from the end of a sweep to its sync (${how})`,
      ours: `${median(during.lateness).toFixed(1)} ms`,
      peer: `${median(calm.lateness).toFixed(1)} ms`,
      ratio: median(during.lateness) / median(calm.lateness),
      target: 1.3,
    },
    {
      what: `ticks that its gap reported as skipped, against those that it skipped (${how})`,
      ours: String(woken.skipped),
      peer: String(really),
      ratio: woken.skipped / really,
      target: 1,
    },
  ];
}
