import { type ControlInfo, ControlState, PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RemoteDomain } from "../drivers/libvirt/rpc/remote-domain.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import { VirstreamError } from "../model/error.ts";
import { LIST_FILTERS, StatsFlag } from "../model/query.ts";
import { type Balloon, readBalloon } from "./balloon.ts";
import { isSilence, type TimeLimit } from "./time-limit.ts";

/** What was found out about one running guest, without asking its monitor. */
export interface GuestFacts {
  readonly name: string;
  readonly uuid: string;
  /** Whether it vanishes when it stops: then it has no configuration to change. */
  readonly transient: boolean;
  readonly control?: ControlInfo;
  /** The groups that libvirt and its QEMU support, as bits. */
  readonly groups?: number;
  /** Its balloon; left out for a guest whose monitor is busy. */
  readonly balloon?: Balloon;
  /** Why there is no more: libvirt did not answer in time, or refused. */
  readonly error?: VirstreamError;
}

/** How long a monitor may be busy before it is worth a word: any client's question makes it so for some ms. */
export const BUSY_MS = 1_000;

const LISTING_MS = 2_500;
const ANSWER_MS = 2_000;

/** The running guests, in libvirt's order, those that are transient marked. */
export async function listRunning(client: RpcClient, timeLimit: TimeLimit): Promise<GuestFacts[]> {
  const { active, transient } = LIST_FILTERS;
  const listing = Promise.all([
    client.call(PROCEDURES.listDomains, active),
    client.call(PROCEDURES.listDomains, active | transient),
  ]);
  const [all, passing] = await timeLimit.wait(listing, LISTING_MS);
  const uuids = new Set(passing.map(({ uuid }) => uuid));
  return all.map(({ name, uuid }) => ({ name, uuid, transient: uuids.has(uuid) }));
}

/** A domain that does not run; undefined when there is none. */
export async function findShutOff(client: RpcClient, timeLimit: TimeLimit): Promise<RemoteDomain | undefined> {
  const domains = await timeLimit.wait(client.call(PROCEDURES.listDomains, LIST_FILTERS.inactive), LISTING_MS);
  return domains[0];
}

/**
 * Examines guests. What is asked needs no monitor, but it needs the guest's lock, which a guest that is being destroyed
 * may hold for many seconds. So each connection has one call in flight, and is done with when that is not answered:
 * nothing waits behind it, and the daemon never has more than one worker waiting for each connection.
 *
 * @param clients connections on which nothing else is asked
 * @param what `monitors` keeps to what a daemon answers whose workers for slow calls are all busy
 * @returns the guests in their order; those that were not reached, with nothing but their names
 */
export async function examineGuests(
  clients: readonly RpcClient[],
  guests: readonly GuestFacts[],
  what: "everything" | "monitors",
  timeLimit: TimeLimit,
): Promise<GuestFacts[]> {
  const facts = [...guests];
  let next = 0;
  const lane = async (client: RpcClient): Promise<void> => {
    for (let index = next++; index < facts.length && timeLimit.atMost(1) > 0; index = next++) {
      const found = await examineGuest(client, facts[index]!, what, timeLimit);
      facts[index] = found;
      if (client.ended !== undefined || (found.error !== undefined && isSilence(found.error))) return;
    }
  };
  await Promise.all(clients.map(lane));
  return facts;
}

async function examineGuest(
  client: RpcClient,
  guest: GuestFacts,
  what: "everything" | "monitors",
  timeLimit: TimeLimit,
): Promise<GuestFacts> {
  const domain = { name: guest.name, uuid: guest.uuid, id: -1 };
  let facts = guest;
  try {
    const control = await timeLimit.wait(client.call(PROCEDURES.controlInfo, domain), ANSWER_MS);
    facts = { ...facts, control };
    if (what === "monitors") return facts;
    const groups = await supportedGroups(client, guest.uuid, timeLimit);
    if (groups !== undefined) facts = { ...facts, groups };
    // Where another waits for the monitor already, nothing is asked that an old libvirt might ask the monitor for.
    if (isBusy(control)) return facts;
    const balloon = readBalloon(await timeLimit.wait(client.call(PROCEDURES.xml, domain), ANSWER_MS));
    return balloon === undefined ? facts : { ...facts, balloon };
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    return { ...facts, error: VirstreamError.from(error) };
  }
}

/** Whether a monitor has been busy for long. */
export function isBusy({ state, forMs }: ControlInfo): boolean {
  return (state === ControlState.occupied || state === ControlState.job) && forMs >= BUSY_MS;
}

/** Every bit of the mask: more than any libvirt has groups, so that enforcing them is always refused. */
const EVERY_BIT = 0xffffffff;

/**
 * Which groups libvirt and the domain's QEMU support, as bits. All 32 are asked for, and enforced: libvirt then refuses
 * before it does anything, and says which bits are to blame. The others are supported. undefined when it says something
 * else.
 *
 * @throws VirstreamError `unsupported` without bits, when the hypervisor's driver has no statistics call
 */
export async function supportedGroups(
  client: RpcClient,
  uuid: string,
  timeLimit: TimeLimit,
): Promise<number | undefined> {
  const asked = client.call(PROCEDURES.stats, { uuids: [uuid], groups: EVERY_BIT, flags: StatsFlag.enforce });
  try {
    await timeLimit.wait(asked, ANSWER_MS);
    return undefined;
  } catch (error) {
    const { libvirt, message } = VirstreamError.from(error);
    if (libvirt?.code !== ARGUMENT_UNSUPPORTED) throw error;
    const bits = /\bbits 0x([0-9a-f]{1,8})\b/i.exec(message)?.[1];
    return bits === undefined ? undefined : (EVERY_BIT & ~Number.parseInt(bits, 16)) >>> 0;
  }
}

/** VIR_ERR_ARGUMENT_UNSUPPORTED. */
const ARGUMENT_UNSUPPORTED = 74;
