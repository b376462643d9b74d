import { execFile } from "node:child_process";
import type { ServeLog } from "./log.ts";

/** How long systemd-notify may take, in ms. */
const NOTIFY_TIMEOUT_MS = 5_000;

/**
 * Reports the state of this process to systemd, if systemd started it as a service of the type `notify`. Node cannot
 * send datagrams over unix sockets, so systemd's program systemd-notify sends the messages.
 */
export class ServiceManager {
  readonly #log: ServeLog;
  readonly #isThere: boolean;
  /** How often systemd expects a message from the process, in ms; 0 if it expects none. */
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

  /**
   * Reports that the process serves, so services that wait for it may start. If the service has a watchdog, systemd
   * restarts the process from now on when it hangs.
   */
  ready(status: string): void {
    this.#say("READY=1", `STATUS=${status}`);
    if (!this.#isThere || !(this.#watchdogMs > 0) || this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#say("WATCHDOG=1"), this.#watchdogMs / 2);
  }

  /** Reports that the process reads its files again. The report is valid until `ready` is called. */
  reloading(): void {
    this.#say("RELOADING=1");
  }

  /** Reports that the process ends. */
  stopping(): void {
    clearInterval(this.#timer);
    this.#say("STOPPING=1");
  }

  #say(...variables: string[]): void {
    if (!this.#isThere) return;
    // One message after the other, because two systemd-notify processes could overtake each other.
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
