import { ControlState } from "../drivers/libvirt/rpc/procedures.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { GROUPS, type Group, groupNames } from "../model/group.ts";
import { type AffectedGuest, type Finding, type FindingId, finding } from "./finding.ts";
import { BUSY_MS, type GuestFacts, isBusy } from "./guests.ts";
import { isSilence } from "./time-limit.ts";

/** A guest's memory is reported as often as this, in seconds, when the advice is followed. */
const PERIOD_S = 10;

/** What is wrong with the guests, by what was found out about them. Pure. */
export function guestFindings(guests: readonly GuestFacts[], uri: LibvirtUri): Finding[] {
  const findings: Finding[] = [];
  const virsh = `virsh -c ${shellWord(virshUri(uri))}`;
  const add = (
    id: FindingId,
    affected: readonly GuestFacts[],
    what: (affected: string) => string,
    mend: (guest: GuestFacts, word: string) => readonly string[] = () => [],
    general: readonly string[] = [],
  ): void => {
    if (affected.length === 0) return;
    const count = `${affected.length} of ${guests.length} running guest${guests.length === 1 ? "" : "s"}`;
    findings.push(
      finding(id, what(count), { mend: general, guests: affected.map((guest) => affectedGuest(guest, mend)) }),
    );
  };

  const busy = guests.filter(({ control }) => control !== undefined && isBusy(control));
  add(
    "monitor-busy",
    busy.filter(({ control }) => control?.state === ControlState.occupied),
    (count) =>
      `The monitor of ${count} has been busy for more than ${BUSY_MS / 1_000} s: QEMU does not answer, and the records ` +
      "will be partial.",
    ({ name }, word) => [
      `${virsh} domcontrol ${word}`,
      `ps -eo pid,stat,args | grep ${shellWord(`[g]uest=${name}`)}  # T: kill -CONT PID; D: its storage hangs`,
    ],
  );
  add(
    "monitor-job",
    busy.filter(({ control }) => control?.state === ControlState.job),
    (count) => `A job, as a migration or a backup, goes on in ${count}: the records may be partial until it ends.`,
    (_, word) => [`${virsh} domjobinfo ${word}`],
  );
  add(
    "monitor-error",
    guests.filter(({ control }) => control?.state === ControlState.error),
    (count) =>
      `The monitor of ${count} is broken: libvirt cannot talk to QEMU, and the records will be partial until a restart.`,
    (_, word) => [`${virsh} domcontrol ${word}`, `${virsh} destroy ${word} && ${virsh} start ${word}`],
  );
  add(
    "balloon-period-off",
    guests.filter(({ balloon }) => balloon !== undefined && balloon.model !== "none" && balloon.periodS === 0),
    (count) =>
      `Memory is not reported by ${count}: the balloon's statistics period is off, and about half of balloon.* will be ` +
      "missing.",
    ({ transient }, word) => [`${virsh} dommemstat ${word} --period ${PERIOD_S} --live${transient ? "" : " --config"}`],
  );
  add(
    "balloon-none",
    guests.filter(({ balloon }) => balloon?.model === "none"),
    (count) => `There is no memory balloon in ${count}: only what the host knows of the memory will be there.`,
    (_, word) => [`${virsh} edit ${word}  # <memballoon model='virtio'><stats period='${PERIOD_S}'/></memballoon>`],
  );
  add(
    "guest-silent",
    guests.filter(({ error }) => error !== undefined && isSilence(error)),
    (count) =>
      `The lock of ${count} is held: libvirt did not answer a question that needs no QEMU. Most likely the guest is ` +
      "being started, or is being destroyed and does not die.",
    ({ name }) => [`ps -eo pid,stat,args | grep ${shellWord(`[g]uest=${name}`)}`],
  );
  const unreached = guests.filter(({ error, control }) =>
    error === undefined ? control === undefined : !isSilence(error) && !isGone(error.libvirt),
  );
  const why = unreached.find(({ error }) => error !== undefined)?.error?.message ?? "there was no more time";
  add("guest-unexamined", unreached, (count) => `Little is known of ${count}: ${why}.`);
  return [...findings, ...groupFindings(guests)];
}

/** Which groups some guest's QEMU does not have. */
function groupFindings(guests: readonly GuestFacts[]): Finding[] {
  const byMissing = new Map<number, GuestFacts[]>();
  for (const guest of guests) {
    if (guest.groups === undefined) continue;
    const missing = EVERY_GROUP & ~guest.groups;
    if (missing !== 0) byMissing.set(missing, [...(byMissing.get(missing) ?? []), guest]);
  }
  return [...byMissing].map(([missing, affected]) =>
    finding(
      "groups-missing",
      `${names(groupNames(missing))} ${missing & (missing - 1) ? "are" : "is"} not supported for ${affected.length} of ` +
        `${guests.length} running guests: this libvirt, or the QEMU that they were started with, is too old for it.`,
      { guests: affected.map((guest) => affectedGuest(guest, () => [])) },
    ),
  );
}

const EVERY_GROUP = 2 ** GROUPS.length - 1;
/** VIR_ERR_NO_DOMAIN. */
const NO_DOMAIN = 42;

/** A guest that ended in the meantime needs nothing. */
function isGone(libvirt: { readonly code: number } | undefined): boolean {
  return libvirt?.code === NO_DOMAIN;
}

function affectedGuest(guest: GuestFacts, mend: (guest: GuestFacts, word: string) => readonly string[]): AffectedGuest {
  const { name, uuid, control } = guest;
  // A name that begins with a dash would be taken for an option.
  const word = name.startsWith("-") ? uuid : shellWord(name);
  const since = control !== undefined && isBusy(control) ? { forMs: control.forMs } : {};
  return { name, uuid, ...since, mend: mend(guest, word) };
}

/** The groups, in words. */
function names(groups: readonly Group[]): string {
  return groups.length < 2 ? groups.join("") : `${groups.slice(0, -1).join(", ")} and ${groups.at(-1)}`;
}

/** The URI for virsh: a read-only socket is of no use to those who want to change something. */
function virshUri(uri: LibvirtUri): string {
  if (uri.transport === "unix" && uri.socket === undefined) return uri.name;
  return uri.socket?.endsWith("-ro") ? uri.uri.replace(uri.socket, uri.socket.slice(0, -"-ro".length)) : uri.uri;
}

/** A text as one word of a shell command. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
