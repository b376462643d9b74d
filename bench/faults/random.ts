import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { connect } from "../../src/client/connect.ts";
import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { RandomFaults } from "../../test/lab/random-faults.ts";
import { timedSweep } from "../../test/lab/timed-sweep.ts";
import { type FaultOptions, type FaultRow, formatMs } from "./fault.ts";

const DEADLINE_MS = 300;
const BOUND_MS = 1_500;
/** The number of sweeps after which all code is compiled and every kind of record has occurred. */
const WARM = 200;
/** The limit of the heap's growth after these sweeps, in MiB. */
const FLAT_MIB = 4;
const SEED = 20_250_101;

interface Memory {
  readonly heap: number;
  readonly rss: number;
}

/**
 * Repeats sweeps during random faults of the guests. It checks that each domain has exactly one record, and that memory does
 * not grow.
 */
export async function benchRandom(lab: FaultLab, options: FaultOptions): Promise<readonly FaultRow[]> {
  const sweeps = options.quick ? 300 : 2_000;
  await using connection = await connect(lab.libvirtd.uri);
  await timedSweep(connection);
  const faults = new RandomFaults(lab, SEED);
  faults.start();
  const complaints: string[] = [];
  const statuses = new Map<string, number>();
  let longest = 0;
  let records = 0;
  let warm: Memory = { heap: 0, rss: 0 };
  for (let number = 1; number <= sweeps; number++) {
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
    complaints.push(...faults.audit(sweep).map((complaint) => `sweep ${number}: ${complaint}`));
    longest = Math.max(longest, sweep.tookMs);
    records += sweep.arrivals.length;
    for (const outcome of Object.values(sweep.outcomes())) statuses.set(outcome, (statuses.get(outcome) ?? 0) + 1);
    if (number === WARM) warm = memory();
    if (number % 100 === 0) console.error(`faults: random: ${number} sweeps, ${complaints.length} complaints`);
    await sleep(20);
  }
  const end = memory();
  await faults.stop();
  const happened = Object.entries(faults.counts)
    .map(([fault, count]) => `${count} × ${fault}`)
    .join(", ");
  console.error(`faults: random: ${happened}; ${[...statuses].map(([what, count]) => `${count} ${what}`).join(", ")}`);
  for (const complaint of complaints.slice(0, 10)) console.error(`faults: random: ${complaint}`);
  const growth = end.heap - warm.heap;
  const mib = (bytes: number) => `${bytes.toFixed(1)} MiB`;
  return [
    {
      fault: `${sweeps.toLocaleString("en")} sweeps with random faults (${happened})`,
      ours: `${records.toLocaleString("en")} records; ${complaints.length} missing, double or strange; longest sweep ${formatMs(longest)}`,
      must: `one per domain and sweep, ≤ ${formatMs(BOUND_MS)}`,
      met: complaints.length === 0 && longest <= BOUND_MS,
    },
    {
      fault: `… memory after ${WARM} sweeps and at the end`,
      ours: `heap ${mib(warm.heap)}, ${mib(end.heap)}; resident ${mib(warm.rss)}, ${mib(end.rss)}`,
      must: `the heap grows by at most ${FLAT_MIB} MiB`,
      met: growth <= FLAT_MIB,
    },
  ];
}

/** The live heap and the resident memory after a full garbage collection, in MiB. */
function memory(): Memory {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  collect();
  const { heapUsed, rss } = process.memoryUsage();
  return { heap: heapUsed / 2 ** 20, rss: rss / 2 ** 20 };
}
