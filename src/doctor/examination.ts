import { dialDaemon } from "../drivers/libvirt/dial.ts";
import type { HypervisorFacts } from "../drivers/libvirt/rpc/handshake.ts";
import { FEATURE_EVENT_CALLBACK, FEATURE_KEEPALIVE, PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import { type OpenTransport, openTransport } from "../drivers/libvirt/transport/transport.ts";
import { daemonOf, type SocketPlace, socketPlace } from "../drivers/libvirt/transport/unix.ts";
import { type LibvirtUri, parseLibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { VirstreamError } from "../model/error.ts";
import { type Group, groupNames } from "../model/group.ts";
import { NIL_UUID } from "../model/uuid.ts";
import { type Configuration, type ConfigurationPlace, configurationPlace, readConfiguration } from "./configuration.ts";
import { daemonFindings, restartAdvice } from "./daemon-findings.ts";
import { type Finding, finding } from "./finding.ts";
import { guestFindings } from "./guest-findings.ts";
import { examineGuests, findShutOff, type GuestFacts, listRunning, supportedGroups } from "./guests.ts";
import { measureRequestLimit, type RequestLimit } from "./request-limit.ts";
import { examineSockets, type SocketFact, socketFindings } from "./sockets.ts";
import { isSilence, TimeLimit } from "./time-limit.ts";

/** What the doctor found out about one URI. What it could not find out is undefined, and a finding says why. */
export interface Examination {
  readonly uri: string;
  /** Every socket that virstream would try, in its order; none for other transports. */
  readonly sockets: readonly SocketFact[];
  /** Who answers there. */
  readonly hypervisor: HypervisorFacts | undefined;
  /** Whether the daemon notices that a connection is dead, and tells that it lives. */
  readonly keepalive: boolean | undefined;
  /** Whether the daemon tells when domains start and stop. */
  readonly events: boolean | undefined;
  /** Whether the hypervisor's driver has the statistics call; undefined when all workers for slow calls were busy. */
  readonly statistics: boolean | undefined;
  readonly requests: RequestLimit | undefined;
  readonly configuration: Configuration | undefined;
  /** The groups that are supported for every running guest; where none runs, those that need nothing of QEMU. */
  readonly groups: readonly Group[] | undefined;
  /** How many guests run, and of how many everything was found out. */
  readonly guests: { readonly running: number; readonly examined: number } | undefined;
  readonly findings: readonly Finding[];
}

/** How to examine; everything has a default. */
export interface ExamineOptions {
  /** Ends it early, with the signal's reason. */
  readonly signal?: AbortSignal;
  /** What all of it may take, in ms. Default 8,000. */
  readonly patienceMs?: number;
  /** Where sockets are looked for. */
  readonly place?: SocketPlace;
  /** Where the daemon's configuration is looked for. */
  readonly configuration?: ConfigurationPlace;
  /** How to reach the daemon. */
  readonly transports?: OpenTransport;
}

const PATIENCE_MS = 8_000;
const CONNECT_MS = 3_000;
const ANSWER_MS = 2_000;
/** Connections for the guests. As many calls at most are left behind in a daemon that does not answer them. */
const LANES = 2;

/**
 * Examines a libvirt host: its sockets, its daemon, its running guests. It changes nothing, asks no guest's monitor, and
 * ends in time whatever does not answer; that is a finding, and no error.
 *
 * @param text a libvirt URI
 * @throws VirstreamError `invalid-uri`, or the signal's reason
 */
export async function examine(text: string, options: ExamineOptions = {}): Promise<Examination> {
  const uri = parseLibvirtUri(text);
  const place = options.place ?? socketPlace();
  const timeLimit = new TimeLimit(options.patienceMs ?? PATIENCE_MS, options.signal ?? new AbortController().signal);
  const sockets = uri.transport === "unix" ? await examineSockets(uri, place, timeLimit) : [];
  const findings = uri.transport === "unix" ? socketFindings(sockets, uri, place) : [];
  const unknown: Examination = {
    uri: uri.uri,
    sockets,
    hypervisor: undefined,
    keepalive: undefined,
    events: undefined,
    statistics: undefined,
    requests: undefined,
    configuration: undefined,
    groups: undefined,
    guests: undefined,
    findings,
  };
  const used = sockets.find((socket) => socket.used)?.path;
  if (uri.transport === "unix" && used === undefined) return unknown;
  const configuration =
    used === undefined
      ? undefined
      : await readConfiguration(used, place, options.configuration ?? configurationPlace());

  const transports = options.transports ?? openTransport;
  const clients: RpcClient[] = [];
  const dial: Dial = async () => {
    const opened = await dialDaemon({ uri, transports, timeoutMs: timeLimit.atMost(CONNECT_MS) }, options.signal);
    clients.push(opened.client);
    return opened;
  };
  try {
    const daemon = await examineDaemon(uri, used, dial, timeLimit);
    if ("failed" in daemon) return { ...unknown, configuration, findings: [...findings, daemon.failed] };
    const { client, ...facts } = daemon;
    findings.push(...daemonFindings({ ...facts, configuration, uri, socket: used }));
    if (facts.statistics === false) return { ...unknown, ...facts, configuration, findings };
    const found = await examineDomains(uri, facts, client, dial, timeLimit);
    return { ...unknown, ...facts, configuration, ...found, findings: [...findings, ...found.findings] };
  } finally {
    await Promise.all(clients.map((client) => client.close()));
  }
}

type Dial = () => Promise<{ client: RpcClient; facts: HypervisorFacts }>;
type DaemonFacts = Pick<Examination, "keepalive" | "events" | "requests" | "statistics"> & {
  readonly hypervisor: HypervisorFacts;
};

async function examineDaemon(
  uri: LibvirtUri,
  socket: string | undefined,
  dial: Dial,
  timeLimit: TimeLimit,
): Promise<(DaemonFacts & { client: RpcClient }) | { failed: Finding }> {
  try {
    const { client, facts } = await dial();
    const features = Promise.all(
      [FEATURE_KEEPALIVE, FEATURE_EVENT_CALLBACK].map((feature) => client.call(PROCEDURES.supportsFeature, feature)),
    );
    const [keepalive, events] = await timeLimit.wait(features, ANSWER_MS);
    // A connection of its own, where a call that is not answered is in nobody's way.
    const probe = (await dial().catch(() => undefined))?.client ?? client;
    const statistics = await hasStatistics(probe, timeLimit);
    const requests = statistics ? await measureRequestLimit(probe, timeLimit) : undefined;
    return { client, hypervisor: facts, keepalive, events, statistics, requests };
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    return { failed: connectionFinding(uri, socket, VirstreamError.from(error)) };
  }
}

/** Asks for the statistics of a domain that does not exist; undefined when that is not answered. */
async function hasStatistics(client: RpcClient, timeLimit: TimeLimit): Promise<boolean | undefined> {
  const asked = client.call(PROCEDURES.stats, { uuids: [NIL_UUID], groups: 1, flags: 0 });
  try {
    await timeLimit.wait(asked, ANSWER_MS);
    return true;
  } catch (error) {
    if (VirstreamError.from(error).code === "unsupported") return false;
    if (isSilence(error)) return undefined;
    throw error;
  }
}

function connectionFinding(uri: LibvirtUri, socket: string | undefined, error: VirstreamError): Finding {
  const silent = isSilence(error) || error.code === "connect-timeout";
  if (!silent) return finding("connection-failed", `${uri.uri} cannot be opened: ${error.message} [${error.code}]`);
  if (socket === undefined) {
    return finding("daemon-silent", `${uri.uri} does not answer.`, {
      mend: ["make sure that the host is up, that its daemon runs, and that no firewall stands between"],
    });
  }
  const daemon = daemonOf(socket);
  return finding("daemon-silent", `${socket} is open, and the daemon behind it does not answer.`, {
    mend: [`ps -o pid,stat,wchan:20,args -C ${daemon}  # T: kill -CONT PID`, restartAdvice(uri, socket)],
  });
}

async function examineDomains(
  uri: LibvirtUri,
  { hypervisor: { hypervisor }, statistics }: DaemonFacts,
  client: RpcClient,
  dial: Dial,
  timeLimit: TimeLimit,
): Promise<Pick<Examination, "groups" | "guests" | "findings">> {
  let running: GuestFacts[];
  try {
    running = await listRunning(client, timeLimit);
  } catch (error) {
    timeLimit.signal.throwIfAborted();
    return { groups: undefined, guests: undefined, findings: [listingFinding(VirstreamError.from(error))] };
  }
  // Other drivers have no monitors and no balloons; what their statistics call would do with a guest is not known.
  if (hypervisor !== "qemu") {
    return { groups: undefined, guests: { running: running.length, examined: 0 }, findings: [] };
  }
  if (running.length === 0 && statistics)
    return { ...(await examineWithoutGuests(client, timeLimit)), guests: NO_GUESTS };

  const lanes = [client];
  while (lanes.length < Math.min(LANES, running.length)) {
    const opened = await dial().catch(() => undefined);
    if (opened === undefined) break;
    lanes.push(opened.client);
  }
  const guests = await examineGuests(lanes, running, statistics ? "everything" : "monitors", timeLimit);
  const masks = guests.flatMap(({ groups }) => groups ?? []);
  return {
    groups: masks.length === 0 ? undefined : groupNames(masks.reduce((all, mask) => (all & mask) >>> 0)),
    guests: { running: running.length, examined: statistics ? guests.filter(isExamined).length : 0 },
    findings: guestFindings(guests, uri),
  };
}

const NO_GUESTS = { running: 0, examined: 0 };

function isExamined({ control, error }: GuestFacts): boolean {
  return control !== undefined && error === undefined;
}

function listingFinding(error: VirstreamError): Finding {
  if (!isSilence(error)) return finding("connection-failed", `The daemon does not list its domains: ${error.message}`);
  const what =
    "The daemon answers, and does not list its domains: a guest holds its own lock. Most likely it is being destroyed " +
    "and does not die. Sweeps wait for the listing, too, or use the one before.";
  return finding("listing-silent", what, { mend: ["ps -eo pid,stat,args | grep '[q]emu.*guest='  # D or T"] });
}

/** Where no guest runs, one that is shut off tells which groups libvirt itself has. */
async function examineWithoutGuests(
  client: RpcClient,
  timeLimit: TimeLimit,
): Promise<Pick<Examination, "groups" | "findings">> {
  const mask = await findShutOff(client, timeLimit)
    .then((domain) => (domain === undefined ? undefined : supportedGroups(client, domain.uuid, timeLimit)))
    .catch(() => undefined);
  timeLimit.signal.throwIfAborted();
  const what =
    mask === undefined
      ? "No guest runs, so it cannot be known which groups are supported: that is decided for each guest."
      : "No guest runs. iothread, dirtyrate and vm depend on the QEMU of a running guest, and cannot be known.";
  return { groups: mask === undefined ? undefined : groupNames(mask), findings: [finding("groups-unknown", what)] };
}
