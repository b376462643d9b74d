import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { type TimedSweep, timedSweep } from "../../test/lab/timed-sweep.ts";
import { type FaultOptions, type FaultRow, formatMs } from "./fault.ts";
import { askPeers } from "./peers.ts";

const DEADLINE_MS = 1_000;
/** The time limit of a sweep: the deadline, plus time for listing and fallback, plus a reserve for a busy machine. */
const BOUND_MS = 3_000;
const RECOVERY_MS = 30_000;

/** Kills libvirtd in the middle of a sweep and starts it again; then stops it for a while in the middle of a sweep. */
export async function benchDaemon(lab: FaultLab, options: FaultOptions): Promise<readonly FaultRow[]> {
  return [
    await measure(
      lab,
      options,
      "libvirtd killed in the middle of a sweep, and started 2 s later",
      () => lab.libvirtd.kill("SIGKILL"),
      () => lab.libvirtd.restart(),
      2_000,
    ),
    await measure(
      lab,
      options,
      `libvirtd stopped for ${options.quick ? 5 : 20} s`,
      () => lab.libvirtd.kill("SIGSTOP"),
      () => lab.libvirtd.kill("SIGCONT"),
      options.quick ? 5_000 : 20_000,
    ),
  ].flat();
}

async function measure(
  lab: FaultLab,
  options: FaultOptions,
  what: string,
  fail: () => Promise<void>,
  restore: () => Promise<void>,
  lasting: number,
): Promise<readonly FaultRow[]> {
  const resources = process.getActiveResourcesInfo().length;
  const connection = await connect(lab.libvirtd.uri);
  let during: TimedSweep[] = [];
  let recovered = Number.NaN;
  try {
    for (let i = 0; i < 3; i++) await timedSweep(connection);
    // One guest hangs, so that the sweep cannot end before the fault.
    lab.freeze(1);
    let failed: Promise<void> | undefined;
    during = [await timedSweep(connection, { deadlineMs: DEADLINE_MS }, () => (failed ??= fail()))];
    await failed;
    lab.guests[0]!.thaw();
    const began = performance.now();
    while (performance.now() - began < lasting) {
      during.push(await timedSweep(connection, { deadlineMs: DEADLINE_MS }));
      await sleep(100);
    }
    await restore();
    recovered = await recovery(connection);
  } finally {
    await connection.close();
    await lab.calm();
  }
  await sleep(200);
  const left = process.getActiveResourcesInfo().length - resources;
  let restored: Promise<void> | undefined;
  const [first] = await askPeers(lab, options, () => lab.freeze(1), {
    meanwhile: async () => {
      await fail();
      lab.guests[0]!.thaw();
      restored = sleep(lasting).then(restore);
    },
    leave: () => restored,
  });
  const longest = Math.max(...during.map(({ tookMs }) => tookMs));
  const twice = during.filter((sweep) => [...sweep.perDomain().values()].some((count) => count !== 1)).length;
  const words = new Set(during.flatMap(wordsOf));
  console.error(`faults: ${what}: ${[...words].join(", ")}`);
  return [
    {
      fault: `${what}: sweeps during that time`,
      ours: `${formatMs(longest)} at most of ${during.length}${twice > 0 ? `; ${twice} with a domain twice` : ""}; ${[...words].join(", ")}`,
      must: `≤ ${formatMs(BOUND_MS)}, clear errors`,
      met: longest <= BOUND_MS && twice === 0,
      peers: first!,
    },
    {
      fault: "… full sweeps again, without help",
      ours: Number.isNaN(recovered)
        ? `not within ${formatMs(RECOVERY_MS)}`
        : `${formatMs(recovered)} after the daemon; ${left > 0 ? `${left} resources left behind` : "nothing left behind"}`,
      must: "yes, nothing left behind",
      met: !Number.isNaN(recovered) && left <= 0,
    },
  ];
}

/**
 * The error code of each record of a sweep, or its status if it has no error, and the error code of the sweep itself.
 */
function wordsOf(sweep: TimedSweep): string[] {
  const words = sweep.arrivals.map(({ record: { status, error } }) => (error === undefined ? status : error.code));
  return sweep.error === undefined ? words : [...words, `sweep: ${(sweep.error as { code?: string }).code}`];
}

/** The time until a sweep is complete again, in ms; NaN if no sweep is complete within RECOVERY_MS. */
async function recovery(connection: Connection): Promise<number> {
  const began = performance.now();
  while (performance.now() - began < RECOVERY_MS) {
    const sweep = await timedSweep(connection, { deadlineMs: DEADLINE_MS });
    if (sweep.error === undefined && sweep.count("ok") === 12) return performance.now() - began;
    await sleep(50);
  }
  return Number.NaN;
}
