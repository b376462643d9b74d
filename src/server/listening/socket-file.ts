import { once } from "node:events";
import { lstatSync, renameSync, rmSync, type Stats } from "node:fs";
import { chmod, chown, mkdtemp, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { basename, dirname, join, resolve } from "node:path";
import { invalid, quote, VirstreamError } from "../../model/error.ts";
import type { ListeningServer } from "./http-server.ts";

/** The default mode of a socket file: only the server's own user may connect. */
export const DEFAULT_SOCKET_MODE = 0o600;

/**
 * The longest path of a socket file, in bytes. Every system permits at least 103 bytes. But the server makes the socket
 * in a temporary folder beside its final place, where the socket's path is longer.
 */
const MAX_PATH_BYTES = 95;

/** The path and the permissions of a socket file. */
export interface SocketFileOptions {
  readonly path: string;
  /** The mode of the file, such as 0o660. A client needs write permission to connect. */
  readonly mode: number;
  /**
   * The name or the number of the file's group; undefined: the system gives the file the group of the process, or of
   * the folder.
   */
  readonly group: string | number | undefined;
}

/** The file of a unix socket on which a server listens. */
export class SocketFile {
  readonly path: string;
  readonly #stats: Stats;

  private constructor(path: string, stats: Stats) {
    this.path = path;
    this.#stats = stats;
  }

  /**
   * Listens on the file. This method replaces a file that an earlier server left behind. It makes the socket in a
   * folder that only the server's own user can enter. When the socket has the right permissions, the method moves it to
   * its path. So no client can connect before the permissions are right.
   *
   * @throws VirstreamError `address-in-use` if another program listens on the file, `invalid-argument` if the file is
   *   not a socket, or if the system refuses to listen
   */
  static async listen(server: ListeningServer, { path, mode, group }: SocketFileOptions): Promise<SocketFile> {
    const place = checkSocketPath(path);
    const folder = dirname(place);
    let own: string | undefined;
    try {
      const gid = group === undefined ? undefined : await gidOf(group);
      const before = await leftover(place);
      own = await mkdtemp(join(folder, "."));
      const begun = join(own, basename(place));
      await once(server.listen(begun), "listening");
      // Calls chown only if the group differs, because a hardened service is not allowed to call it at all.
      if (gid !== undefined && gid !== statsOf(begun)!.gid) await chown(begun, -1, gid);
      await chmod(begun, mode);
      if (statsOf(place)?.ino !== before?.ino) throw inUse(place);
      renameSync(begun, place);
      return new SocketFile(place, lstatSync(place));
    } catch (thrown) {
      if (thrown instanceof VirstreamError) throw thrown;
      const cause = thrown as NodeJS.ErrnoException;
      const fix = adviceOf(cause, folder, group);
      const message = `cannot listen on the socket ${quote(place)} (${cause.code}): ${fix}`;
      throw new VirstreamError("invalid-argument", message, { cause });
    } finally {
      if (own !== undefined) await rm(own, { recursive: true, force: true });
    }
  }

  /** Removes the file, unless another server has replaced it. */
  remove(): void {
    const now = statsOf(this.path);
    if (now?.ino === this.#stats.ino && now.dev === this.#stats.dev) rmSync(this.path, { force: true });
  }
}

/**
 * Checks the path of a socket, and returns it as an absolute path.
 *
 * @throws VirstreamError `invalid-argument` for a path that clients cannot write in a URI, or that is too long for the
 *   system
 */
export function checkSocketPath(path: string): string {
  const place = resolve(path);
  if (path === "" || path.endsWith("/")) throw invalid(`${quote(path)} is not the path of a socket file`);
  if (place.includes(":") || new URL(`ws+unix://${place}`).pathname !== place) {
    throw invalid(`the socket ${quote(place)} cannot be written in a URI: use letters, digits and -._/ only`);
  }
  const bytes = Buffer.byteLength(place);
  if (bytes <= MAX_PATH_BYTES) return place;
  throw invalid(`the path of a socket has at most ${MAX_PATH_BYTES} bytes, and ${quote(place)} has ${bytes}`);
}

/**
 * The socket file that an earlier server left behind; undefined if there is no file. Throws if a program listens on the
 * file, or if the file is not a socket.
 */
async function leftover(place: string): Promise<Stats | undefined> {
  const stats = statsOf(place);
  if (stats === undefined) return undefined;
  if (!stats.isSocket()) throw invalid(`${quote(place)} is not a socket: choose another path, or remove that file`);
  if (await isAlive(place)) throw inUse(place);
  return stats;
}

/** False only if it is certain that no program listens on a socket. */
async function isAlive(place: string): Promise<boolean> {
  const socket = connect(place);
  try {
    await once(socket, "connect");
    return true;
  } catch (error) {
    return !["ECONNREFUSED", "ENOENT"].includes((error as NodeJS.ErrnoException).code ?? "");
  } finally {
    socket.destroy();
  }
}

function inUse(place: string): VirstreamError {
  const fix = "choose another path, or end that program";
  return new VirstreamError("address-in-use", `another program listens on the socket ${quote(place)}: ${fix}`);
}

function statsOf(place: string): Stats | undefined {
  return lstatSync(place, { throwIfNoEntry: false });
}

/**
 * The number of a group. Node has no function that finds it, so this function reads /etc/group. Names that only a
 * directory service knows are not found.
 */
async function gidOf(group: string | number): Promise<number> {
  if (/^\d+$/.test(`${group}`)) return Number(group);
  const lines = (await readFile("/etc/group", "utf8").catch(() => "")).split("\n");
  const found = lines.map((line) => line.split(":")).find(([name]) => name === group)?.[2];
  if (found !== undefined) return Number(found);
  throw invalid(`there is no group ${quote(group)} in /etc/group: correct the name, or give the group's number`);
}

function adviceOf(
  { code, syscall }: NodeJS.ErrnoException,
  folder: string,
  group: string | number | undefined,
): string {
  if (syscall === "chown") return `this process must be a member of the group ${quote(group)}, or run as root`;
  if (code === "ENOENT" || code === "ENOTDIR") return `make the folder ${folder}, in a unit by RuntimeDirectory=`;
  return `this process must be able to write in the folder ${folder}`;
}
