import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** What a process does for a benchmark, by name; arguments and results travel as JSON. */
export type Calls = Record<string, (argument: never) => Promise<unknown>>;

type Argument<Call> = Call extends (argument: infer A) => unknown ? A : never;

/** Where the compiled processes go: inside the package, so that they find its dependencies. */
const OUT = new URL("../node_modules/.cache/virstream-bench/", import.meta.url);

const compiled = new Map<string, Promise<string>>();

/**
 * A process that runs one file of this directory and answers calls. Always a fresh one: what a contender compiled,
 * allocated or left behind must not reach the next.
 *
 * It runs plain JavaScript, as the package's users do. A TypeScript loader would be measured along: a thread and tens of
 * MiB in every process, and a call per function that it gives its name back.
 */
export class BenchProcess<Offered extends Calls> implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /**
   * @param file of this directory, which calls `answerCalls`
   * @param flags of node itself
   */
  static async start<Offered extends Calls>(
    file: string,
    flags: readonly string[] = [],
  ): Promise<BenchProcess<Offered>> {
    let script = compiled.get(file);
    if (script === undefined) {
      script = compile(file);
      compiled.set(file, script);
    }
    const execArgv = [...flags, ...(process.env["BENCH_NODE_FLAGS"]?.split(" ") ?? [])];
    return new BenchProcess<Offered>(fork(await script, { execArgv }));
  }

  /** Makes a call and waits for its result; one at a time. */
  call<Name extends keyof Offered & string>(
    name: Name,
    argument?: Argument<Offered[Name]>,
  ): Promise<Awaited<ReturnType<Offered[Name]>>> {
    return new Promise((resolve, reject) => {
      const onExit = (): void => reject(new Error(`the process ended during ${name}`));
      this.#child.once("exit", onExit);
      this.#child.once("message", (answer: { result?: unknown; error?: string }) => {
        this.#child.off("exit", onExit);
        if (answer.error === undefined) resolve(answer.result as Awaited<ReturnType<Offered[Name]>>);
        else reject(new Error(`${name}: ${answer.error}`));
      });
      this.#child.send({ name, argument });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, "exit");
    this.#child.disconnect();
    await exit;
  }
}

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

async function compile(file: string): Promise<string> {
  const outfile = fileURLToPath(new URL(`${basename(file, ".ts")}.js`, OUT));
  await build({
    entryPoints: [fileURLToPath(new URL(file, import.meta.url))],
    outfile,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    target: "es2023",
    sourcemap: true,
    logLevel: "warning",
  });
  return outfile;
}
