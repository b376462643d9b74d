import {
  connectPath,
  explainSocket,
  installAdvice,
  type SocketPlace,
  type SocketState,
  socketCandidates,
  stateAfter,
} from "../drivers/libvirt/transport/unix.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { type Finding, finding } from "./finding.ts";
import type { TimeLimit } from "./time-limit.ts";

/** One socket that virstream would try. */
export interface SocketFact {
  readonly path: string;
  readonly state: SocketState;
  /** True if virstream uses this socket, because it is the first that accepts connections. */
  readonly used: boolean;
  /** The system's error code, if the socket accepts no connection: e.g. `EACCES`. */
  readonly error?: string;
}

const CONNECT_MS = 1_000;

/**
 * Tries to connect to every socket that a URI can mean, in virstream's order. systemd may start a daemon because of the
 * attempt, as it does for any client.
 */
export async function examineSockets(uri: LibvirtUri, place: SocketPlace, timeLimit: TimeLimit): Promise<SocketFact[]> {
  const facts: SocketFact[] = [];
  for (const path of socketCandidates(uri, place)) {
    const error = await probeSocket(path, timeLimit);
    const used = error === undefined && !facts.some((fact) => fact.used);
    if (error === undefined) facts.push({ path, state: "open", used });
    else facts.push({ path, state: stateAfter(error), used, error });
  }
  return facts;
}

const FINDINGS = [
  ["denied", "socket-denied"],
  ["dead", "socket-dead"],
  ["unusable", "connection-failed"],
] as const;

/**
 * The findings about the sockets that virstream tries before the socket that it uses. The state of later sockets does
 * not matter.
 */
export function socketFindings(facts: readonly SocketFact[], uri: LibvirtUri, place: SocketPlace): Finding[] {
  const used = facts.find((fact) => fact.used);
  const needed = used === undefined ? facts : facts.slice(0, facts.indexOf(used));
  const findings = FINDINGS.flatMap(([state, id]) => {
    const fact = needed.find((fact) => fact.state === state);
    if (fact === undefined) return [];
    const { error: code = "" } = fact;
    const { what, fix } = explainSocket(fact.path, { code, message: code }, uri, place);
    const sentence = `${what.charAt(0).toUpperCase()}${what.slice(1)}.`;
    if (used === undefined) return finding(id, sentence, { fix: [fix] });
    return finding(id, `${sentence} virstream uses ${used.path} instead.`, { fix: [fix], severity: "note" });
  });
  if (used !== undefined || findings.length > 0) return findings;
  const what = `There is no libvirt daemon for ${uri.uri}: none of its sockets exists.`;
  return [finding("socket-missing", what, { fix: [installAdvice(uri, place)] })];
}

async function probeSocket(path: string, timeLimit: TimeLimit): Promise<string | undefined> {
  try {
    const socket = await timeLimit.wait((signal) => connectPath(path, signal), CONNECT_MS);
    socket.destroy();
    return undefined;
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    return code ?? String(error);
  }
}
