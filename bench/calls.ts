import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";

/** The functions, by name, that a benchmark calls in another process. Arguments and results are sent as JSON. */
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

/** The argument of a call. */
export type Argument<Call> = Call extends (argument: infer A) => unknown ? A : never;

/**
 * Calls a function of a process that answers calls, and waits for its result. Only one call may be under way at a time.
 */
export function callProcess<Offered extends Calls, Name extends keyof Offered & string>(
  child: ChildProcess,
  name: Name,
  argument?: Argument<Offered[Name]>,
): Promise<Awaited<ReturnType<Offered[Name]>>> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error(`the process ended during ${name}`));
    child.once("exit", onExit);
    child.once("message", (answer: { result?: unknown; error?: string }) => {
      child.off("exit", onExit);
      if (answer.error === undefined) resolve(answer.result as Awaited<ReturnType<Offered[Name]>>);
      else reject(new Error(`${name}: ${answer.error}`));
    });
    child.send({ name, argument });
  });
}

/** Ends a process that answers calls, unless it has ended. The process ends by itself when its parent disconnects. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.disconnect();
  await exit;
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
