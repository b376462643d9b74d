import { existsSync, readFileSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { homedir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { VirstreamError } from "../../../model/error.ts";
import { LIMIT_ADVICE, reached } from "./tcp.ts";
import { type LibvirtUri, parseLibvirtUri } from "./uri.ts";

/**
 * libvirt's unix sockets: which to connect to, and what to advise when none of them accepts.
 */

/** The user and the folders that are searched. Tests pass their own. */
export interface SocketPlace {
  readonly uid: number;
  /** The folders of the system daemons' sockets. */
  readonly systemFolders: readonly string[];
  /** The folder of the user's own daemons' sockets. */
  readonly userFolder: string;
}

/** The user of this process, and the folders that it searches. */
export function socketPlace(): SocketPlace {
  const runtime = process.env.XDG_RUNTIME_DIR;
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  return {
    uid: process.getuid?.() ?? -1,
    systemFolders: ["/run/libvirt", "/var/run/libvirt"],
    userFolder: join(runtime || cache, "libvirt"),
  };
}

/**
 * The sockets to try for a URI, best first: the driver's own daemon before the monolithic one, and for a system daemon
 * read-only sockets before read-write ones (where the connection is opened read-only as well). As in libvirt, a user
 * other than root has a daemon of their own for `/session` and for the test driver. Root has only system daemons.
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

/** The errors that a path causes which will never be a daemon's socket. */
const NO_SOCKET: ReadonlySet<string | undefined> = new Set(["ENAMETOOLONG", "ELOOP", "EPROTOTYPE", "EINVAL"]);

/**
 * Connects to the first socket that accepts. Otherwise rejects with `socket-denied`, else `connection-refused`, else
 * `socket-missing`. An error that is about none of this ends the search, with `invalid-uri` or `connection-lost`, and
 * so does the signal, with its reason.
 */
export async function connectSocket(uri: LibvirtUri, signal: AbortSignal, place = socketPlace()): Promise<Socket> {
  const candidates = socketCandidates(uri, place);
  let denied: string | undefined;
  let refused: string | undefined;
  for (const path of candidates) {
    try {
      return await connectPath(path, signal);
    } catch (error) {
      signal.throwIfAborted();
      const { code, message } = error as NodeJS.ErrnoException;
      if (code === "EACCES" || code === "EPERM") denied ??= path;
      else if (code === "ECONNREFUSED" || code === "EAGAIN") refused ??= path;
      else if (code !== "ENOENT" && code !== "ENOTDIR") {
        const what = `${path} cannot be used as a socket: ${message}`;
        if (NO_SOCKET.has(code)) throw new VirstreamError("invalid-uri", what, { cause: error });
        throw new VirstreamError("connection-lost", `${what}: ${LIMIT_ADVICE}`, { cause: error });
      }
    }
  }
  if (denied !== undefined) throw deniedError(denied);
  if (refused !== undefined) {
    throw new VirstreamError(
      "connection-refused",
      `${refused}: no process listens there, the daemon has ended: ${startAdvice(uri, refused)}`,
    );
  }
  throw new VirstreamError(
    "socket-missing",
    `no libvirt daemon for ${uri.uri}: there is no ${candidates.join(", no ")}. ${installAdvice(uri, place)}`,
  );
}

/** Connects to one socket. Rejects with the system's own error, or with the signal's reason. */
export async function connectPath(path: string, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  // Node truncates longer paths, and would connect to another socket.
  if (Buffer.byteLength(path) > 107) throw Object.assign(new Error("longer than 107 bytes"), { code: "ENAMETOOLONG" });
  const socket = connect(path);
  await reached(socket, "connect", signal);
  return socket;
}

function deniedError(path: string): VirstreamError {
  const group = groupOf(path);
  const whose = group === undefined ? "" : `, which is for the group ${group}`;
  return new VirstreamError("socket-denied", `no permission to use ${path}${whose}: ${groupAdvice(group)}`);
}

/** How to get access to a socket of this group. */
export function groupAdvice(group: string | undefined): string {
  return group === undefined || group === "root"
    ? "run as root, or let the daemon's configuration (unix_sock_group) admit a group of yours"
    : `usermod -aG ${group} ${userName()}, then log in again`;
}

/** The group of a socket, by name if it has one; undefined where neither the socket nor its folder can be read. */
export function groupOf(path: string): string | undefined {
  // If the folder is closed to us, the socket's own group cannot be read.
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

/** How to start the daemon of this socket. */
export function startAdvice(uri: LibvirtUri, path: string): string {
  if (uri.socket !== undefined) return "start the daemon that serves it";
  return `systemctl start ${daemonOf(path)}.socket`;
}

/** The daemon that creates the socket of this name: a driver's own, such as `virtqemud`, or else `libvirtd`. */
export function daemonOf(path: string): string {
  return /virt\w+d(?=-sock)/.exec(path)?.[0] ?? "libvirtd";
}

/** How to get a daemon for this URI. */
export function installAdvice(uri: LibvirtUri, place: SocketPlace): string {
  if (uri.socket !== undefined) return "Start the daemon that serves it, or correct socket= in the URI.";
  if (place.uid !== 0 && uri.path === "/session") {
    return "virstream does not start a user's daemon: libvirtd --daemon does, or any use of virsh -c qemu:///session.";
  }
  return (
    "Install one (apt-get install libvirt-daemon-system), start it " +
    `(systemctl start libvirtd.socket, or virt${uri.driver}d.socket), or name its socket: ${uri.driver}:///system?socket=PATH`
  );
}
