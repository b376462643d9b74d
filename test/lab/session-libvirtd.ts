import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chown, mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type CommandResult, runCommand } from "./command.ts";
import { findProgram } from "./requirement.ts";

/** The user `nobody`, whose daemon it is. */
export const SESSION_UID = 65_534;

/**
 * Starts a libvirtd as a user who is not root, as `qemu:///session` has it, with all that it writes in one temporary
 * folder, and resolves when it answers. Needs root (to become another user), libvirtd and virsh. It ends with this process.
 */
export async function startSessionLibvirtd(): Promise<SessionLibvirtd> {
  const folder = await mkdtemp("/tmp/vs-");
  const environment: NodeJS.ProcessEnv = { ...process.env, HOME: folder, LC_ALL: "C.UTF-8" };
  await chown(folder, SESSION_UID, SESSION_UID);
  for (const name of ["RUNTIME_DIR", "CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME"]) {
    const path = join(folder, name);
    await mkdir(path);
    await chown(path, SESSION_UID, SESSION_UID);
    environment[`XDG_${name}`] = path;
  }
  const log = await open(join(folder, "log"), "a");
  // libvirtd waits until the processes that it killed are reaped. Where this test runs in a container, no init does that.
  const words = ["--pdeathsig", "KILL", "tini", "-s", "--", "setpriv", ...asUser, "--pdeathsig", "KILL"];
  const child = spawn("setpriv", [...words, findProgram("libvirtd") ?? "libvirtd"], {
    cwd: "/",
    env: environment,
    stdio: ["ignore", log.fd, log.fd],
    detached: true,
  });
  const daemon = new SessionLibvirtd(folder, environment, child);
  await once(child, "spawn");
  await log.close();
  child.unref();
  const started = Date.now();
  for (;;) {
    const { code, stderr } = await daemon.virsh("uri");
    if (code === 0) return daemon;
    if (Date.now() - started > 20_000) {
      const said = await readFile(join(folder, "log"), "utf8");
      await daemon.stop();
      throw new Error(`the user's libvirtd does not answer: ${stderr}\n${said}`);
    }
    await sleep(50);
  }
}

const asUser = ["--reuid", String(SESSION_UID), "--regid", String(SESSION_UID), "--clear-groups"];

/** A running libvirtd of a user's own. Get one from `startSessionLibvirtd`. */
export class SessionLibvirtd implements AsyncDisposable {
  readonly folder: string;
  /** The user's environment: who has it finds the daemon. */
  readonly environment: NodeJS.ProcessEnv;
  readonly #child: ChildProcess;

  constructor(folder: string, environment: NodeJS.ProcessEnv, child: ChildProcess) {
    this.folder = folder;
    // virsh would start a daemon by itself, and nobody would end it.
    this.environment = { ...environment, LIBVIRT_AUTOSTART: "0" };
    this.#child = child;
  }

  /** Runs virsh as the user, on `qemu:///session`. */
  virsh(...args: string[]): Promise<CommandResult> {
    return runCommand("setpriv", [...asUser, "virsh", "-c", "qemu:///session", ...args], { env: this.environment });
  }

  /** Ends it and removes its folder. */
  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exit = once(this.#child, "exit");
      this.#child.ref();
      this.#child.kill("SIGKILL");
      await exit;
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
