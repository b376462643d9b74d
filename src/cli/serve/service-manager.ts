import { execFile } from "node:child_process";
import type { ServeLog } from "./log.ts";

/** How long systemd-notify may take, in ms. */
const NOTIFY_TIMEOUT_MS = 5_000;

/**
 * Tells systemd, if it started this process as a service of the type `notify`, what the process does. Node cannot send datagrams over
 * unix sockets, so systemd's own program does it.
 */
export class ServiceManager {
  readonly #log: ServeLog;
  readonly #isThere: boolean;
  /** How often systemd must hear from the process, in ms; 0: it does not watch. */
  readonly #watchdogMs: number;
  #timer: NodeJS.Timeout | undefined;
  #complained = false;
  #said: Promise<void> = Promise.resolve();

  constructor(log: ServeLog, env: NodeJS.ProcessEnv = process.env) {
    this.#log = log;
    this.#isThere = Boolean(env["NOTIFY_SOCKET"]);
    const forUs = env["WATCHDOG_PID"] === undefined || env["WATCHDOG_PID"] === String(process.pid);
    this.#watchdogMs = forUs ? Number(env["WATCHDOG_USEC"] ?? 0) / 1_000 : 0;
  }

  /** The process serves: what waits for it may start. From now on a process that hangs is found and started again. */
  ready(status: string): void {
    this.#say("READY=1", `STATUS=${status}`);
    if (!this.#isThere || !(this.#watchdogMs > 0) || this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#say("WATCHDOG=1"), this.#watchdogMs / 2);
  }

  /** It reads its files again, until it is ready. */
  reloading(): void {
    this.#say("RELOADING=1");
  }

  /** It ends. */
  stopping(): void {
    clearInterval(this.#timer);
    this.#say("STOPPING=1");
  }

  #say(...variables: string[]): void {
    if (!this.#isThere) return;
    // One after the other: two processes could overtake each other.
    this.#said = this.#said.then(async () => {
      const error = await new Promise<Error | null>((resolve) => {
        execFile("systemd-notify", variables, { timeout: NOTIFY_TIMEOUT_MS }, resolve);
      });
      if (error === null || this.#complained) return;
      this.#complained = true;
      this.#log.say("systemd-unreachable", `cannot tell systemd what this process does: ${error.message}`);
    });
  }
}
