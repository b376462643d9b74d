import { setTimeout as sleep } from "node:timers/promises";
import type { AttackedFigures } from "../../test/hostile/server-process.ts";
import { storm } from "../../test/hostile/storm.ts";
import { AttackedPair } from "./attacked-pair.ts";

/** Connections that are opened and dropped, per minute. */
const RATES = [2_000, 12_000];
/** The number of subscribers over TLS. As many others do not use TLS. */
const OVER_TLS = 10;
/**
 * The wait after a storm, in ms. The server keeps a channel of lost clients for at most eight ticks, which take less
 * than a second at the interval of the storm's watches.
 */
const RECOVERY_MS = 5_000;
const COUNTS = ["descriptors", "timers", "clients", "watches", "channels"] as const;

/**
 * Opens connections to a server without TLS and to a server with TLS, at each rate for a time, and drops them at every
 * stage, half of them in the middle of a handshake. Compares what the servers' process has before and afterwards, and
 * counts the ticks of good subscribers.
 */
export async function benchStorm(lastingMs: number, intervalMs: number): Promise<void> {
  console.log(`
| opened and dropped, per minute | early | over TLS | with a reset | ticks of ${2 * OVER_TLS} subscribers | lost | left out | longest time between two | ${COUNTS.join(", ")} | heap | resident |
| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |`);
  for (const rate of RATES) {
    await using pair = await AttackedPair.start(intervalMs, OVER_TLS);
    // Warm-up: what is compiled or allocated only once must not count.
    await storm(pair.target, 400);
    await sleep(RECOVERY_MS);
    const before = await pair.server.call("figures");
    await pair.subscriber.call("figures");
    const everyMs = 60_000 / rate;
    console.error(`hostile: ${rate} connections per minute for ${lastingMs / 1_000} s`);
    const { opened, early, overTls, reset } = await storm(pair.target, Math.round(lastingMs / everyMs), everyMs);
    const good = await pair.subscriber.call("figures");
    await sleep(RECOVERY_MS);
    const after = await pair.server.call("figures");
    const counts = (figures: AttackedFigures): string => COUNTS.map((name) => figures[name]).join(", ");
    const mib = (name: "heap" | "resident"): string => `${before[name].toFixed(1)} → ${after[name].toFixed(1)} MiB`;
    const number = (value: number): string => value.toLocaleString("en");
    const cells = [
      ...[`${number(rate)} (${number(opened)} in all)`, number(early), number(overTls), number(reset)],
      ...[good.ticks === good.mostTicks ? `${good.ticks} each` : `${good.ticks} to ${good.mostTicks}`],
      ...[`${good.lost}`, `${good.skipped}`, `${good.longestMs.toFixed(0)} ms`],
      ...[`${counts(before)} → ${counts(after)}`, mib("heap"), mib("resident")],
    ];
    console.log(`| ${cells.join(" | ")} |`);
    const left = COUNTS.filter((name) => after[name] > before[name]);
    if (left.length > 0) throw new Error(`these are left: ${left.join(", ")}`);
    if (good.lost > 0) throw new Error("a subscriber lost ticks");
  }
}
