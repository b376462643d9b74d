import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, copyFile, mkdir, open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mustRun } from "./command.ts";
import type { Libvirtd } from "./libvirtd.ts";
import { accepts, freePort } from "./port.ts";
import { findProgram } from "./requirement.ts";

/**
 * Starts a private sshd on 127.0.0.1, on the machine where the private libvirtd is the system's: it runs in the daemon's
 * mount namespace, so that who logs in finds that daemon at /run/libvirt.
 *
 * It has its own configuration and host key, and one key may log in, as root. Needs what `startLibvirtd` needs, sshd and
 * ssh-keygen. It ends with this process.
 */
export async function startSshd(libvirtd: Libvirtd): Promise<Sshd> {
  const folder = join(libvirtd.directory, "ssh");
  await mkdir(folder);
  // Where sshd wants to put its unprivileged half.
  await mkdir(join(libvirtd.directory, "run/sshd"), { recursive: true });
  for (const name of ["host", "key", "stranger"]) await makeKey(join(folder, name));
  const port = await freePort();
  await copyFile(join(folder, "key.pub"), join(folder, "authorized_keys"));
  await writeFile(
    join(folder, "known_hosts"),
    `[127.0.0.1]:${port} ${await readFile(join(folder, "host.pub"), "utf8")}`,
  );
  const lines = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${join(folder, "host")}`,
    `AuthorizedKeysFile ${join(folder, "authorized_keys")}`,
    "PermitRootLogin yes",
    "StrictModes no",
    "UsePAM no",
    "PidFile none",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
  ];
  await writeFile(join(folder, "sshd_config"), `${lines.join("\n")}\n`);
  const log = await open(join(folder, "log"), "a");
  const program = findProgram("sshd") ?? "sshd";
  const child = spawn(
    "setpriv",
    ["--pdeathsig", "KILL", "nsenter", "-t", String(libvirtd.pid), "-m", "--", program].concat([
      "-D",
      "-e",
      "-f",
      join(folder, "sshd_config"),
    ]),
    { stdio: ["ignore", log.fd, log.fd], detached: true },
  );
  await once(child, "spawn");
  await log.close();
  child.unref();
  const sshd = new Sshd(folder, port, child);
  const started = Date.now();
  while (!(await accepts(port))) {
    if (child.exitCode !== null || Date.now() - started > 10_000) {
      await sshd.stop();
      throw new Error(`sshd does not listen\n${await readFile(join(folder, "log"), "utf8")}`);
    }
    await sleep(20);
  }
  return sshd;
}

/** A running private sshd. Get one from `startSshd`. */
export class Sshd implements AsyncDisposable {
  readonly port: number;
  /** The private key that may log in. */
  readonly key: string;
  /** A private key that may not. */
  readonly strangersKey: string;
  /** A file with its host key. */
  readonly knownHosts: string;
  readonly #folder: string;
  readonly #child: ChildProcess;

  constructor(folder: string, port: number, child: ChildProcess) {
    this.#folder = folder;
    this.port = port;
    this.key = join(folder, "key");
    this.strangersKey = join(folder, "stranger");
    this.knownHosts = join(folder, "known_hosts");
    this.#child = child;
  }

  /** `qemu+ssh:` to the daemon; more parameters, or others instead of the key and the known hosts. */
  uri(parameters: Readonly<Record<string, string>> = {}, path = "/system"): string {
    const all = { keyfile: this.key, known_hosts: this.knownHosts, ...parameters };
    const query = Object.entries(all).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
    return `qemu+ssh://root@127.0.0.1:${this.port}${path}?${query.join("&")}`;
  }

  /** Makes another key that may log in, and then gets this command whatever it asks for. */
  async authorize(name: string, command: string): Promise<string> {
    const key = join(this.#folder, name);
    await makeKey(key);
    const line = `command="${command.replaceAll('"', '\\"')}" ${await readFile(`${key}.pub`, "utf8")}`;
    await appendFile(join(this.#folder, "authorized_keys"), line);
    return key;
  }

  /** Every process of its sessions: sshd's own halves, and what they run. */
  async sessions(): Promise<number[]> {
    return descendants(this.#child.pid ?? 0);
  }

  /** Kills every session, as a crash does; it goes on to listen. */
  async drop(): Promise<void> {
    const started = Date.now();
    for (let pids = await this.sessions(); pids.length > 0; pids = await this.sessions()) {
      for (const pid of pids) kill(pid);
      if (Date.now() - started > 10_000) throw new Error(`sshd's processes ${pids.join(", ")} do not end`);
      await sleep(10);
    }
  }

  /** Ends it and its sessions. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      await this.drop();
      const exit = once(this.#child, "exit");
      this.#child.ref();
      this.#child.kill("SIGKILL");
      await exit;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function makeKey(path: string): Promise<void> {
  await mustRun("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", path]);
}

async function descendants(pid: number): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const children = text.trim().split(" ").filter(Boolean).map(Number);
  return [...children, ...(await Promise.all(children.map(descendants))).flat()];
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {}
}
