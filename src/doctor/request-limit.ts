import { PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import { NIL_UUID } from "../model/uuid.ts";
import type { TimeLimit } from "./time-limit.ts";

/** How many requests of one connection a daemon works on at a time (max_client_requests), as far as it could be seen. */
export interface RequestLimit {
  /** This many it was seen to work on at a time: at most 5, which is all that virstream needs. */
  readonly atLeast: number;
  /** Whether it can be taken for the limit when it is less than 5. */
  readonly sure: boolean;
}

/**
 * How long the four slow calls are, in domains that they ask for: 27, 12, 7 and 3 ms of the daemon's time. Whether two,
 * three or all of them are worked on at a time, no two of them end together, and the quick one comes between.
 */
const SLOW = [16_384, 7_168, 4_096, 1_536] as const;
/** As many slow calls as virstream keeps on one connection, and one quick one: all that is needed, and looked for. */
export const REQUESTS_NEEDED = SLOW.length + 1;

/** How often it is tried while there seems to be no room for all of them. */
const BURSTS = 10;
/** When so many of the bursts agree on a limit that is too low, it is believed. */
const AGREEMENT = 5;
const BURST_MS = 2_000;

/**
 * libvirtd stops reading a connection while `max` of its requests are in progress, and a request is in progress until
 * its answer has been sent. So four slow calls are sent, and a quick one behind them. If `p` of the slow ones have been
 * answered before the quick one, then at least `4 - p` were still in progress when that was read: there is room for
 * `5 - p` at a time, whatever the speed of the machine. There may be room for more, if slow calls had ended before the
 * quick one was read; so that is tried again. A burst in which the quick one comes first proves that there is room for
 * all five, and is the last.
 *
 * The slow call asks for the state of a few thousand domains that do not exist: it touches no guest and takes no lock of
 * one. The quick one is of high priority, so that workers which are all busy do not hold it up.
 *
 * @param client a connection on which nothing else is asked
 * @returns undefined when the daemon did not answer, or not as it should
 */
export async function measureRequestLimit(client: RpcClient, timeLimit: TimeLimit): Promise<RequestLimit | undefined> {
  const seen: number[] = [];
  try {
    while (seen.length < BURSTS && !agreed(seen)) {
      const { before, rest } = await burst(client, timeLimit);
      // A proof needs no more: where the workers are busy, the slow calls may take their time.
      if (before === 0) return { atLeast: REQUESTS_NEEDED, sure: true };
      seen.push(REQUESTS_NEEDED - before);
      await timeLimit.wait(rest, BURST_MS);
    }
  } catch {
    timeLimit.signal.throwIfAborted();
    return undefined;
  }
  return { atLeast: Math.max(...seen), sure: agreed(seen) };
}

/** Whether what was seen at best was seen often enough. */
function agreed(seen: readonly number[]): boolean {
  const best = Math.max(...seen);
  return seen.filter((atOnce) => atOnce === best).length >= AGREEMENT;
}

/** How many slow calls were answered before the quick one, and the end of the others. */
async function burst(client: RpcClient, timeLimit: TimeLimit): Promise<{ before: number; rest: Promise<unknown> }> {
  let answered = 0;
  const slow = SLOW.map(async (domains) => {
    const uuids = new Array<string>(domains).fill(NIL_UUID);
    await client.call(PROCEDURES.stats, { uuids, groups: 1, flags: 0 });
    answered++;
  });
  const quick = client.call(PROCEDURES.libVersion, undefined).then(() => answered);
  const rest = Promise.all(slow);
  rest.catch(() => {});
  const before = await timeLimit.wait(Promise.race([quick, failure(rest)]), BURST_MS);
  return { before, rest };
}

/** Rejects as another promise does, and never resolves. */
function failure(of: Promise<unknown>): Promise<never> {
  return new Promise((_, reject) => of.catch(reject));
}
