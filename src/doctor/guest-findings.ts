import { ControlState } from "../drivers/libvirt/rpc/procedures.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { GROUPS, type Group, groupNames } from "../model/group.ts";
import { type AffectedGuest, type Finding, type FindingId, finding } from "./finding.ts";
import { BUSY_MS, type GuestFacts, isBusy } from "./guests.ts";
import { isSilence } from "./time-limit.ts";

/** How often a guest reports its memory after the suggested command, in seconds. */
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
    findings.push(finding(id, what(count), { guests: affected.map((guest) => affectedGuest(guest, fix)) }));
  };

  const busy = guests.filter(({ control }) => control !== undefined && isBusy(control));
  add(
    "monitor-busy",
    busy.filter(({ control }) => control?.state === ControlState.occupied),
    (count) =>
      `The monitor of ${count} has been busy for more than ${BUSY_MS / 1_000} s: QEMU does not answer another client, ` +
      "and the records will be partial.",
    ({ name }, word) => [
      `${virsh} domcontrol ${word}`,
      `ps -eo pid,stat,args | grep ${shellWord(`[g]uest=${name}`)}  # T: stopped, kill -CONT PID; D: waits for storage`,
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
    guests.filter(({ control }) => control?.state === ControlState.error),
    (count) =>
      `libvirt lost the monitor connection to QEMU in ${count}: the records will be partial until the guest is restarted.`,
    (_, word) => [`${virsh} domcontrol ${word}`, `${virsh} destroy ${word} && ${virsh} start ${word}`],
  );
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
    ({ name }) => [`ps -eo pid,stat,args | grep ${shellWord(`[g]uest=${name}`)}`],
  );
  const unreached = guests.filter(({ error, control }) =>
    error === undefined ? control === undefined : !isSilence(error) && !isGone(error.libvirt),
  );
  const why = unreached.find(({ error }) => error !== undefined)?.error?.message ?? "the time was up";
  add("guest-unexamined", unreached, (count) => `The doctor could not examine ${count}: ${why}.`);
  return [...findings, ...groupFindings(guests)];
}

/** The groups that some guests do not support. */
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
        `${guests.length} running guests: this libvirt, or the QEMU that they were started with, is too old.`,
      { guests: affected.map((guest) => affectedGuest(guest, () => [])) },
    ),
  );
}

const EVERY_GROUP = 2 ** GROUPS.length - 1;
/** VIR_ERR_NO_DOMAIN. */
const NO_DOMAIN = 42;

/** A guest that has stopped since it was listed is no finding. */
function isGone(libvirt: { readonly code: number } | undefined): boolean {
  return libvirt?.code === NO_DOMAIN;
}

function affectedGuest(guest: GuestFacts, fix: (guest: GuestFacts, word: string) => readonly string[]): AffectedGuest {
  const { name, uuid, control } = guest;
  // virsh would take a name that begins with a dash for an option.
  const word = name.startsWith("-") ? uuid : shellWord(name);
  const since = control !== undefined && isBusy(control) ? { forMs: control.forMs } : {};
  return { name, uuid, ...since, fix: fix(guest, word) };
}

/** The groups as a list in English. */
function names(groups: readonly Group[]): string {
  return groups.length < 2 ? groups.join("") : `${groups.slice(0, -1).join(", ")} and ${groups.at(-1)}`;
}

/** The URI for virsh, by the read-write socket: the commands change something. */
function virshUri(uri: LibvirtUri): string {
  if (uri.transport === "unix" && uri.socket === undefined) return uri.name;
  return uri.socket?.endsWith("-ro") ? uri.uri.replace(uri.socket, uri.socket.slice(0, -"-ro".length)) : uri.uri;
}

/** Quotes a text as one word of a shell command. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
