import { readFileSync } from "node:fs";

/** What a process does for a benchmark, by name; arguments and results travel as JSON. */
export type Calls = Record<string, (argument: never) => Promise<unknown>>;

/** In a process: answers the calls of its parent, until the parent is done with it. */
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
 * The most memory that this process ever had resident, in MiB. Not `resourceUsage().maxRSS` on Linux: that one begins
 * with what the parent had when it forked.
 */
export function peakMemory(): number {
  if (process.platform !== "linux") return process.resourceUsage().maxRSS / 1024;
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]) / 1024;
}
