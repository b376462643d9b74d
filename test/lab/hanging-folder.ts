import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Libvirtd } from "./libvirtd.ts";

/** Mounts a file system that nothing serves, prints a line, and unmounts it at the end of its input. */
const SERVER = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
folder = sys.argv[1].encode()
fd = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hangs", folder, b"fuse", 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print("mounted", flush=True)
sys.stdin.read()
MNT_DETACH = 2
libc.umount2(folder, MNT_DETACH)
`;

/**
 * A folder whose file system hangs, for a libvirtd only, as that of an NFS server that is away: whatever touches it waits until it is
 * released, and then fails. It needs /dev/fuse, nsenter and python3. Release it before the daemon is stopped.
 */
export class HangingFolder implements AsyncDisposable {
  readonly #server: ChildProcess;

  private constructor(server: ChildProcess) {
    this.#server = server;
  }

  /** @param folder exists, and is in the daemon's own folder */
  static async mount(libvirtd: Libvirtd, folder: string): Promise<HangingFolder> {
    const command = ["-t", String(libvirtd.pid), "-m", "python3", "-c", SERVER, folder];
    const server = spawn("nsenter", command, { stdio: ["pipe", "pipe", "inherit"] });
    const mounted = once(server.stdout!, "data").then(() => true);
    const failed = once(server, "exit").then(() => false);
    if (!(await Promise.race([mounted, failed]))) throw new Error(`no file system could be mounted at ${folder}`);
    return new HangingFolder(server);
  }

  /** Ends the file system: what waits for it fails. Safe to call twice. */
  async release(): Promise<void> {
    if (this.#server.exitCode !== null || this.#server.signalCode !== null) return;
    const exit = once(this.#server, "exit");
    this.#server.stdin!.end();
    await exit;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.release();
  }
}
