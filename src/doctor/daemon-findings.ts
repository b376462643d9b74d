import { daemonOf } from "../drivers/libvirt/transport/unix.ts";
import type { LibvirtUri } from "../drivers/libvirt/transport/uri.ts";
import { type Configuration, DEFAULTS, type Setting } from "./configuration.ts";
import type { Examination } from "./examination.ts";
import { type Finding, finding } from "./finding.ts";
import { REQUESTS_NEEDED } from "./request-limit.ts";

/** As many workers as frozen guests may hold of one virstream connection, and as many for everyone else. */
const WORKERS_NEEDED = 16;

/** What is known of a daemon. */
export interface DaemonExamination extends Pick<Examination, "keepalive" | "events" | "statistics" | "requests"> {
  readonly uri: LibvirtUri;
  readonly configuration: Configuration | undefined;
  /** The unix socket that it was reached by. */
  readonly socket: string | undefined;
}

/** What is wrong with a daemon. Pure. */
export function daemonFindings(daemon: DaemonExamination): Finding[] {
  const { uri, requests, keepalive, events, statistics, configuration } = daemon;
  const findings: Finding[] = [];
  if (statistics === false) {
    const what = `libvirt's ${uri.driver} driver has no statistics call (virConnectGetAllDomainStats): there is nothing to read.`;
    findings.push(finding("stats-unsupported", what));
  } else if (statistics === undefined) {
    const server = daemonOf(daemon.socket ?? "");
    const what =
      "The daemon answers quick calls, and no slow ones: all of its workers are busy, most likely with guests that hang. " +
      "Every record waits for them. Of the guests, only the monitors were looked at.";
    const mend = [
      `virt-admin srv-threadpool-set ${server} --max-workers ${2 * DEFAULTS.max_workers}  # until it restarts`,
    ];
    findings.push(finding("workers-busy", what, { mend }));
  } else if (requests === undefined) {
    const what = "How many requests of one connection the daemon works on at a time could not be seen.";
    findings.push(finding("requests-unclear", what));
  } else if (requests.atLeast < REQUESTS_NEEDED) {
    // Over a network the slow calls may have ended before the quick one has come.
    const sure = requests.sure && uri.transport === "unix";
    const mend = setting(daemon, "max_client_requests", DEFAULTS.max_client_requests);
    const seen = `The daemon was seen to work on ${requests.atLeast} requests of one connection at a time`;
    findings.push(
      sure
        ? finding(
            "requests-few",
            `${seen}, and virstream wants ${REQUESTS_NEEDED}: while guests hang, it may be cut off, and sweeps are late.`,
            { mend },
          )
        : finding("requests-unclear", `${seen}; whether it would work on ${REQUESTS_NEEDED} could not be seen.`),
    );
  }
  const workers = configuration?.settings?.max_workers;
  if (workers !== undefined && workers < WORKERS_NEEDED) {
    const what =
      `${configuration!.path} allows ${workers} workers. virstream may leave 8 of them waiting for frozen guests, ` +
      "and other clients do as well.";
    findings.push(finding("workers-few", what, { mend: setting(daemon, "max_workers", DEFAULTS.max_workers) }));
  }
  if (keepalive === false) {
    findings.push(finding("keepalive-missing", "The daemon sends no keepalives: a dead connection is noticed late."));
  }
  if (events === false) {
    const what = "The daemon does not tell when domains start and stop (libvirt before 1.2.4).";
    findings.push(finding("events-missing", what));
  }
  return findings;
}

/** How to start the daemon behind a socket anew. */
export function restartAdvice(uri: LibvirtUri, socket: string | undefined): string {
  const daemon = daemonOf(socket ?? "");
  // For root, the session is the system's daemon.
  const own = uri.path === "/session" && !/^(\/var)?\/run\/libvirt\//.test(socket ?? "");
  return own
    ? `kill $(pgrep -xu $USER ${daemon})  # the next virsh -c ${uri.name} starts it; guests run on`
    : `systemctl restart ${daemon}  # guests run on`;
}

/** The commands that give a setting of the daemon's configuration another value. */
function setting({ configuration, uri, socket }: DaemonExamination, name: Setting, value: number): string[] {
  const daemon = daemonOf(socket ?? "");
  if (configuration === undefined) return [`set ${name} = ${value} in the daemon's ${daemon}.conf, and restart it`];
  const { path } = configuration;
  return [`sed -i '/^ *${name} *=/d' ${path}; echo '${name} = ${value}' >>${path}`, restartAdvice(uri, socket)];
}
