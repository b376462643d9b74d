#!/usr/bin/env node
import "../drivers/builtin.ts";
import { VirstreamError } from "../model/error.ts";
import { VERSION } from "../server/version.ts";
import { parseDoctor, parseGet, parseServe, parseWatch } from "./arguments.ts";
import { doctor } from "./doctor.ts";
import { get } from "./get.ts";
import { serve } from "./serve.ts";
import { notify } from "./source.ts";
import { type Command, ExitCode, HELP, INTERRUPTED, UsageError } from "./usage.ts";
import { watch } from "./watch.ts";

/** Runs a command; resolves with the exit code. Help goes to stdout, errors to stderr, in one line. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(INTERRUPTED);
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  // A reader such as head closes the pipe when it has seen enough. This ends the command, and is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") abort.abort(READER_LEFT);
    else abort.abort(new VirstreamError("internal", `the output cannot be written (${error.code})`, { cause: error }));
  });
  try {
    if (name === undefined) {
      process.stderr.write(HELP[""]);
      return ExitCode.usage;
    }
    const asked = ["help", "--help", "-h"].includes(name) ? "" : name;
    if (asked === "" || (isCommand(asked) && (args.includes("--help") || args.includes("-h")))) {
      process.stdout.write(HELP[asked]);
      return ExitCode.ok;
    }
    if (name === "--version") {
      process.stdout.write(`${VERSION}\n`);
      return ExitCode.ok;
    }
    if (!isCommand(name)) throw new UsageError(`there is no command ${JSON.stringify(name)}`);
    return await COMMANDS[name](args, abort.signal);
  } catch (error) {
    return failure(error, abort.signal, name);
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
}

const READER_LEFT = new Error("the reader left");

type Run = (args: readonly string[], signal: AbortSignal) => Promise<number>;

const COMMANDS: Readonly<Record<Command, Run>> = {
  get: (args, signal) => get(parseGet(args), signal),
  watch: (args, signal) => watch(parseWatch(args), signal),
  serve: (args, signal) => serve(parseServe(args), signal),
  doctor: (args, signal) => doctor(parseDoctor(args), signal),
};

function isCommand(name: string | undefined): name is Command {
  return name !== undefined && Object.hasOwn(COMMANDS, name);
}

function failure(error: unknown, signal: AbortSignal, name: string | undefined): number {
  if (signal.reason === READER_LEFT) return ExitCode.ok;
  if (signal.reason === INTERRUPTED) return ExitCode.interrupted;
  if (error instanceof UsageError) {
    notify(error.message);
    process.stderr.write(`Try "virstream ${isCommand(name) ? `${name} ` : ""}--help".\n`);
    return ExitCode.usage;
  }
  const { code, message } = VirstreamError.from(signal.aborted ? signal.reason : error);
  notify(`${message} [${code}]`);
  return ExitCode.failed;
}

process.exitCode = await main(process.argv.slice(2));
