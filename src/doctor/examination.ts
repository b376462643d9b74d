import { connectDaemon, type OpenTransport, openTransport } from "../drivers/libvirt/daemon.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import { type SocketPlace, socketPlace } from "../drivers/libvirt/transport/unix.ts";
import { type LibvirtUri, parseLibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../model/error.ts";
import { type Group, groupNames } from "../model/group.ts";
import { shellWord } from "../overview/shell-word.ts";
import { type Configuration, type ConfigurationPlace, configurationPlace, readConfiguration } from "./configuration.ts";
import { connectionFinding, type DaemonFacts, daemonFindings, examineDaemon, type OpenConnection } from "./daemon.ts";
import { type Finding, finding } from "./finding.ts";
import { examineGuests, findShutOff, type GuestFacts, guestFindings, listRunning, supportedGroups } from "./guests.ts";
import { type GuestProcess, guestProcesses } from "./processes.ts";
import { examineSockets, type SocketFact, socketFindings } from "./sockets.ts";
import { failedFindings, findFailed } from "./stopped-guests.ts";
import { isSilence, TimeLimit } from "./time-limit.ts";

/**
 * The facts and findings about the host of one URI. A fact that the examination could not find out is left out, and a
 * finding says why.
 */
export interface Examination extends Partial<DaemonFacts> {
  readonly uri: string;
  /** Every unix socket that virstream would try, in the order of its attempts; empty for other transports. */
  readonly sockets: readonly SocketFact[];
  readonly configuration?: Configuration | undefined;
  /** The groups that every running guest supports. If no guest runs: the groups that depend only on libvirt. */
  readonly groups?: readonly Group[] | undefined;
  /** How many guests run, and how many of them were examined completely. */
  readonly guests?: { readonly running: number; readonly examined: number };
  readonly findings: readonly Finding[];
}

/** The options of an examination. Every member has a default. */
export interface ExamineOptions {
  /** Ends the examination early, with the signal's reason. */
  readonly signal?: AbortSignal;
  /** The longest time that the whole examination may take, in ms. Default 8,000. */
  readonly timeoutMs?: number;
  /** The folders to look for sockets in. Default: the usual folders of this machine and user. */
  readonly place?: SocketPlace;
  /** The folders to look for the daemon's configuration in. Default: those that libvirt's daemons use by default. */
  readonly configuration?: ConfigurationPlace;
  /** Opens the stream to the daemon. Default: over any transport that virstream has. */
  readonly transports?: OpenTransport;
}

const TIMEOUT_MS = 8_000;
const PROCESSES_MS = 2_000;

/**
 * Examines a libvirt host: its sockets, its daemon and its running guests. It changes nothing and asks no guest's
 * monitor. When something does not answer, the examination still ends within its time limit, with a finding instead of
 * an error.
 *
 * @param text a libvirt URI
 * @throws VirstreamError `invalid-uri`, or the signal's reason
 */
export async function examine(text: string, options: ExamineOptions = {}): Promise<Examination> {
  const uri = parseLibvirtUri(text);
  const place = options.place ?? socketPlace();
  const timeLimit = new TimeLimit(options.timeoutMs ?? TIMEOUT_MS, options.signal ?? new AbortController().signal);
  const sockets = uri.transport === "unix" ? await examineSockets(uri, place, timeLimit) : [];
  const findings = uri.transport === "unix" ? socketFindings(sockets, uri, place) : [];
  const socket = sockets.find(({ used }) => used)?.path;
  if (uri.transport === "unix" && socket === undefined) return { uri: uri.uri, sockets, findings };
  const configuration =
    socket === undefined
      ? undefined
      : await readConfiguration(socket, place, options.configuration ?? configurationPlace());
  const seen = { uri: uri.uri, sockets, configuration };
  // For another host it is not known whether systemd starts the daemon. The doctor assumes that it does.
  const address = { uri, socket, configuration, systemd: socket === undefined || place.systemd };

  const opened: RpcClient[] = [];
  const ended = new AbortController();
  const signal = AbortSignal.any([timeLimit.signal, ended.signal]);
  let reached = false;
  const open: OpenConnection = async () => {
    const transports: OpenTransport = async (...args) => {
      const stream = await (options.transports ?? openTransport)(...args);
      reached = true;
      return stream;
    };
    // Without a connection there is nothing else to examine, so connecting may take all of the time.
    const timeoutMs = timeLimit.atMost(Number.POSITIVE_INFINITY);
    const daemon = await connectDaemon({ uri, transports, timeoutMs }, signal);
    opened.push(daemon.client);
    return daemon;
  };
  try {
    const answer = await examineDaemon(open, timeLimit).catch((error) => {
      timeLimit.signal.throwIfAborted();
      return connectionFinding(address, VirstreamError.from(error), reached);
    });
    if (!("daemon" in answer)) return { ...seen, findings: [...findings, answer] };
    const { clients, daemon } = answer;
    findings.push(...daemonFindings(address, daemon));
    if (daemon.statistics === false) return { ...seen, ...daemon, findings };
    const domains = await examineDomains(uri, daemon, clients, timeLimit);
    return { ...seen, ...daemon, ...domains, findings: [...findings, ...domains.findings] };
  } finally {
    ended.abort();
    await Promise.all(opened.map((client) => client.close()));
  }
}

/**
 * Examines the QEMU daemons of this machine: the system's and, for a user who is not root, the user's own. One of them
 * is enough: if one daemon exists, the finding that the other one is missing is only a note.
 */
export async function examineLocal(options: ExamineOptions = {}): Promise<Examination[]> {
  const { uid } = options.place ?? socketPlace();
  const uris = uid === 0 ? ["qemu:///system"] : ["qemu:///system", "qemu:///session"];
  const examinations = await Promise.all(uris.map((uri) => examine(uri, options)));
  const isMissing = ({ id }: Finding) => id === "socket-missing";
  if (examinations.every(({ findings }) => findings.some(isMissing))) return examinations;
  const downgrade = (it: Finding): Finding => (isMissing(it) ? { ...it, severity: "note" } : it);
  return examinations.map((examination) => ({ ...examination, findings: examination.findings.map(downgrade) }));
}

type DomainFacts = Pick<Examination, "groups" | "guests" | "findings">;

async function examineDomains(
  uri: LibvirtUri,
  { hypervisor: { hypervisor }, statistics }: DaemonFacts,
  clients: readonly RpcClient[],
  timeLimit: TimeLimit,
): Promise<DomainFacts> {
  const [client] = clients as [RpcClient];
  let running: GuestFacts[];
  try {
    running = await listRunning(client, timeLimit);
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    return { findings: [listingFinding(VirstreamError.from(error))] };
  }
  // Only QEMU's guests are examined. libvirt's other drivers have no monitors and no balloons, and their statistics
  // call may block on a guest.
  if (hypervisor !== "qemu") return { guests: { running: running.length, examined: 0 }, findings: [] };
  const failed = statistics ? failedFindings(await findFailed(client, timeLimit), uri) : [];
  if (running.length === 0 && statistics) return examineWithoutGuests(client, failed, timeLimit);

  const processes =
    uri.transport === "unix" ? await timeLimit.wait(guestProcesses(), PROCESSES_MS).catch(() => NONE) : NONE;
  timeLimit.signal.throwIfAborted();
  const facts = await examineGuests(clients, running, statistics ? "everything" : "monitors", timeLimit);
  const guests = facts.map((guest) => ({ ...guest, process: processes.get(guest.uuid) }));
  const findings = [...guestFindings(guests, uri), ...failed];
  const unseen = guests.filter(({ process }) => process === undefined).length;
  if (unseen > 0) findings.push(unaskedFinding(uri, unseen, running.length));
  const masks = guests.flatMap(({ groups }) => groups ?? []);
  const examined = guests.filter(({ control, error }) => control !== undefined && error === undefined);
  return {
    groups: masks.length === 0 ? undefined : groupNames(masks.reduce((all, mask) => (all & mask) >>> 0)),
    guests: { running: running.length, examined: statistics ? examined.length : 0 },
    findings,
  };
}

const NONE: ReadonlyMap<string, GuestProcess> = new Map();

function unaskedFinding({ uri }: LibvirtUri, unseen: number, running: number): Finding {
  const what =
    `The doctor asked no guest, and cannot see the QEMU processes of ${unseen} of ${running} running ` +
    `guest${running === 1 ? "" : "s"}: a guest that hangs is found only once a client has waited for it.`;
  return finding("guests-unasked", what, {
    fix: [`virstream get ${shellWord(uri)}  # asks each guest, in bounded time`],
  });
}

function listingFinding(error: VirstreamError): Finding {
  if (!isSilence(error)) {
    return finding("connection-failed", `The daemon cannot list its domains: ${error.message} [${error.code}]`);
  }
  const what =
    "The daemon answers, but does not list its domains, because one guest is locked. Most likely that guest is being " +
    "destroyed and its process does not exit. Sweeps wait for the list as well, or use the previous one.";
  return finding("listing-silent", what, { fix: ["ps -eo pid,stat,args | grep '[q]emu.*guest='  # D or T"] });
}

/** If no guest runs, a shut-off domain shows which groups libvirt itself supports. */
async function examineWithoutGuests(
  client: RpcClient,
  failed: readonly Finding[],
  timeLimit: TimeLimit,
): Promise<DomainFacts> {
  const mask = await findShutOff(client, timeLimit)
    .then((domain) =>
      domain === undefined
        ? undefined
        : supportedGroups(client, domain.uuid, timeLimit, timeLimit.atMost(Number.POSITIVE_INFINITY)),
    )
    .catch(() => undefined);
  timeLimit.signal.throwIfAborted();
  const what =
    mask === undefined
      ? "No guest runs. The supported groups are not known, because they depend on the guest."
      : "No guest runs. Whether iothread, dirtyrate and vm are supported is not known, because that depends on the QEMU " +
        "of a running guest.";
  return {
    groups: mask === undefined ? undefined : groupNames(mask),
    guests: { running: 0, examined: 0 },
    findings: [...failed, finding("groups-unknown", what)],
  };
}
