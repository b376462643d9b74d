import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** What a reader had of one host: when a sweep began, in ms since 1970, or the number of sweeps in a gap (null: unknown). */
export type Entry = number | { readonly gap: number | null };

/** What a process of the benchmark reports at its end. */
export interface Report {
  /** By host: for a publisher, when each sweep began; for a reader, what it had. */
  readonly hosts: Readonly<Record<string, readonly Entry[]>>;
  /** CPU time of the process from when it was ready until its report, in s. */
  readonly cpuSeconds: number;
  readonly memoryMiB: number;
}

/** A process of the benchmark: publishers of some hosts, or a reader of all. */
export class Member {
  readonly #child;
  readonly #report: Promise<Report>;
  /** If the process is a reader: for each host, the start of the newest sweep that it has, in ms since 1970. */
  newest: Readonly<Record<string, number>> = {};

  constructor(program: "publishers" | "reader", args: readonly string[]) {
    const file = fileURLToPath(new URL(`./${program}.ts`, import.meta.url));
    this.#child = fork(file, args, { execArgv: ["--import", "tsx"], serialization: "advanced" });
    this.#report = new Promise((resolve) => {
      this.#child.on("message", (message: { newest?: Record<string, number>; report?: Report }) => {
        if (message.newest !== undefined) this.newest = message.newest;
        if (message.report !== undefined) resolve(message.report);
      });
    });
  }

  /** Resolves when the process is ready. */
  async ready(): Promise<void> {
    await once(this.#child, "message");
  }

  async end(): Promise<Report> {
    this.#child.send("end");
    const report = await this.#report;
    await this.kill();
    return report;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await exited;
  }
}

/** Called in the process of a member: reports when the parent asks for the report, and ends with the parent. */
export function serveParent(hosts: () => Report["hosts"]): void {
  const began = process.cpuUsage();
  process.on("disconnect", () => process.exit());
  process.on("message", () => {
    const { user, system } = process.cpuUsage(began);
    const memoryMiB = process.memoryUsage().rss / 2 ** 20;
    process.send!({ report: { hosts: hosts(), cpuSeconds: (user + system) / 1e6, memoryMiB } });
  });
  process.send!({});
}
