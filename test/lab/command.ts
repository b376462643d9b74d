import { spawn } from "node:child_process";

/** What a finished program left behind: its output undecorated (not trimmed), and its exit code (128 + n for signal n, as in a shell). */
export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number;
}

/** How to run a program: `env` replaces the environment, `input` is its standard input, `timeout` (ms) ends it with SIGKILL. */
export interface CommandOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
  readonly timeout?: number;
}

/**
 * Runs a program without a shell and resolves when it has ended, whatever its exit code.
 * Rejects only when it cannot be started. Output is collected as bytes and decoded as UTF-8 once, so no character is cut.
 */
export function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      env: options.env ?? process.env,
      stdio: ["pipe", "pipe", "pipe"],
      timeout: options.timeout,
      killSignal: "SIGKILL",
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({
        stdout: Buffer.concat(stdout).toString("utf8"),
        stderr: Buffer.concat(stderr).toString("utf8"),
        code: code ?? 128 + (signal === "SIGKILL" ? 9 : 15),
      });
    });
    // A program that ends without reading its input must not fail the test with EPIPE.
    child.stdin.on("error", () => {});
    child.stdin.end(options.input ?? "");
  });
}

/** Like `runCommand`, but rejects with the program's own words when its exit code is not 0. */
export async function mustRun(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const result = await runCommand(program, args, options);
  if (result.code !== 0) throw commandError([program, ...args].join(" "), result);
  return result;
}

/** The error for a program that ended badly: what was run, its exit code, and what it said. */
export function commandError(command: string, { code, stderr, stdout }: CommandResult): Error {
  return new Error(`${command}: exit code ${code}: ${(stderr || stdout).trim()}`);
}
