import { type ChildProcess, execFile, fork } from "node:child_process";
import { copyFile, mkdir, realpath } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Argument, type Calls, callProcess, endProcess } from "./calls.ts";

/**
 * The folder for the compiled benchmarks of a checkout (see tsconfig.build.json). It is in the checkout, where Node finds
 * the dependencies.
 */
const OUT = "node_modules/.cache/virstream-bench/";

/** This checkout. */
const HERE = fileURLToPath(new URL("..", import.meta.url));

/** The compilation of each checkout, by its folder. */
const compiled = new Map<string, Promise<void>>();

/**
 * A process that runs one file of this directory and answers calls. Each is a fresh process, so that compiled code and memory
 * of one contender do not affect the next.
 *
 * It runs plain JavaScript, like the package's users. A TypeScript loader would falsify the figures: it adds a thread and tens
 * of MiB to every process, and a call per function to restore its name.
 */
export class BenchProcess<Offered extends Calls> implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  /**
   * @param file the name of a file of this directory, which calls `answerCalls`
   * @param flags the flags of node itself
   * @param checkout the folder of the checkout whose code it runs
   */
  static async start<Offered extends Calls>(
    file: string,
    flags: readonly string[] = [],
    checkout = HERE,
  ): Promise<BenchProcess<Offered>> {
    const ready = compiled.get(checkout) ?? compile(checkout);
    compiled.set(checkout, ready);
    await ready;
    const script = join(checkout, OUT, "bench", file.replace(/\.ts$/, ".js"));
    const execArgv = [...flags, ...(process.env["BENCH_NODE_FLAGS"]?.split(" ") ?? [])];
    return new BenchProcess<Offered>(fork(script, { execArgv }));
  }

  /** Makes a call and waits for its result. Only one call may be under way at a time. */
  call<Name extends keyof Offered & string>(
    name: Name,
    argument?: Argument<Offered[Name]>,
  ): Promise<Awaited<ReturnType<Offered[Name]>>> {
    return callProcess<Offered, Name>(this.#child, name, argument);
  }

  /** Sends a signal to the process, such as SIGSTOP or SIGCONT. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endProcess(this.#child);
  }
}

/** Compiles the benchmarks with the package's own compiler, so that they measure the code that the package has. */
async function compile(checkout: string): Promise<void> {
  const out = join(checkout, OUT);
  await mkdir(out, { recursive: true });
  await copyFile(join(checkout, "package.json"), join(out, "package.json"));
  const tsc = join(checkout, "node_modules/.bin/tsc");
  await promisify(execFile)(process.execPath, [await realpath(tsc), "-p", join(checkout, "bench/tsconfig.build.json")]);
}
