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
import { type Finding, type FindingId, finding } from "./finding.ts";
import type { TimeLimit } from "./time-limit.ts";

/**
 * The state of a socket. `denied`: this user has no permission. `dead`: the file exists, but no daemon accepts
 * connections. `unusable`: any other error.
 */
export type SocketState = "open" | "missing" | "denied" | "dead" | "unusable";

/** One socket that virstream would try. */
export interface SocketFact {
  readonly path: string;
  readonly state: SocketState;
  /** Whether virstream uses it: it is the first open one. */
  readonly used: boolean;
  /** The system's error code, if it is not open: e.g. `EACCES`. */
  readonly error?: string;
}

const CONNECT_MS = 1_000;

const STATES: Readonly<Record<string, SocketState>> = {
  ENOENT: "missing",
  ENOTDIR: "missing",
  EACCES: "denied",
  EPERM: "denied",
  ECONNREFUSED: "dead",
  // The daemon no longer accepts connections, and its backlog is full.
  EAGAIN: "dead",
};

/**
 * Tries to connect to every socket that a URI can mean, in virstream's order. systemd may start a daemon because of that,
 * as it does for any client.
 */
export async function examineSockets(uri: LibvirtUri, place: SocketPlace, timeLimit: TimeLimit): Promise<SocketFact[]> {
  const facts: SocketFact[] = [];
  for (const path of distinct(socketCandidates(uri, place))) {
    const error = await probeSocket(path, timeLimit);
    const used = error === undefined && !facts.some((fact) => fact.used);
    if (error === undefined) facts.push({ path, state: "open", used });
    else facts.push({ path, state: STATES[error] ?? "unusable", used, error });
  }
  return facts;
}

/** The findings about the sockets before the one that is used. The state of later ones does not matter. */
export function socketFindings(facts: readonly SocketFact[], uri: LibvirtUri, place: SocketPlace): Finding[] {
  const used = facts.findIndex((fact) => fact.used);
  const needed = used < 0 ? facts : facts.slice(0, used);
  const findings: Finding[] = [];
  const instead = used < 0 ? "" : ` virstream uses ${facts[used]!.path} instead.`;
  const add = (state: SocketState, id: FindingId, of: (fact: SocketFact) => [what: string, fix: string]): void => {
    const fact = needed.find((fact) => fact.state === state);
    if (fact === undefined) return;
    const [what, fix] = of(fact);
    findings.push(finding(id, what + instead, { fix: [fix], ...(used < 0 ? {} : { severity: "note" }) }));
  };

  add("denied", "socket-denied", ({ path }) => {
    const group = groupOf(path);
    const whose = group === undefined ? "" : `, which belongs to the group ${group}`;
    return [`This user has no permission to use ${path}${whose}.`, groupAdvice(group)];
  });
  add("dead", "socket-dead", ({ path, error }) => {
    const why = error === "EAGAIN" ? "the daemon accepts no connections" : "no daemon listens on it";
    const own = dirname(path) === place.userFolder;
    return [`${path} exists, but ${why}.`, own ? installAdvice(uri, place) : startAdvice(uri, path)];
  });
  add("unusable", "connection-failed", ({ path, error }) => [
    `${path} cannot be used as a socket (${error}).`,
    "correct socket= in the URI",
  ]);
  if (used < 0 && findings.length === 0) {
    const what = `There is no libvirt daemon for ${uri.uri}: none of its sockets exists.`;
    findings.push(finding("socket-missing", what, { fix: [installAdvice(uri, place)] }));
  }
  return findings;
}

async function probeSocket(path: string, timeLimit: TimeLimit): Promise<string | undefined> {
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

/** Removes duplicates: on most machines /var/run is a link to /run. */
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
