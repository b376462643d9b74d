import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, runCommand } from "./command.ts";
import { isAlive, listProcesses, type ProcessEntry, processGone } from "./processes.ts";
import { findProgram } from "./requirement.ts";

/** How a private daemon differs from the usual one. */
export interface LibvirtdOptions {
  /** More lines of libvirtd.conf, for example `max_client_requests = 2`; they win over the lab's own lines. */
  readonly conf?: readonly string[];
  /**
   * Lets libvirtd listen on TCP or TLS, as lines of `conf` say, on the machine's own network. Default false: then the
   * daemon has a private network, in which tap devices carry no traffic and their names begin at vnet0.
   */
  readonly listen?: boolean;
}

/**
 * The first process of the daemon's own process and mount namespaces.
 *
 * It binds the private folders over the system's, then starts a libvirtd for every line it reads. It ends at end of file,
 * which also comes when the test process dies in any way: then everything in the namespace is killed (frozen or not) and
 * the folder goes. /run is bound last and as a whole, so that no D-Bus, systemd or udev of the host is within reach.
 */
const supervisor = `
directory=$1; libvirtd=$2; network=$3; shift 3
for folder in etc lib cache log; do
  case $folder in etc) target=/etc/libvirt ;; *) target=/var/$folder/libvirt ;; esac
  mkdir -p "$target" && mount --bind "$directory/$folder" "$target" || exit 1
done
mount --bind "$directory/run" /run || exit 1
# Without this, the kernel sends IPv6 packets of its own to every tap device, and counters of a paused guest move.
# Where both versions of cgroups are mounted, libvirt's LXC driver can start no container.
umount /sys/fs/cgroup/unified 2>/dev/null
[ "$network" = host ] || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6 || true
while read -r line; do
  ( "$libvirtd" -p /run/libvirtd.pid "$@" </dev/null & )
done
kill -9 -1
rm -rf "$directory"
`;

const settings: Readonly<Record<string, string>> = {
  auth_unix_ro: '"none"',
  auth_unix_rw: '"none"',
  unix_sock_ro_perms: '"0777"',
  unix_sock_rw_perms: '"0777"',
  log_outputs: '"3:stderr"',
};

/** Guests run as root without labels, namespaces, cgroups or a log daemon: fewer things that can differ between machines. */
const qemuConf = `
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
`;

/**
 * Starts a private system libvirtd and resolves when it answers.
 *
 * It has its own configuration, sockets, logs, processes and network; the host's libvirtd, if any, is untouched.
 * Needs root, namespaces, tini, libvirtd and virsh (see `labRequirements`); only root reaches its sockets.
 * Neither it nor its guests nor its folder outlive this process, even one killed by SIGKILL.
 */
export async function startLibvirtd(options: LibvirtdOptions = {}): Promise<Libvirtd> {
  // Short on purpose: a unix socket path has at most 107 bytes, and QEMU's monitors live under this folder, too.
  const directory = await mkdtemp("/tmp/vs-");
  for (const folder of ["etc", "lib", "cache", "log", "run/libvirt", "disks"]) {
    await mkdir(join(directory, folder), { recursive: true });
  }
  const own = { ...settings, host_uuid: `"${randomUUID()}"` };
  const extra = options.conf ?? [];
  const overridden = new Set(extra.map((line) => line.split("=")[0]?.trim()));
  const kept = Object.entries(own).filter(([key]) => !overridden.has(key));
  const conf = [...kept.map(([key, value]) => `${key} = ${value}`), ...extra];
  await writeFile(join(directory, "etc/libvirtd.conf"), `${conf.join("\n")}\n`);
  await writeFile(join(directory, "etc/qemu.conf"), qemuConf);

  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
  if (!options.listen) namespaces.push("--net");
  const program = findProgram("libvirtd") ?? "libvirtd";
  const args = [directory, program, options.listen ? "host" : "private", ...(options.listen ? ["--listen"] : [])];
  const first = ["tini", "--", "sh", "-c", supervisor, "sh", ...args];
  const log = await open(join(directory, "log/libvirtd.out"), "a");
  const child = spawn("unshare", [...namespaces, "--", ...first], {
    cwd: "/",
    env: { ...process.env, LC_ALL: "C.UTF-8" },
    stdio: ["pipe", log.fd, log.fd],
    // An interrupt typed at the terminal goes to the test runner only; this one ends with its standard input.
    detached: true,
  });
  const libvirtd = new Libvirtd(directory, child);
  try {
    await once(child, "spawn");
    await log.close();
    await libvirtd.restart();
  } catch (error) {
    await libvirtd.stop();
    throw error;
  }
  return libvirtd;
}

/** A running private libvirtd. Get one from `startLibvirtd`. */
export class Libvirtd implements AsyncDisposable {
  /** The daemon's own folder: etc, lib, cache, log, run, and disks for the guests. Gone after `stop`. */
  readonly directory: string;
  /** The read-write socket, as seen from this process. */
  readonly socket: string;
  /** The read-only socket, as seen from this process. */
  readonly readOnlySocket: string;
  /** `qemu:///system` by way of the read-only socket. */
  readonly uri: string;
  /** `qemu:///system` by way of the read-write socket. */
  readonly readWriteUri: string;
  readonly #supervisor: ChildProcess;
  #pid = 0;
  #stopped: Promise<void> | undefined;

  constructor(directory: string, supervisor: ChildProcess) {
    this.directory = directory;
    this.socket = join(directory, "run/libvirt/libvirt-sock");
    this.readOnlySocket = `${this.socket}-ro`;
    this.uri = `qemu:///system?socket=${this.readOnlySocket}`;
    this.readWriteUri = `qemu:///system?socket=${this.socket}`;
    this.#supervisor = supervisor;
    supervisor.stdin?.on("error", () => {});
    // A forgotten daemon must not keep the test process alive; it ends with it.
    supervisor.unref();
    (supervisor.stdin as unknown as { unref?(): void } | null)?.unref?.();
  }

  /** The process id of libvirtd itself, as seen from this process; another one after `restart`. */
  get pid(): number {
    return this.#pid;
  }

  /** Runs virsh on the read-write socket. Never rejects for a failing command: see `code` and `stderr`. */
  virsh(...args: string[]): Promise<CommandResult> {
    return runCommand("virsh", ["-c", this.readWriteUri, ...args], { env: clientEnvironment() });
  }

  /**
   * Runs Python source text with the system's python3 and its libvirt binding. `args` are `sys.argv[1:]`;
   * the environment variables LIBVIRT_URI and LIBVIRT_RW_URI hold `uri` and `readWriteUri`.
   */
  python(script: string, ...args: string[]): Promise<CommandResult> {
    const env = { ...clientEnvironment(), LIBVIRT_URI: this.uri, LIBVIRT_RW_URI: this.readWriteUri };
    return runCommand("/usr/bin/python3", ["-c", script, ...args], { env });
  }

  /** Every process in the daemon's namespace: libvirtd, its guests, and the two that hold the namespace. */
  async processes(): Promise<ProcessEntry[]> {
    return listProcesses(this.#supervisor.pid ?? 0);
  }

  /** The process id, as seen from this process, of the process that calls itself `inner` inside the namespace. */
  async outerPid(inner: number): Promise<number | undefined> {
    return (await this.processes()).find((entry) => entry.inner === inner)?.pid;
  }

  /**
   * Sends a signal to libvirtd alone; guests go on. Resolves when it has ended, or at once for SIGSTOP, SIGCONT and SIGHUP.
   * SIGTERM can take 30 s when a call hangs in a frozen guest.
   */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const pid = this.#pid;
    if (isAlive(pid)) process.kill(pid, signal);
    if (signal === "SIGSTOP" || signal === "SIGCONT" || signal === "SIGHUP") return;
    await processGone(pid);
  }

  /** Starts libvirtd again, after SIGKILL if it still runs, and resolves when it answers. Guests survive. */
  async restart(): Promise<void> {
    if (this.#pid !== 0) await this.kill("SIGKILL");
    const pidFile = join(this.directory, "run/libvirtd.pid");
    for (const path of [this.socket, this.readOnlySocket, pidFile]) await rm(path, { force: true });
    this.#supervisor.stdin?.write("start\n");
    const started = Date.now();
    while (!((await accepts(this.socket)) && (await accepts(this.readOnlySocket)))) {
      const waited = Date.now() - started;
      const runs = waited < 1_000 || (await this.processes()).some(({ name }) => name === "libvirtd");
      if (!runs || waited > 30_000) throw await this.#failure(runs ? "does not listen" : "ended at once");
      await sleep(15);
    }
    const pid = await this.outerPid(Number(await readFile(pidFile, "utf8")));
    if (pid === undefined) throw await this.#failure("ended");
    this.#pid = pid;
    // The sockets are there before the drivers are: only an answer says that it is ready.
    const { code, stderr } = await this.virsh("uri");
    if (code !== 0) throw await this.#failure(`does not answer: ${stderr.trim()}`);
  }

  /**
   * Ends libvirtd and every guest at once, frozen ones included, removes the folder, and resolves when all of it is gone.
   * Calls that hang see their connection close. May be called twice.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    const child = this.#supervisor;
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
      child.ref();
      const exit = once(child, "exit");
      child.stdin?.end();
      const overdue = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await exit;
      clearTimeout(overdue);
    }
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #failure(what: string): Promise<Error> {
    const log = await readFile(join(this.directory, "log/libvirtd.out"), "utf8").catch(() => "");
    return new Error(`the private libvirtd ${what}\n${log.split("\n").slice(-20).join("\n")}`);
  }
}

function clientEnvironment(): NodeJS.ProcessEnv {
  const { LIBVIRT_DEFAULT_URI: _, VIRSH_DEFAULT_CONNECT_URI: __, ...env } = process.env;
  return { ...env, LC_ALL: "C.UTF-8" };
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}
