import { type ControlInfo, ControlState, isMonitorBroken, PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RemoteDomain } from "../drivers/libvirt/rpc/remote-domain.ts";
import { hasStopped } from "../drivers/libvirt/rpc/remote-error.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../model/error.ts";
import { ALL_GROUPS, groupNames } from "../model/group.ts";
import { LIST_FILTERS, StatsFlag } from "../model/query.ts";
import { isTrouble, type StateWords, stateWords } from "../model/state.ts";
import { guestWord, shellWord } from "../overview/shell-word.ts";
import { listed } from "../overview/words.ts";
import { type AffectedGuest, type Finding, type FindingId, finding } from "./finding.ts";
import type { GuestProcess } from "./processes.ts";
import { isSilence, type TimeLimit } from "./time-limit.ts";

/** The memory balloon in a guest's definition. */
export interface Balloon {
  /** Usually `virtio`; `none` when the guest has no balloon. */
  readonly model: string;
  /** The time between two reports of the guest's memory, in seconds; 0 when the guest never reports. */
  readonly periodS: number;
}

/** The facts about one running guest that need no monitor. */
export interface GuestFacts {
  readonly name: string;
  readonly uuid: string;
  /** True if libvirt forgets the guest when it stops, so that there is no persistent definition to change. */
  readonly transient: boolean;
  readonly control?: ControlInfo;
  readonly state?: StateWords;
  /** The guest's QEMU process, if the process runs on this machine and this user may see it. */
  readonly process?: GuestProcess | undefined;
  /** The groups that both libvirt and the guest's QEMU support, as bits. */
  readonly groups?: number;
  /** The guest's balloon; left out when the guest's monitor is busy. */
  readonly balloon?: Balloon;
  /** The error because of which other members are missing: libvirt did not answer in time, or refused. */
  readonly error?: VirstreamError;
}

/** A monitor that has been busy for this many ms is a finding. A normal query makes the monitor busy for some ms. */
export const BUSY_MS = 1_000;

const LISTING_MS = 2_500;

/** Lists the running guests, in libvirt's order. */
export async function listRunning(client: RpcClient, timeLimit: TimeLimit): Promise<GuestFacts[]> {
  const { active, transient } = LIST_FILTERS;
  const listing = Promise.all([
    client.call(PROCEDURES.listDomains, active),
    client.call(PROCEDURES.listDomains, active | transient),
  ]);
  const [all, some] = await timeLimit.wait(listing, LISTING_MS);
  const uuids = new Set(some.map(({ uuid }) => uuid));
  return all.map(({ name, uuid }) => ({ name, uuid, transient: uuids.has(uuid) }));
}

/**
 * Finds a domain that does not run; undefined when there is none. This search belongs to the last step of an
 * examination, so it may take all of the remaining time.
 */
export async function findShutOff(client: RpcClient, timeLimit: TimeLimit): Promise<RemoteDomain | undefined> {
  const domains = await timeLimit.wait(
    client.call(PROCEDURES.listDomains, LIST_FILTERS.inactive),
    timeLimit.atMost(Number.POSITIVE_INFINITY),
  );
  return domains[0];
}

/**
 * Examines guests. The calls need no monitor, but they need the guest's lock, which libvirt holds for many seconds
 * while it destroys a guest. So each connection has one call in flight, and is not used again if that call gets no
 * answer. This way each connection blocks at most one worker of the daemon.
 *
 * @param clients connections for the calls; nothing else may use them until this function returns
 * @param what with `monitors`, only quick calls are made, which a daemon answers even when its normal workers are busy
 * @returns the guests in the same order; a guest that was not reached is unchanged
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
    const control = await timeLimit.wait(client.call(PROCEDURES.controlInfo, domain));
    const params = await timeLimit.wait(client.call(PROCEDURES.state, domain));
    const state = stateWords(params.number("state.state") ?? 0, params.number("state.reason") ?? 0);
    facts = { ...facts, control, state };
    if (what === "monitors") return facts;
    const groups = await supportedGroups(client, guest.uuid, timeLimit);
    if (groups !== undefined) facts = { ...facts, groups };
    // The next call occupies a worker. An old libvirt may ask the monitor before it answers, and libvirt 11 and later
    // wait until no other call has the domain's job. So the examination skips the call when another call has the job.
    if (control.state === ControlState.occupied || control.state === ControlState.job) return facts;
    const balloon = readBalloon(await timeLimit.wait(client.call(PROCEDURES.xml, domain)));
    return balloon === undefined ? facts : { ...facts, balloon };
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    return { ...facts, error: VirstreamError.from(error) };
  }
}

/** True if a monitor has been busy for too long. */
function isBusy({ state, forMs }: ControlInfo): boolean {
  return (state === ControlState.occupied || state === ControlState.job) && forMs >= BUSY_MS;
}

/** All bits of a mask of groups. No libvirt has 32 groups, so libvirt always refuses to enforce them. */
const EVERY_BIT = 0xffffffff;

/**
 * Returns the groups that libvirt and the domain's QEMU support, as bits. The call asks for all 32 groups with the
 * ENFORCE flag: libvirt refuses before it does anything, and its error names the unsupported bits. The result is
 * undefined when the error has another form.
 *
 * @throws VirstreamError `unsupported` when the hypervisor's driver has no statistics call; any other error of the call
 */
export async function supportedGroups(
  client: RpcClient,
  uuid: string,
  timeLimit: TimeLimit,
  answerMs?: number,
): Promise<number | undefined> {
  const asked = client.call(PROCEDURES.stats, { uuids: [uuid], groups: EVERY_BIT, flags: StatsFlag.enforce });
  try {
    await timeLimit.wait(asked, answerMs);
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

/**
 * Reads the balloon from a domain's XML; undefined when there is none. The search is limited to the devices, because
 * users can write anything into the title and the metadata. Regular expressions are enough: libvirt always generates
 * its XML itself, in one form.
 */
export function readBalloon(xml: string): Balloon | undefined {
  const devices = /^ {2}<devices>$([\s\S]*?)^ {2}<\/devices>$/m.exec(xml)?.[1] ?? "";
  const element = /^ {4}<memballoon model='([\w-]+)'[^>]*?(?:\/>|>([\s\S]*?)^ {4}<\/memballoon>)$/m.exec(devices);
  if (element === null) return undefined;
  const period = /^ {6}<stats period='(\d+)'\/>$/m.exec(element[2] ?? "")?.[1];
  return { model: element[1]!, periodS: Number(period ?? 0) };
}

/** The suggested command makes a guest report its memory once in this many seconds. */
const PERIOD_S = 10;

/** The findings about the guests. */
export function guestFindings(guests: readonly GuestFacts[], uri: LibvirtUri): Finding[] {
  const findings: Finding[] = [];
  const virsh = `virsh -c ${shellWord(virshUri(uri))}`;
  const add = (
    id: FindingId,
    affected: readonly GuestFacts[],
    what: (affected: string) => string,
    fix: (guest: GuestFacts, word: string) => readonly string[] = () => [],
  ): void => {
    if (affected.length === 0) return;
    const count = `${affected.length} of ${guests.length} running guest${guests.length === 1 ? "" : "s"}`;
    const named = affected.map((guest): AffectedGuest => {
      const { name, uuid, control } = guest;
      const since = control !== undefined && isBusy(control) ? { forMs: control.forMs } : {};
      return { name, uuid, ...since, fix: fix(guest, guestWord(guest)) };
    });
    findings.push(finding(id, what(count), { guests: named }));
  };

  const busy = guests.filter(({ control }) => control !== undefined && isBusy(control));
  add(
    "monitor-busy",
    busy.filter(({ control }) => control?.state === ControlState.occupied),
    (count) =>
      `The monitor of ${count} has been busy for more than ${BUSY_MS / 1_000} s: QEMU does not answer another client, ` +
      "and the records will be partial.",
    (guest, word) => [
      `${virsh} domcontrol ${word}`,
      `${psOf(guest)}  # T: stopped, kill -CONT PID; D: waits for storage`,
    ],
  );
  add(
    "monitor-job",
    busy.filter(({ control }) => control?.state === ControlState.job),
    (count) => `A job, such as a migration or a backup, runs in ${count}: the records may be partial until it ends.`,
    (_, word) => [`${virsh} domjobinfo ${word}`],
  );
  add(
    "monitor-error",
    guests.filter(({ control }) => control !== undefined && isMonitorBroken(control)),
    (count) =>
      `libvirt lost the monitor connection to QEMU in ${count}: the records will be partial until the guest is restarted.`,
    (_, word) => [`${virsh} domcontrol ${word}`, `${virsh} destroy ${word} && ${virsh} start ${word}`],
  );
  for (const [states, words, advice] of STUCK) {
    add(
      "process-stuck",
      guests.filter(({ process }) => process !== undefined && states.includes(process.state)),
      (count) => `The QEMU process of ${count} ${words}: it answers nothing, and the records will be partial.`,
      ({ process: { pid } = { pid: 0 } }) => [advice.replace("PID", `${pid}`)],
    );
  }
  const failed = guests.flatMap(({ state }) => (state !== undefined && isTrouble(state) ? [state] : []));
  for (const kind of new Set(failed.map(({ state, reason }) => `${state} (${reason})`))) {
    const storage = kind === "paused (ioerror)";
    add(
      "guest-failed",
      guests.filter(({ state }) => state !== undefined && `${state.state} (${state.reason})` === kind),
      (count) =>
        storage
          ? `A disk of ${count} failed or is full, so QEMU paused the guest: paused (I/O error).`
          : `Something failed in ${count}: its state is ${kind}.`,
      (_, word) => [
        ...(storage ? [`${virsh} domblkerror ${word}  # which disk: repair it or make room, then:`] : []),
        kind.startsWith("paused")
          ? `${virsh} resume ${word}`
          : `${virsh} domstate ${word} --reason  # read libvirt's and the guest's log before you restart it`,
      ],
    );
  }
  add(
    "balloon-period-off",
    guests.filter(({ balloon }) => balloon !== undefined && balloon.model !== "none" && balloon.periodS === 0),
    (count) =>
      `The balloon of ${count} has no statistics period: the guest does not report its memory, and about half of ` +
      "balloon.* will be missing.",
    ({ transient }, word) => [`${virsh} dommemstat ${word} --period ${PERIOD_S} --live${transient ? "" : " --config"}`],
  );
  add(
    "balloon-none",
    guests.filter(({ balloon }) => balloon?.model === "none"),
    (count) => `There is no memory balloon in ${count}: the records have only the host's memory values.`,
    (_, word) => [`${virsh} edit ${word}  # <memballoon model='virtio'><stats period='${PERIOD_S}'/></memballoon>`],
  );
  add(
    "guest-silent",
    guests.filter(({ error }) => error !== undefined && isSilence(error)),
    (count) =>
      `${count} did not answer: libvirt keeps the guest locked. Most likely the guest is being started, or is being ` +
      "destroyed and its process does not exit.",
    (guest) => [psOf(guest)],
  );
  const unreached = guests.filter(({ error, control }) =>
    // A guest that has stopped since it was listed is not a finding.
    error === undefined ? control === undefined : !isSilence(error) && !hasStopped(error),
  );
  const why = unreached.find(({ error }) => error !== undefined)?.error?.message ?? "the time was up";
  add("guest-unexamined", unreached, (count) => `The doctor could not examine ${count}: ${why}.`);
  for (const missing of new Set(guests.map(missingGroups))) {
    const names = groupNames(missing);
    const list = `${listed(names)} ${names.length === 1 ? "is" : "are"}`;
    add(
      "groups-missing",
      guests.filter((guest) => missing !== 0 && missingGroups(guest) === missing),
      (count) =>
        `${list} not supported for ${count}: this libvirt, or the QEMU that they were started with, is too old.`,
    );
  }
  return findings;
}

/**
 * For each kind of process that cannot answer: the letters of its states as ps shows them, their meaning, and what
 * helps.
 */
export const STUCK = [
  ["Tt", "is stopped (state T)", "kill -CONT PID  # unless a debugger or a backup tool has stopped it on purpose"],
  ["D", "waits for storage (state D)", "cat /proc/PID/wchan  # repair the storage first: nothing else ends this wait"],
] as const;

/**
 * The command that shows a guest's process. A uuid is unique, and has no character that grep would interpret. With the
 * brackets, the pattern does not find the grep command itself.
 */
function psOf({ uuid }: GuestFacts): string {
  return `ps -eo pid,stat,args | grep '[-]uuid ${uuid}'`;
}

/** The groups that a guest does not support, as bits; 0 if that is not known. */
function missingGroups({ groups = ALL_GROUPS }: GuestFacts): number {
  return ALL_GROUPS & ~groups;
}

/** The URI for virsh. It uses the read-write socket, because the commands change something. */
export function virshUri(uri: LibvirtUri): string {
  if (uri.transport === "unix" && uri.socket === undefined) return uri.name;
  return uri.socket?.endsWith("-ro") ? uri.uri.replace(uri.socket, uri.socket.slice(0, -"-ro".length)) : uri.uri;
}
