import { existsSync, lstatSync, readFileSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { homedir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { type ErrorCode, VirstreamError } from "../../../model/error.ts";
import { LIMIT_ADVICE, reached } from "./tcp.ts";
import { type LibvirtUri, parseLibvirtUri } from "./uri.ts";

/** The user, and the folders that are searched for sockets. Tests pass their own user and folders. */
export interface SocketPlace {
  readonly uid: number;
  /** The folders of the system daemons' sockets. */
  readonly systemFolders: readonly string[];
  /** The folder of the user's own daemons' sockets. */
  readonly userFolder: string;
  /** True if systemd runs this machine. If so, the advice in error texts names systemctl commands. */
  readonly systemd: boolean;
}

/** The user of this process, and the folders that it searches. */
export function socketPlace(): SocketPlace {
  const runtime = process.env.XDG_RUNTIME_DIR;
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  const sameFolder = lstatSync("/var/run", { throwIfNoEntry: false })?.isSymbolicLink();
  return {
    uid: process.getuid?.() ?? -1,
    systemFolders: ["/run/libvirt", ...(sameFolder ? [] : ["/var/run/libvirt"])],
    userFolder: join(runtime || cache, "libvirt"),
    // This is the test of sd_booted(3).
    systemd: existsSync("/run/systemd/system"),
  };
}

/**
 * The sockets to try for a URI, best first. For system daemons, the read-only sockets come before the read-write ones;
 * the connection is opened read-only over both. Among sockets of one kind, that of the driver's own daemon comes before
 * that of libvirtd. As in libvirt, a user other than root has a daemon of their own for `/session` and for the test
 * driver. Root has only system daemons.
 */
export function socketCandidates(uri: LibvirtUri, place: SocketPlace = socketPlace()): string[] {
  if (uri.socket !== undefined) return [uri.socket];
  const daemons = [];
  // The test driver has no daemon of its own.
  if (uri.mode !== "legacy" && uri.driver !== "test") daemons.push(`virt${uri.driver}d-sock`);
  if (uri.mode !== "direct" || uri.driver === "test") daemons.push("libvirt-sock");
  if (place.uid !== 0 && (uri.path === "/session" || uri.driver === "test")) {
    return daemons.map((name) => join(place.userFolder, name));
  }
  const names = [...daemons.map((name) => `${name}-ro`), ...daemons];
  return names.flatMap((name) => place.systemFolders.map((folder) => join(folder, name)));
}

/** The socket of a QEMU daemon on this machine: the system's, else the user's own; undefined when there is none. */
export function findLocalSocket(place: SocketPlace = socketPlace()): string | undefined {
  const candidates = ["qemu:///system", "qemu:///session"].flatMap((uri) =>
    socketCandidates(parseLibvirtUri(uri), place),
  );
  return candidates.find((path) => existsSync(path));
}

/**
 * The state of a socket. `denied`: this user has no permission. `dead`: the file exists, but no daemon accepts
 * connections. `unusable`: any other error.
 */
export type SocketState = "open" | "missing" | "denied" | "dead" | "unusable";

const STATES: Readonly<Record<string, SocketState>> = {
  ENOENT: "missing",
  ENOTDIR: "missing",
  EACCES: "denied",
  EPERM: "denied",
  ECONNREFUSED: "dead",
  // The daemon does not accept the connections in its backlog, and the backlog is full.
  EAGAIN: "dead",
};

/** The state of a socket when connecting to it failed with this error code of the system. */
export function stateAfter(code = ""): SocketState {
  return STATES[code] ?? "unusable";
}

/**
 * Connects to the first socket that accepts. If no socket accepts, rejects with `socket-denied` if it occurred for any
 * socket, else with `connection-refused` if it occurred, else with `socket-missing`. Any other error ends the search
 * with `invalid-uri` or `connection-lost`. An abort of the signal ends the search with the signal's reason.
 */
export async function connectSocket(uri: LibvirtUri, signal: AbortSignal, place = socketPlace()): Promise<Socket> {
  const candidates = socketCandidates(uri, place);
  const failed = new Map<SocketState, { path: string; error: NodeJS.ErrnoException }>();
  for (const path of candidates) {
    try {
      return await connectPath(path, signal);
    } catch (cause) {
      signal.throwIfAborted();
      const error = cause as NodeJS.ErrnoException;
      const state = stateAfter(error.code);
      if (!failed.has(state)) failed.set(state, { path, error });
      if (state === "unusable") break;
    }
  }
  const failure = failed.get("unusable") ?? failed.get("denied") ?? failed.get("dead");
  if (failure !== undefined) {
    const { code, what, fix } = explainSocket(failure.path, failure.error, uri, place);
    throw new VirstreamError(code, `${what}: ${fix}`, { cause: failure.error });
  }
  throw new VirstreamError(
    "socket-missing",
    `no libvirt daemon for ${uri.uri}: there is no ${candidates.join(", no ")}. ${installAdvice(uri, place)}`,
  );
}

/** Connects to one socket. Rejects with the system's own error, or with the signal's reason. */
export async function connectPath(path: string, signal: AbortSignal): Promise<Socket> {
  // Node truncates longer paths, and would connect to another socket.
  if (Buffer.byteLength(path) > 107) throw Object.assign(new Error("longer than 107 bytes"), { code: "ENAMETOOLONG" });
  const socket = connect(path);
  try {
    await reached(socket, "connect", signal);
  } catch (error) {
    const refused = (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
    if (!refused || statSync(path, { throwIfNoEntry: false })?.isSocket() !== false) throw error;
    throw Object.assign(new Error("not a socket", { cause: error }), { code: "ENOTSOCK" });
  }
  return socket;
}

/** Why a socket that exists cannot be connected to, and what to do. */
export function explainSocket(
  path: string,
  error: { readonly code?: string | undefined; readonly message: string },
  uri: LibvirtUri,
  place: SocketPlace,
): { code: ErrorCode; what: string; fix: string } {
  switch (stateAfter(error.code)) {
    case "denied": {
      const group = groupOf(path);
      const whose = group === undefined ? "" : `, which is for the group ${group}`;
      return {
        code: "socket-denied",
        what: `this user has no permission to use ${path}${whose}`,
        fix: groupAdvice(group),
      };
    }
    case "dead": {
      if (error.code === "EAGAIN") {
        const what = `the daemon of ${path} hangs or is overloaded: it accepts no connections`;
        return { code: "connection-refused", what, fix: restartCommand(uri, path, place) };
      }
      const bySystem = uri.socket === undefined && dirname(path) !== place.userFolder;
      const fix = bySystem ? startCommand(daemonOf(path), place) : installAdvice(uri, place);
      return { code: "connection-refused", what: `no process listens on ${path}, its daemon has ended`, fix };
    }
    default: {
      const other = error.code === "ENOTSOCK";
      const what = other ? `${path} is not a socket` : `${path} cannot be used as a socket (${error.message})`;
      const never = /^(ENAMETOOLONG|ELOOP|EPROTOTYPE|EINVAL|ENOTSOCK)$/.test(error.code ?? "");
      const fix = uri.socket === undefined ? "remove it, and restart the daemon" : "correct socket= in the URI";
      if (never) return { code: "invalid-uri", what, fix };
      return { code: "connection-lost", what, fix: LIMIT_ADVICE };
    }
  }
}

/** How to get access to a socket of this group. */
function groupAdvice(group: string | undefined): string {
  return group === undefined || group === "root"
    ? "run as root, or let the daemon's configuration (unix_sock_group) admit a group of yours"
    : `usermod -aG ${group} ${userName()}, then log in again`;
}

/**
 * The group of a socket, by name if the group has a name; undefined if neither the socket nor its folder can be read.
 */
function groupOf(path: string): string | undefined {
  // If this user may not enter the folder, the socket's own group cannot be read. Then the folder's group is used.
  for (const place of [path, dirname(path)]) {
    try {
      const { gid } = statSync(place);
      const line = readFileSync("/etc/group", "utf8")
        .split("\n")
        .find((entry) => entry.split(":")[2] === String(gid));
      return line?.split(":")[0] ?? String(gid);
    } catch {}
  }
  return undefined;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return "USER";
  }
}

/** The daemon that creates the socket of this name: a driver's own daemon, such as `virtqemud`, or else `libvirtd`. */
export function daemonOf(path: string): string {
  return /virt\w+d(?=-sock)/.exec(path)?.[0] ?? "libvirtd";
}

/** The command that starts one of the system's daemons. */
function startCommand(daemon: string, { systemd }: Pick<SocketPlace, "systemd">): string {
  return systemd ? `systemctl start ${daemon}.socket` : `${daemon} -d`;
}

/** The command that restarts the daemon that serves a socket. */
export function restartCommand(uri: LibvirtUri, socket: string, { systemd }: Pick<SocketPlace, "systemd">): string {
  const daemon = daemonOf(socket);
  // For root, /session means the system's daemon, whose sockets are in /run/libvirt.
  const own = uri.path === "/session" && !/^(\/var)?\/run\/libvirt\//.test(socket);
  return own
    ? `kill $(pgrep -xu $USER ${daemon})  # the next virsh -c ${uri.name} starts it again; guests keep running`
    : `${systemd ? `systemctl restart ${daemon}` : `pkill -x ${daemon}; sleep 2; ${daemon} -d`}  # guests keep running`;
}

/** How to get a daemon for this URI. */
export function installAdvice(uri: LibvirtUri, place: SocketPlace): string {
  if (uri.socket !== undefined) return "Start the daemon that serves it, or correct socket= in the URI.";
  if (place.uid !== 0 && uri.path === "/session") {
    return "virstream does not start a user's daemon: libvirtd --daemon does, or any use of virsh -c qemu:///session.";
  }
  // libvirtd serves libvirt's test driver. Without a transport, the scheme `test` means virstream's simulated host.
  const [daemons, example] =
    uri.driver === "test"
      ? [["libvirtd"], "test+unix:///default"]
      : [["libvirtd", `virt${uri.driver}d`], `${uri.driver}:///system`];
  const start = daemons.map((daemon) => startCommand(daemon, place)).join(", or ");
  return (
    `Install one (apt-get install libvirt-daemon-system), start it (${start}), or name its socket: ` +
    `${example}?socket=PATH`
  );
}
