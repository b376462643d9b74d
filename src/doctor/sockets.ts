import { realpathSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import {
  connectPath,
  groupAdvice,
  groupOf,
  installAdvice,
  type SocketPlace,
  socketCandidates,
  startAdvice,
} from "../drivers/libvirt/transport/unix.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { type Finding, finding } from "./finding.ts";
import type { TimeLimit } from "./time-limit.ts";

/** How a socket is: open to this process, not there, closed to this user, with nobody behind it, or none at all. */
export type SocketState = "open" | "missing" | "denied" | "dead" | "unusable";

/** One socket that virstream would try. */
export interface SocketFact {
  readonly path: string;
  readonly state: SocketState;
  /** Whether it is the one that virstream uses: the first that is open. */
  readonly used: boolean;
  /** The system's own word for why it is not open, e.g. `EACCES`. */
  readonly error?: string;
}

const CONNECT_MS = 1_000;

const STATES: Readonly<Record<string, SocketState>> = {
  ENOENT: "missing",
  ENOTDIR: "missing",
  EACCES: "denied",
  EPERM: "denied",
  ECONNREFUSED: "dead",
  // The queue of a daemon that takes no connections any more is full.
  EAGAIN: "dead",
};

/**
 * Knocks at every socket that a URI may mean, in virstream's order. As with any client, a daemon that systemd starts on
 * demand is started by that.
 */
export async function examineSockets(uri: LibvirtUri, place: SocketPlace, timeLimit: TimeLimit): Promise<SocketFact[]> {
  const facts: SocketFact[] = [];
  for (const path of distinct(socketCandidates(uri, place))) {
    const error = await knock(path, timeLimit);
    const used = error === undefined && !facts.some((fact) => fact.used);
    if (error === undefined) facts.push({ path, state: "open", used });
    else facts.push({ path, state: STATES[error] ?? "unusable", used, error });
  }
  return facts;
}

/** What is wrong with the sockets. Those behind the one that is used are not needed, and may be as they like. */
export function socketFindings(facts: readonly SocketFact[], uri: LibvirtUri, place: SocketPlace): Finding[] {
  const used = facts.findIndex((fact) => fact.used);
  const needed = used < 0 ? facts : facts.slice(0, used);
  const findings: Finding[] = [];
  const passed = used < 0 ? {} : ({ severity: "note" } as const satisfies Partial<Finding>);
  const instead = used < 0 ? "" : ` virstream uses ${facts[used]!.path} instead.`;

  const denied = needed.find(({ state }) => state === "denied");
  if (denied !== undefined) {
    const group = groupOf(denied.path);
    const whose = group === undefined ? "" : `, which is for the group ${group}`;
    const what = `There is no permission to use ${denied.path}${whose}.${instead}`;
    findings.push(finding("socket-denied", what, { mend: [groupAdvice(group)], ...passed }));
  }
  const dead = needed.find(({ state }) => state === "dead");
  if (dead !== undefined) {
    const why = dead.error === "EAGAIN" ? "the daemon takes no connections" : "nobody listens there";
    const what = `${dead.path} is there, and ${why}.${instead}`;
    const own = dirname(dead.path) === place.userFolder;
    const start = own ? installAdvice(uri, place) : startAdvice(uri, dead.path);
    findings.push(finding("socket-dead", what, { mend: [start], ...passed }));
  }
  const unusable = needed.find(({ state }) => state === "unusable");
  if (unusable !== undefined) {
    const what = `${unusable.path} cannot be used as a socket (${unusable.error}).${instead}`;
    findings.push(finding("connection-failed", what, { mend: ["correct socket= in the URI"], ...passed }));
  }
  if (used < 0 && findings.length === 0) {
    const what = `There is no libvirt daemon for ${uri.uri}: none of its sockets is there.`;
    findings.push(finding("socket-missing", what, { mend: [installAdvice(uri, place)] }));
  }
  return findings;
}

async function knock(path: string, timeLimit: TimeLimit): Promise<string | undefined> {
  const abort = new AbortController();
  try {
    const socket = await timeLimit.wait(connectPath(path, abort.signal), CONNECT_MS);
    socket.destroy();
    return undefined;
  } catch (error) {
    abort.abort(error);
    timeLimit.signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    return code ?? String(error);
  }
}

/** /var/run is /run on most machines: each socket once, by the first of its names. */
function distinct(paths: readonly string[]): string[] {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const real = join(realFolder(dirname(path)), basename(path));
    if (!seen.has(real)) seen.set(real, path);
  }
  return [...seen.values()];
}

function realFolder(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    const above = dirname(folder);
    return above === folder ? folder : join(realFolder(above), basename(folder));
  }
}
