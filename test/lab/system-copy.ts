import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type CommandOptions, type CommandResult, mustRun, runCommand } from "./command.ts";

/** Lays a file system of its own over the system's, and ends with its standard input. */
const supervisor = `
set -e
mount -t tmpfs none /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work /mnt/root
mkdir -p /mnt/root/mnt/given /mnt/root/mnt/changes
mount --bind "$1" /mnt/root/mnt/given
mount --bind /mnt/changes /mnt/root/mnt/changes
for folder in proc dev; do mount --rbind /$folder /mnt/root/$folder; done
mount -t tmpfs none /mnt/root/run
mount -t tmpfs none /mnt/root/tmp
ip link set lo up
exec chroot /mnt/root sh -c 'echo ready; read -r line'
`;

/**
 * This machine's system, as its own programs see it, in which packages can be installed: what changes is in memory only, and gone at
 * the end. Its processes and its network are its own, and systemd does not run in it. Needs root.
 */
export class SystemCopy implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #enter: readonly string[];

  private constructor(child: ChildProcess, pid: string) {
    this.#child = child;
    this.#enter = ["--target", pid, "--mount", "--pid", "--net", "--root", "--wd", "--"];
  }

  /** @param given a folder that is also at /mnt/given in the copy */
  static async create(given: string): Promise<SystemCopy> {
    const namespaces = "--mount --propagation private --pid --fork --kill-child=KILL --mount-proc --net --".split(" ");
    const child = spawn("unshare", [...namespaces, "sh", "-c", supervisor, "sh", given], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const [first] = await Promise.race([once(child.stdout, "data"), once(child, "close")]);
    if (!Buffer.isBuffer(first)) throw new Error("the copy of the system was not made");
    const children = await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8");
    return new SystemCopy(child, children.trim());
  }

  /** Runs a script of the shell as root. Resolves when it has ended, whatever its exit code. */
  run(script: string, options: CommandOptions = {}): Promise<CommandResult> {
    return runCommand("nsenter", [...this.#enter, "sh", "-c", script], options);
  }

  /** Runs a script, and returns what it prints. Rejects if it fails. */
  async output(script: string): Promise<string> {
    return (await mustRun("nsenter", [...this.#enter, "sh", "-c", script])).stdout;
  }

  /** The files, and other things than folders, that are different from the machine's; a removed one, too. */
  async changes(): Promise<string[]> {
    const found = await this.output("cd /mnt/changes && find . ! -type d");
    return found
      .split("\n")
      .map((path) => path.slice(1))
      .filter((path) => path !== "")
      .sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.stdin?.end();
    await closed;
  }
}
