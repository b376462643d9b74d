import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/connect.ts";
import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { OutsideView } from "../../test/lab/outside-view.ts";
import { timedSweep } from "../../test/lab/timed-sweep.ts";
import { connectionIds, workerPool } from "../../test/lab/workers.ts";
import { type FaultOptions, type FaultRow, formatMs } from "./fault.ts";
import { askPeers } from "./peers.ts";

const DEADLINE_MS = 1_000;
/** The time limit of a sweep: the deadline, plus time for those calls for late domains that need no monitor. */
const BOUND_MS = DEADLINE_MS + 500;
const MOST_STUCK = 8;
/** The numbers of guests that are frozen right after a daemon has started, and how often each number is tried. */
const FRESH_FROZEN = [6, 8, 12];
const FRESH_ROUNDS = 16;

/**
 * Freezes all guests for a minute, which is longer than the daemon keeps a connection whose keepalive replies it cannot
 * read. In this time, a connection makes two sweeps at once, again and again. The benchmark checks that the records
 * come, counts the daemon's workers that hang, and measures the calls of another client. It does the same for 20 s
 * with two such connections. Then it makes a single sweep on daemons that have just started, which have five workers.
 */
export async function benchAllFrozen(lab: FaultLab, options: FaultOptions): Promise<readonly FaultRow[]> {
  const lasting = options.quick ? 8_000 : 60_000;
  const rows = [await measure(lab, lasting, 1), await measure(lab, options.quick ? 5_000 : 20_000, 2)].flat();
  const [first] = await askPeers(lab, options, () => lab.freeze(12));
  return [{ ...rows[0]!, peers: first! }, ...rows.slice(1), await measureFresh(lab, options.quick ? 2 : FRESH_ROUNDS)];
}

async function measure(lab: FaultLab, lasting: number, connections: number): Promise<FaultRow[]> {
  const opened = await Promise.all(Array.from({ length: connections }, () => connect(lab.libvirtd.uri)));
  try {
    for (const connection of opened) for (let i = 0; i < 3; i++) await timedSweep(connection);
    const before = await connectionIds(lab.libvirtd);
    lab.freeze(12);
    const began = performance.now();
    const times: number[] = [];
    let wrong = 0;
    const outside = new OutsideView(lab.libvirtd, lab.guests[0]!);
    while (performance.now() - began < lasting) {
      const each = opened.flatMap((connection) => [connection, connection]);
      for (const sweep of await Promise.all(each.map((one) => timedSweep(one, { deadlineMs: DEADLINE_MS })))) {
        times.push(sweep.tookMs);
        if (sweep.error !== undefined || sweep.arrivals.length !== 12 || sweep.count("partial") !== 12) wrong++;
      }
      console.error(`faults: all frozen, ${connections} connections: ${formatMs(Math.max(...times))} at most`);
      await sleep(500);
    }
    await outside[Symbol.asyncDispose]();
    await lab.calm();
    const after = await connectionIds(lab.libvirtd);
    const full = (await Promise.all(opened.map((each) => timedSweep(each)))).every((sweep) => sweep.count("ok") === 12);
    const { busiest, queued, stateMs, xmlMs, failures } = outside.figures;
    const lost = before.filter((id) => !after.includes(id)).length;
    const what = connections === 1 ? "12 of 12 frozen" : `… with ${connections} connections`;
    return [
      {
        fault: `${what} for ${lasting / 1_000} s: a sweep's last record`,
        ours: `${formatMs(times[0]!)} the first, ${formatMs(Math.max(...times.slice(1)))} at most of ${times.length - 1} more${wrong > 0 ? `; ${wrong} not as they must be` : ""}`,
        must: `≤ ${formatMs(BOUND_MS)}, 12 × partial`,
        met: Math.max(...times) <= BOUND_MS && wrong === 0,
      },
      {
        fault: "… workers of libvirtd that hang",
        ours: `${busiest}${queued > 0 ? `, ${queued} calls queued` : ""}`,
        must: `≤ ${MOST_STUCK}, none queued`,
        met: busiest <= MOST_STUCK && queued === 0,
      },
      {
        fault: "… another client's `domstats --state`, `dumpxml`",
        ours: failures.length > 0 ? failures[0]! : `${formatMs(stateMs)}, ${formatMs(xmlMs)} at most`,
        must: "< 1 s",
        met: failures.length === 0 && Math.max(stateMs, xmlMs) < 1_000,
      },
      {
        fault: "… our connections afterwards",
        ours: `${before.length - lost} of ${before.length} live, ${full ? "the next sweep is full" : "the next sweep is not full"}`,
        must: "all live, full",
        met: lost === 0 && full,
      },
    ];
  } finally {
    await Promise.all(opened.map((connection) => connection.close()));
  }
}

/** Checks that a daemon with its first five workers still serves other clients after virstream's first sweep. */
async function measureFresh(lab: FaultLab, rounds: number): Promise<FaultRow> {
  let wedged = 0;
  const seen: string[] = [];
  const trials = rounds * FRESH_FROZEN.length;
  for (let trial = 0; trial < trials; trial++) {
    await lab.libvirtd.restart();
    await using connection = await connect(lab.libvirtd.uri);
    lab.freeze(FRESH_FROZEN[trial % FRESH_FROZEN.length]!, trial);
    await timedSweep(connection, { deadlineMs: DEADLINE_MS });
    const { busy, started, queued } = await workerPool(lab.libvirtd);
    seen.push(`${busy} of ${started} hang${queued > 0 ? `, ${queued} queued` : ""}`);
    if (queued > 0) wedged++;
    await lab.calm();
  }
  return {
    fault: `… with a daemon that has just started, ${FRESH_FROZEN.join(", ")} of 12 frozen: workers left for others`,
    ours: `in ${trials - wedged} of ${trials} (${wedged === 0 ? seen.at(-1) : seen.join("; ")})`,
    must: "in all",
    met: wedged === 0,
  };
}
