import { PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { groupBit } from "../model/group.ts";
import { LIST_FILTERS } from "../model/query.ts";
import { isTrouble, type StateWords, stateWords } from "../model/state.ts";
import { guestWord, shellWord } from "../overview/shell-word.ts";
import { type Finding, finding } from "./finding.ts";
import { virshUri } from "./guests.ts";
import type { TimeLimit } from "./time-limit.ts";

/** A guest that does not run because something failed. */
export interface FailedGuest {
  readonly name: string;
  readonly uuid: string;
  readonly state: StateWords;
}

/**
 * Finds the guests that do not run because something failed: their QEMU crashed, or could not start. One call reads the
 * states of all guests that do not run, and needs no monitor. If the daemon does not answer within the time limit, the
 * result is empty; the silence is a finding of its own.
 */
export async function findFailed(client: RpcClient, timeLimit: TimeLimit): Promise<FailedGuest[]> {
  const query = { uuids: [], groups: groupBit("state"), flags: LIST_FILTERS.inactive };
  const reply = await timeLimit.wait(client.call(PROCEDURES.stats, query)).catch(() => []);
  timeLimit.signal.throwIfAborted();
  return reply
    .map(({ domain: { name, uuid }, params }) => ({
      name,
      uuid,
      state: stateWords(params.number("state.state") ?? 0, params.number("state.reason") ?? 0),
    }))
    .filter(({ state }) => isTrouble(state));
}

/** Makes one finding for each reason why guests do not run. */
export function failedFindings(guests: readonly FailedGuest[], uri: LibvirtUri): Finding[] {
  const virsh = `virsh -c ${shellWord(virshUri(uri))}`;
  return [...new Set(guests.map(({ state }) => state.reason))].map((reason) => {
    const failed = guests.filter(({ state }) => state.reason === reason);
    const count = failed.length === 1 ? "A guest does" : `${failed.length} guests do`;
    return finding("guest-failed", `${count} not run because something failed: shut off (${reason}).`, {
      guests: failed.map(({ name, uuid }) => ({
        name,
        uuid,
        fix: [`${virsh} start ${guestWord({ name, uuid })}  # read libvirt's and the guest's log first`],
      })),
    });
  });
}
