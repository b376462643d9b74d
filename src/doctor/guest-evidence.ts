import { sleep } from "../driver/clock.ts";
import { connectDaemon, type OpenTransport, openTransport } from "../drivers/libvirt/daemon.ts";
import {
  type ControlInfo,
  ControlState,
  type DiskError,
  type JobStats,
  PROCEDURES,
} from "../drivers/libvirt/rpc/procedures.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../model/error.ts";
import type { DomainIdentity } from "../model/record.ts";
import type { StateWords } from "../model/state.ts";
import { BUSY_MS } from "./guests.ts";
import { type GuestProcess, guestProcesses } from "./processes.ts";
import { ANSWER_MS, TimeLimit } from "./time-limit.ts";
import type { UnansweredCalls } from "./unanswered-calls.ts";

/**
 * What libvirt and the system report about one guest besides its record. A member that could not be read is left out.
 */
export interface GuestEvidence {
  readonly control?: ControlInfo;
  /** The guest's QEMU process, if the process runs on this machine and this user may see it. */
  readonly process?: GuestProcess | undefined;
  /** The disks that failed. Only for a guest that was paused because of its storage. */
  readonly diskErrors?: readonly DiskError[];
  /**
   * The limits that an administrator has set for the guest's slow disks, by the name of the disk. A disk without limits
   * has no entry.
   */
  readonly ioLimits?: ReadonlyMap<string, readonly string[]>;
  /** The statistics of the guest's job. Only for a guest with a job. */
  readonly job?: JobStats;
  /** The error because of which other members are missing. */
  readonly error?: VirstreamError;
}

const TOTAL_MS = 5_000;
/** How many times a busy monitor is checked again at most, and after how many ms each time. */
const LOOKS = 5;
const LOOK_AGAIN_MS = 100;
/** The limits of at most this many slow disks are read. */
const MAX_DISKS = 4;

/**
 * Collects the evidence about one guest, over a connection of its own, which it closes. It makes one call at a time. It
 * asks QEMU only if the monitor is free, or is busy with a known job. It ends within 5 s, even if nothing answers.
 *
 * @param state the guest's state, from its record
 * @param slowDisks the names of its disks that are slow
 * @param calls the unanswered calls of earlier examinations. If one of these calls is for this guest, or too many of
 *   them are unanswered, no further call is made that may have to wait for the guest
 * @throws the signal's reason, when it is aborted
 */
export async function collectEvidence(
  uri: LibvirtUri,
  domain: DomainIdentity,
  state: StateWords | undefined,
  slowDisks: readonly string[],
  calls: UnansweredCalls,
  signal: AbortSignal,
  transports: OpenTransport = openTransport,
): Promise<GuestEvidence> {
  const timeLimit = new TimeLimit(TOTAL_MS, signal);
  const local = uri.transport === "unix";
  const processes = local ? await timeLimit.wait(guestProcesses()).catch(() => undefined) : undefined;
  let evidence: GuestEvidence = { process: processes?.get(domain.uuid) };
  // For a guest that does not run, libvirt knows no more than the record shows.
  if (domain.id < 0) return evidence;
  try {
    const { client } = await connectDaemon({ uri, transports, timeoutMs: timeLimit.atMost(ANSWER_MS) }, signal);
    try {
      let control = await timeLimit.wait(client.call(PROCEDURES.controlInfo, domain));
      // Each query of a sweep makes the monitor busy for some ms. So only a monitor that stays busy is a sign of
      // trouble.
      for (let i = 0; i < LOOKS && control.state === ControlState.occupied && control.forMs < BUSY_MS; i++) {
        await sleep(LOOK_AGAIN_MS, { signal });
        control = await timeLimit.wait(client.call(PROCEDURES.controlInfo, domain));
      }
      evidence = { ...evidence, control };
      if (!calls.mayAsk(domain.uuid)) return evidence;
      if (control.state === ControlState.job) {
        const call = calls.track(domain.uuid, client.call(PROCEDURES.jobStats, domain));
        evidence = { ...evidence, job: await timeLimit.wait(call) };
      }
      if (control.state === ControlState.ok && state?.state === "paused" && state.reason === "ioerror") {
        const call = calls.track(domain.uuid, client.call(PROCEDURES.diskErrors, domain));
        evidence = { ...evidence, diskErrors: await timeLimit.wait(call) };
      }
      if (control.state === ControlState.ok && slowDisks.length > 0) {
        const ioLimits = new Map<string, readonly string[]>();
        for (const target of slowDisks.slice(0, MAX_DISKS)) {
          const call = calls.track(domain.uuid, client.call(PROCEDURES.blockIoTune, { domain, target }));
          const set = [...(await timeLimit.wait(call))].filter(
            ([name, value]) => /_sec$/.test(name) && typeof value === "bigint" && value > 0n,
          );
          if (set.length > 0)
            ioLimits.set(
              target,
              set.map(([name, value]) => `${name} ${value}`),
            );
        }
        evidence = { ...evidence, ioLimits };
      }
    } finally {
      // An orderly end of the connection would have to wait for a call that is still unanswered.
      client.destroy(new VirstreamError("connection-closed", "the guest has been examined"));
    }
  } catch (error) {
    signal.throwIfAborted();
    evidence = { ...evidence, error: VirstreamError.from(error) };
  }
  return evidence;
}
