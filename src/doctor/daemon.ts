import { type HypervisorFacts, hasStatistics, type OpenedDaemon } from "../drivers/libvirt/daemon.ts";
import { FEATURE_EVENT_CALLBACK, FEATURE_KEEPALIVE, PROCEDURES } from "../drivers/libvirt/rpc/procedures.ts";
import type { RpcClient } from "../drivers/libvirt/rpc/rpc-client.ts";
import { sshTarget } from "../drivers/libvirt/transport/ssh-failure.ts";
import { daemonOf, restartCommand } from "../drivers/libvirt/transport/unix.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import type { VirstreamError } from "../model/error.ts";
import { type Configuration, DEFAULTS, type Setting } from "./configuration.ts";
import { type Finding, type FindingId, finding } from "./finding.ts";
import { ANSWER_MS, isSilence, type TimeLimit } from "./time-limit.ts";

/** A daemon's description of itself. */
export interface DaemonFacts {
  readonly hypervisor: HypervisorFacts;
  /**
   * True if the daemon sends keepalive messages, by which each end of a connection notices that the other end has died.
   */
  readonly keepalive: boolean;
  /** True if the daemon sends an event when a domain starts or stops. */
  readonly events: boolean;
  /** True if the hypervisor's driver has the statistics call; undefined when the daemon had no free worker. */
  readonly statistics: boolean | undefined;
}

/** How the doctor reached a daemon. */
export interface DaemonAddress {
  readonly uri: LibvirtUri;
  /** The unix socket that the doctor connected to; undefined for another transport. */
  readonly socket: string | undefined;
  readonly configuration: Configuration | undefined;
  /** True if systemd starts the daemon. */
  readonly systemd: boolean;
}

/** Opens one more connection to the daemon. */
export type OpenConnection = () => Promise<OpenedDaemon>;

/** virstream has up to four slow calls and one quick call in flight on a connection. */
const REQUESTS_NEEDED = 5;
/**
 * Calls of one virstream process to frozen guests may block 8 workers. Another 8 workers should remain for other
 * clients.
 */
const WORKERS_NEEDED = 16;

/**
 * Asks the daemon about itself. Rejects when the daemon cannot be opened or does not answer.
 *
 * @returns the daemon's answers, and the connections over which they came: two, or one if the daemon admits only one
 */
export async function examineDaemon(
  open: OpenConnection,
  timeLimit: TimeLimit,
): Promise<{ clients: RpcClient[]; daemon: DaemonFacts }> {
  const began = performance.now();
  const [{ client, facts: hypervisor }, other] = await openTwo(open, timeLimit);
  // If opening was slow, because of the network or the load, answers will be slow, too. Slow answers must not count as
  // silence.
  const answerMs = ANSWER_MS + 2 * (performance.now() - began);
  const features = Promise.all([
    client.call(PROCEDURES.supportsFeature, FEATURE_KEEPALIVE),
    client.call(PROCEDURES.supportsFeature, FEATURE_EVENT_CALLBACK),
  ]);
  const [keepalive, events] = await timeLimit.wait(features, answerMs);
  // On a connection of its own, a statistics call without an answer blocks no other call.
  const asked = hypervisor.statistics ? hasStatistics(other?.client ?? client) : Promise.resolve(false);
  const statistics = await timeLimit.wait(asked, answerMs).catch((error) => {
    if (!isSilence(error)) throw error;
    return undefined;
  });
  const clients = other === undefined ? [client] : [client, other.client];
  return { clients, daemon: { hypervisor, keepalive, events, statistics } };
}

/**
 * Opens two connections at the same time, because opening a connection takes long over a slow network. After the first
 * connection is open, the wait for the second one is short, because the daemon may admit only one.
 */
async function openTwo(open: OpenConnection, timeLimit: TimeLimit): Promise<[OpenedDaemon, OpenedDaemon?]> {
  const opened: OpenedDaemon[] = [];
  const opening = [open(), open()].map((each) => each.then((daemon) => opened.push(daemon)));
  await Promise.any(opening).catch(({ errors }: AggregateError) => Promise.reject(errors[0]));
  await timeLimit.wait(Promise.allSettled(opening)).catch(() => {});
  return opened as [OpenedDaemon, OpenedDaemon?];
}

/**
 * Makes the finding for a daemon that could not be opened, or did not answer.
 *
 * @param reached true if the transport was open, so that neither the network nor ssh is the cause
 */
export function connectionFinding(
  { uri, socket, configuration, systemd }: DaemonAddress,
  error: VirstreamError,
  reached: boolean,
): Finding {
  const silent = isSilence(error) || error.code === "connect-timeout";
  if (!silent) return finding("connection-failed", `Cannot open ${uri.uri}: ${error.message} [${error.code}]`);
  if (!reached) {
    const ssh = /ssh/.test(uri.transport);
    return finding(
      "daemon-silent",
      `${uri.uri} does not answer: ${ssh ? "ssh opened no connection to its daemon" : "no connection came about"}.`,
      {
        fix: [
          "check that the host is up, that its daemon runs, and that no firewall blocks the connection",
          ...(ssh ? [`time ssh ${sshTarget(uri)} true  # how long ssh takes without the daemon`] : []),
        ],
      },
    );
  }
  const [daemon, limit] = [daemonOf(socket ?? ""), configuration?.settings?.max_clients];
  const what =
    `The daemon accepts connections on ${socket ?? uri.uri}, but does not answer. It has just started (then try again), it is stopped, it hangs, or it has as many ` +
    `clients as it admits: max_clients${limit === undefined ? "" : ` = ${limit}`} in all, max_anonymous_clients that have ` +
    `not authenticated.${socket === undefined ? " The commands are for that host." : ""}`;
  return finding("daemon-silent", what, {
    fix: [
      `ps -o pid,stat,wchan:20,args -C ${daemon}  # T: kill -CONT PID`,
      `virt-admin srv-clients-info ${daemon}  # at a limit? srv-clients-list shows the clients`,
      restartCommand(uri, socket ?? "", { systemd }),
    ],
  });
}

/** The findings about a daemon. */
export function daemonFindings(address: DaemonAddress, daemon: DaemonFacts): Finding[] {
  const { uri, socket, configuration, systemd } = address;
  if (daemon.statistics === false) {
    const what =
      `libvirt's ${uri.driver} driver has no statistics call (virConnectGetAllDomainStats), so virstream reads only the ` +
      "state of each domain (virDomainGetState); every record is partial, with the reason unsupported.";
    return [finding("stats-unsupported", what)];
  }
  const findings: Finding[] = [];
  const add = (id: FindingId, what: string, fix: readonly string[] = []): void => {
    findings.push(finding(id, what, { fix }));
  };
  if (daemon.statistics === undefined) {
    add(
      "workers-busy",
      "The daemon answers quick calls, but no slow calls: all of its workers are busy, most likely with guests that " +
        "hang. Every record waits until a worker is free. The doctor could examine only the monitors of the guests.",
      [
        `virt-admin srv-threadpool-set ${daemonOf(socket ?? "")} --max-workers ${2 * DEFAULTS.max_workers}` +
          "  # until the daemon restarts",
      ],
    );
  }
  const settings = configuration?.settings;
  if (settings === undefined) findings.push(unknownRequests(address));
  else {
    const few = (id: FindingId, name: Setting, needed: number, why: string): void => {
      if (settings[name] >= needed) return;
      const { path } = configuration!;
      add(id, `${path} sets ${name} = ${settings[name]}, but virstream needs ${needed}: ${why}.`, [
        `sed -i '/^ *${name} *=/d' ${path}; echo '${name} = ${DEFAULTS[name]}' >>${path}`,
        restartCommand(uri, socket!, { systemd }),
      ]);
    };
    const late = "while guests hang, sweeps are late, and the daemon may close the connection";
    few("requests-few", "max_client_requests", REQUESTS_NEEDED, late);
    const blocked = "frozen guests can block 8 workers, and other clients need workers, too";
    few("workers-few", "max_workers", WORKERS_NEEDED, blocked);
  }
  if (!daemon.keepalive) {
    add("keepalive-missing", "The daemon sends no keepalive messages: virstream notices a dead connection late.");
  }
  if (!daemon.events) {
    add("events-missing", "The daemon sends no events when domains start and stop (libvirt before 1.2.4).");
  }
  return findings;
}

/** libvirt tells max_client_requests to no client, not even over its admin interface. Only the daemon's file has it. */
function unknownRequests({ uri, configuration }: DaemonAddress): Finding {
  let [why, files, where] = [
    "the configuration of another host cannot be read",
    "/etc/libvirt/*.conf",
    `on ${uri.host ?? "that host"}; `,
  ];
  if (configuration !== undefined)
    [why, files, where] = [`this user cannot read ${configuration.path}`, configuration.path, ""];
  else if (uri.transport === "unix")
    [why, where] = ["the daemon's configuration file is not known", "in the daemon's --config file, if any; "];
  const what = `max_client_requests is not known: ${why}. virstream needs ${REQUESTS_NEEDED}, which is the default.`;
  const sudo = configuration === undefined ? "" : "sudo ";
  return finding("requests-unknown", what, {
    fix: [`${sudo}grep -sw max_client_requests ${files}  # ${where}commented out or missing means ${REQUESTS_NEEDED}`],
  });
}
