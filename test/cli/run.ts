import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";

/** The command line as users run it: built, in a process of its own. */
export const PROGRAM = fileURLToPath(new URL("../../bin/virstream.js", import.meta.url));

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

/** Runs `virstream ARGS` to its end, with no terminal and with nothing of this process's environment that it heeds. */
export function virstream(args: readonly string[], env: Record<string, string> = {}): Promise<Outcome> {
  return outcomeOf(start(args, env));
}

/** What a process has printed when it has ended. */
export async function outcomeOf(child: ChildProcessByStdio<Writable | null, Readable, Readable>): Promise<Outcome> {
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { stdout, stderr, code };
}

/** Starts `virstream ARGS`, by default of this checkout. The caller ends it. */
export function start(args: readonly string[], env: Record<string, string> = {}, program = PROGRAM) {
  const { VIRSTREAM_URI, LIBVIRT_DEFAULT_URI, VIRSTREAM_TOKEN, ...rest } = process.env;
  return spawn(process.execPath, [program, ...args], { env: { ...rest, ...env }, stdio: ["pipe", "pipe", "pipe"] });
}
