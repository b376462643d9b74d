import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "../../src/client/connect.ts";
import type { Connection } from "../../src/client/connection.ts";
import type { FaultLab } from "../../test/lab/fault-lab.ts";
import { defineGuest, type Guest } from "../../test/lab/guest.ts";
import { type TimedSweep, timedSweep } from "../../test/lab/timed-sweep.ts";
import { median } from "../rounds.ts";
import { type FaultOptions, type FaultRow, formatMs } from "./fault.ts";
import { askPeers } from "./peers.ts";

const DEADLINE_MS = 2_000;
/** A deadline so late that no record comes because of it. */
const FAR_MS = 15_000;

/** Destroys, kills, defines, starts and undefines guests while a sweep is going on. */
export async function benchChanging(lab: FaultLab, options: FaultOptions): Promise<readonly FaultRow[]> {
  await using connection = await connect(lab.libvirtd.uri);
  for (let i = 0; i < 5; i++) await timedSweep(connection);
  return [
    ...(await destroyedWhileFrozen(lab, connection, options)),
    await killed(lab, connection, options),
    await comeAndGone(lab, connection, options),
  ];
}

async function destroyedWhileFrozen(
  lab: FaultLab,
  connection: Connection,
  options: FaultOptions,
): Promise<readonly FaultRow[]> {
  const guest = lab.guests[5]!;
  const healthy = (await timedSweep(connection)).lastMs("ok");
  guest.freeze();
  let destroyed = guest.destroy();
  const began = performance.now();
  await sleep(300);
  const sweeps: TimedSweep[] = [];
  let fresh: TimedSweep | undefined;
  while (performance.now() - began < 8_000) {
    sweeps.push(await timedSweep(connection, { deadlineMs: DEADLINE_MS }));
    if (fresh === undefined) {
      await using other = await connect(lab.libvirtd.uri);
      fresh = await timedSweep(other, { deadlineMs: DEADLINE_MS });
    }
    await sleep(200);
  }
  await destroyed;
  await guest.start();
  const times = sweeps.map((sweep) => sweep.lastMs("ok"));
  const whole = sweeps.filter((sweep) => sweep.error === undefined && sweep.count("ok") === 11).length;
  const [first] = await askPeers(
    lab,
    options,
    async () => {
      guest.freeze();
      destroyed = guest.destroy();
      await sleep(300);
    },
    {
      leave: async () => {
        await destroyed;
        await guest.start();
      },
    },
  );
  return [
    {
      fault: "destroyed while frozen (libvirt cannot list for 10 s): the others",
      ours: `${formatMs(median(times))}, ${formatMs(Math.max(...times))} at most, of ${formatMs(healthy)}; all 11 in ${whole} of ${sweeps.length}`,
      must: "before the deadline of 2.00 s, all 11",
      met: whole === sweeps.length && Math.max(...times) < DEADLINE_MS,
      peers: first!,
    },
    {
      fault: "… on a new connection",
      ours:
        fresh!.error === undefined
          ? `${fresh!.count("ok")} of 11 in ${formatMs(fresh!.lastMs("ok"))}`
          : `${(fresh!.error as { code?: string }).code} after ${formatMs(fresh!.tookMs)}`,
    },
  ];
}

async function killed(lab: FaultLab, connection: Connection, options: FaultOptions): Promise<FaultRow> {
  const after: number[] = [];
  const became = new Set<string>();
  const rounds = options.quick ? 3 : 8;
  let once = 0;
  for (let round = 0; round < rounds; round++) {
    const guest = lab.guests[round]!;
    guest.freeze();
    let others = 0;
    let killedAt = 0;
    const sweep = await timedSweep(connection, { deadlineMs: FAR_MS }, () => {
      if (++others !== 11) return;
      killedAt = performance.now();
      void guest.kill();
    });
    after.push(sweep.beganAt + sweep.of(guest.uuid)!.atMs - killedAt);
    became.add(sweep.outcomes()[guest.name]!);
    if (isOnce(sweep, lab.guests)) once++;
    await restart(guest);
    console.error(`faults: killed in its call: its record ${formatMs(after.at(-1)!)} after`);
  }
  const victim = lab.guests[9]!;
  const [first] = await askPeers(lab, options, () => victim.freeze(), {
    meanwhile: () => victim.kill(),
    leave: () => restart(victim),
  });
  return {
    fault: "killed in the middle of its call: its record",
    ours: `${formatMs(median(after))} after its death (${[...became].join(", ")}); each domain once in ${once} of ${rounds}`,
    must: "at once, each domain once",
    met: once === rounds && Math.max(...after) < 1_000,
    peers: first!,
  };
}

async function comeAndGone(lab: FaultLab, connection: Connection, options: FaultOptions): Promise<FaultRow> {
  const rounds = options.quick ? 2 : 8;
  const [held, starting, leaving] = [lab.guests[11]!, lab.guests[2]!, lab.guests[3]!];
  const steady = lab.guests.filter((guest) => guest !== leaving);
  let right = 0;
  for (let round = 0; round < rounds; round++) {
    await Promise.all([starting.destroy(), leaving.destroy()]);
    held.freeze();
    let newcomer: Guest | undefined;
    let acted: Promise<void> | undefined;
    const act = async () => {
      newcomer = await defineGuest(lab.libvirtd, { name: `newcomer-${round}` });
      await Promise.all([starting.start(), leaving.undefine()]);
    };
    let records = 0;
    const sweep = await timedSweep(connection, { deadlineMs: FAR_MS }, () => {
      if (++records === 3) acted = act().finally(() => held.thaw());
    });
    await acted;
    const counts = sweep.perDomain();
    const known = new Set([...lab.guests.map(({ uuid }) => uuid), newcomer!.uuid]);
    const next = await timedSweep(connection);
    if (
      sweep.error === undefined &&
      steady.every(({ uuid }) => counts.get(uuid) === 1) &&
      [...counts].every(([uuid, count]) => count === 1 && known.has(uuid)) &&
      isOnce(next, [...steady, newcomer!])
    ) {
      right++;
    }
    await newcomer!.undefine();
    await leaving.define();
    await leaving.start();
    console.error(`faults: defined, started, undefined: right in ${right} of ${round + 1}`);
  }
  return {
    fault: "defined, started, undefined in the middle of a sweep",
    ours: `none lost, none twice in ${right} of ${rounds}`,
    must: "none lost, none twice",
    met: right === rounds,
  };
}

function isOnce(sweep: TimedSweep, guests: readonly Guest[]): boolean {
  const counts = sweep.perDomain();
  return (
    sweep.error === undefined && counts.size === guests.length && guests.every(({ uuid }) => counts.get(uuid) === 1)
  );
}

/** Starts a guest that was killed, as soon as libvirt reports it as shut off. */
async function restart(guest: Guest): Promise<void> {
  while ((await guest.virsh(`domstate ${guest.uuid}`)).trim() !== "shut off") await sleep(20);
  await guest.start();
}
