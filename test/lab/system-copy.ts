import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type CommandResult, mustRun, runCommand } from "./command.ts";

/** Lays a file system of its own over the system's, and becomes its systemd. */
const SETUP = `
set -e
mount -t tmpfs none /mnt
mkdir /mnt/changes /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work /mnt/root
cd /mnt/root
mkdir -p mnt/given mnt/changes
mount --bind "$1" mnt/given
mount --bind /mnt/changes mnt/changes
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs none run
mount -t tmpfs none tmp
mkdir -p run/systemd/system
# Nothing of the machine's own starts, and nobody forbids services to start, as containers do.
for unit in sockets.target timers.target; do ln -s /dev/null run/systemd/system/$unit; done
rm -f usr/sbin/policy-rc.d
echo >etc/fstab
ip link set lo up
exec env -i container=virstream PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
  chroot . /lib/systemd/systemd --system --unit=basic.target --show-status=no --log-level=err
`;

/** Starts the first process of the namespaces, and kills it at the end of the input, which also comes when the tests are killed. */
const SUPERVISOR = `
unshare --mount --propagation private --pid --fork --net --cgroup --uts --ipc -- \\
  sh -c "$1" sh "$2" </dev/null >&2 &
echo $!
read -r line
# Killing the first process of a namespace kills all others; killing unshare does not.
kill -KILL $! $(cat /proc/$!/task/$!/children)
`;

/** Whether this machine lets root make one: mounts as in SETUP. */
export const SYSTEM_COPY_PROBE = SETUP.slice(0, SETUP.indexOf("exec "));

/**
 * This machine's system with a systemd of its own, in which packages can be installed: what changes is in memory only, and gone at the
 * end. Its processes and its network are its own. Needs root.
 */
export class SystemCopy implements AsyncDisposable {
  readonly #supervisor: ChildProcess;
  readonly #enter: readonly string[];

  private constructor(supervisor: ChildProcess, pid: string) {
    this.#supervisor = supervisor;
    this.#enter = ["--target", pid, "--mount", "--pid", "--net", "--root", "--wd", "--"];
  }

  /**
   * Resolves when its systemd runs.
   *
   * @param given a folder that is also at /mnt/given in the copy
   */
  static async create(given: string): Promise<SystemCopy> {
    const supervisor = spawn("sh", ["-c", SUPERVISOR, "sh", SETUP, given], { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(supervisor.stdout, "data");
    const outer = String(line).trim();
    let copy: SystemCopy | undefined;
    for (;;) {
      const inner = (await readFile(`/proc/${outer}/task/${outer}/children`, "utf8")).trim();
      const isRunning = !/^State:\s+Z/m.test(await readFile(`/proc/${outer}/status`, "utf8"));
      if (!isRunning) {
        supervisor.stdin.end();
        throw new Error("the copy of the system was not made");
      }
      if (inner === "") continue;
      copy ??= new SystemCopy(supervisor, inner);
      const { stdout } = await copy.run("systemctl is-system-running --wait");
      if (/^(running|degraded)/.test(stdout)) return copy;
    }
  }

  /** Runs a script of the shell as root. Resolves when it has ended, whatever its exit code. */
  run(script: string): Promise<CommandResult> {
    return runCommand("nsenter", [...this.#enter, "sh", "-c", script]);
  }

  /** Runs a script, and returns what it prints. Rejects if it fails. */
  async output(script: string): Promise<string> {
    return (await mustRun("nsenter", [...this.#enter, "sh", "-ec", script])).stdout;
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
    const closed = once(this.#supervisor, "close");
    this.#supervisor.stdin?.end();
    await closed;
  }
}
