import { readFileSync } from "node:fs";

/** The functions of a process that a benchmark calls, by name. Arguments and results are sent as JSON. */
export type Calls = Record<string, (argument: never) => Promise<unknown>>;

/** Answers the calls of the parent process until the parent ends this process. */
export function answerCalls(calls: Calls): void {
  process.on("message", async ({ name, argument }: { name: string; argument: unknown }) => {
    try {
      const result = await calls[name]!(argument as never);
      process.send!({ result });
    } catch (error) {
      process.send!({ error: error instanceof Error ? error.stack : String(error) });
    }
  });
  process.on("disconnect", () => process.exit());
}

/** CPU time, user and system, of this process so far, in µs. */
export function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/**
 * The peak of this process's resident memory, in MiB. On Linux it does not use `resourceUsage().maxRSS`, which starts
 * with the parent's memory at the fork.
 */
export function peakMemory(): number {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS / 1024;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024;
}
