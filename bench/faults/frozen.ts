import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { type TimedSweep, timedSweep } from "../../test/lab/timed-sweep.ts";
import { median } from "../rounds.ts";
import { type FaultOptions, type FaultRow, formatMs } from "./fault.ts";
import { askPeers } from "./peers.ts";

const DEADLINE_MS = 2_000;
const MOST = 1.3;
/**
 * How many sweeps each round makes before it freezes guests. The later sweeps of the round are compared with the median
 * time of these sweeps.
 */
const HEALTHY = 3;

interface Round {
  readonly healthyMs: number;
  readonly first: TimedSweep;
  readonly second: TimedSweep;
  readonly freshHealthyMs: number;
  readonly freshFirst: TimedSweep;
  readonly returnedMs: number;
  readonly thawed: TimedSweep;
}

/**
 * Freezes some of the guests. It measures when the last record of the healthy guests comes, compared with the last of
 * all twelve records when no guest is frozen, in the same round. It also measures the records of the frozen guests, and
 * the first sweep after these guests have thawed. It uses a connection that has made sweeps before, and a connection
 * that makes its first sweep.
 */
export async function benchFrozen(lab: FaultLab, options: FaultOptions): Promise<readonly FaultRow[]> {
  const rows: FaultRow[] = [];
  const thawed: Round[] = [];
  await using connection = await connect(lab.libvirtd.uri);
  for (let i = 0; i < 10; i++) await timedSweep(connection);
  for (const count of [1, 3, 6]) {
    const rounds: Round[] = [];
    for (let round = 0; round < (options.quick ? 3 : 9); round++) {
      rounds.push(await measure(lab, connection, count, round * count));
      console.error(`faults: ${count} frozen, round ${round + 1}: ${formatMs(rounds.at(-1)!.first.lastMs("ok"))}`);
    }
    thawed.push(...rounds);
    rows.push(...(await rowsOf(lab, options, count, rounds)));
  }
  const full = thawed.filter(({ thawed: sweep }) => sweep.count("ok") === lab.guests.length).length;
  rows.push({
    fault: "… thawed: the next sweep",
    ours: `${full} of ${thawed.length} are full; slots back ${formatMs(median(thawed.map(({ returnedMs }) => returnedMs)))} after`,
    must: "all full, all slots back",
    met: full === thawed.length,
  });
  return rows;
}

async function measure(lab: FaultLab, connection: Connection, count: number, offset: number): Promise<Round> {
  const healthy: number[] = [];
  for (let i = 0; i < HEALTHY; i++) healthy.push((await timedSweep(connection)).lastMs("ok"));
  lab.freeze(count, offset);
  const first = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
  const second = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
  const thawedAt = performance.now();
  await lab.calm();
  const returnedMs = performance.now() - thawedAt;
  const thawed = await timedSweep(connection);
  // Each of the next two timed sweeps is the first sweep of its connection.
  await using one = await connect(lab.libvirtd.uri);
  const freshHealthyMs = (await timedSweep(one)).lastMs("ok");
  await using other = await connect(lab.libvirtd.uri);
  lab.freeze(count, offset);
  const freshFirst = await timedSweep(other, { deadlineMs: DEADLINE_MS });
  await lab.calm();
  return { healthyMs: median(healthy), first, second, freshHealthyMs, freshFirst, returnedMs, thawed };
}

async function rowsOf(
  lab: FaultLab,
  options: FaultOptions,
  count: number,
  rounds: readonly Round[],
): Promise<readonly FaultRow[]> {
  const [first, second] = await askPeers(lab, options, () => lab.freeze(count), { calls: 2 });
  const whole = (sweep: TimedSweep) =>
    sweep.error === undefined &&
    sweep.perDomain().size === 12 &&
    sweep.count("ok") === 12 - count &&
    sweep.count("partial") === count &&
    sweep.arrivals.every(({ record }) => record.state !== undefined && record.params.has("net.0.rx.bytes"));
  const ratioRow = (
    fault: string,
    sweeps: (round: Round) => TimedSweep,
    healthy: (round: Round) => number,
  ): FaultRow => {
    const times = rounds.map((round) => sweeps(round).lastMs("ok"));
    const ratios = times.map((time, i) => time / healthy(rounds[i]!));
    const complete = rounds.filter((round) => whole(sweeps(round))).length;
    const counted = complete === rounds.length ? "" : `; as it must be in ${complete} of ${rounds.length}`;
    return {
      fault,
      ours: `${formatMs(median(times))}, ${median(ratios).toFixed(2)} × of ${formatMs(median(rounds.map(healthy)))} (worst ${Math.max(...ratios).toFixed(2)} ×)${counted}`,
      must: `≤ ${MOST} ×`,
      met: median(ratios) <= MOST && complete === rounds.length,
    };
  };
  const frozenFirst = rounds.map((round) => round.first.lastMs("partial"));
  const frozenSecond = rounds.map((round) => round.second.lastMs("partial"));
  return [
    {
      ...ratioRow(
        `${count} of 12 frozen, first sweep: the healthy`,
        (round) => round.first,
        (round) => round.healthyMs,
      ),
      peers: first!,
    },
    ratioRow(
      "… on a new connection",
      (round) => round.freshFirst,
      (round) => round.freshHealthyMs,
    ),
    {
      fault: "… the frozen: partial, with state and network",
      ours: `${formatMs(median(frozenFirst))} (worst ${formatMs(Math.max(...frozenFirst))})`,
      must: `at the deadline of ${formatMs(DEADLINE_MS)}`,
      met: Math.max(...frozenFirst) <= DEADLINE_MS + 100,
    },
    {
      ...ratioRow(
        "… second sweep: the healthy",
        (round) => round.second,
        (round) => round.healthyMs,
      ),
      peers: second!,
    },
    {
      fault: "… second sweep: the frozen",
      ours: `${formatMs(median(frozenSecond))} (worst ${formatMs(Math.max(...frozenSecond))})`,
      must: "milliseconds",
      met: median(frozenSecond) < 100,
    },
  ];
}
