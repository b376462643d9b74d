#!/usr/bin/env node
import "../drivers/builtin.ts";
import { VirstreamError } from "../model/error.ts";
import { VERSION } from "../server/version.ts";
import { parseDoctor, parseGet, parseServe, parseWatch } from "./arguments.ts";
import { doctor } from "./doctor.ts";
import { get } from "./get.ts";
import { serve } from "./serve.ts";
import { type Command, ExitCode, HELP, INTERRUPTED, UsageError } from "./usage.ts";
import { watch } from "./watch.ts";

/** Runs a command; resolves with the exit code. Help goes to stdout, what is wrong to stderr, in one line. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(INTERRUPTED);
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  // A reader that has seen enough, such as head, closes the pipe: that ends the work and is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") abort.abort(READER_LEFT);
    else abort.abort(new VirstreamError("internal", `the output cannot be written (${error.code})`, { cause: error }));
  });
  try {
    if (name === undefined || name === "help" || name === "--help" || name === "-h") {
      process[name === undefined ? "stderr" : "stdout"].write(HELP[""]);
      return name === undefined ? ExitCode.usage : ExitCode.ok;
    }
    switch (name) {
      case "--version":
        process.stdout.write(`${VERSION}\n`);
        return ExitCode.ok;
      case "get": {
        const parsed = parseGet(args);
        return parsed === "help" ? help("get") : await get(parsed, abort.signal);
      }
      case "watch": {
        const parsed = parseWatch(args);
        return parsed === "help" ? help("watch") : await watch(parsed, abort.signal);
      }
      case "serve": {
        const parsed = parseServe(args);
        return parsed === "help" ? help("serve") : await serve(parsed, abort.signal);
      }
      case "doctor": {
        const parsed = parseDoctor(args);
        return parsed === "help" ? help("doctor") : await doctor(parsed, abort.signal);
      }
      default:
        throw new UsageError(`there is no command ${JSON.stringify(name)}`);
    }
  } catch (error) {
    return failure(error, abort.signal, name);
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
}

const READER_LEFT = new Error("the reader left");

function help(command: Command): number {
  process.stdout.write(HELP[command]);
  return ExitCode.ok;
}

function failure(error: unknown, signal: AbortSignal, command: string | undefined): number {
  if (signal.reason === READER_LEFT) return ExitCode.ok;
  if (signal.reason === INTERRUPTED) return ExitCode.interrupted;
  if (error instanceof UsageError) {
    const known = command !== undefined && command !== "" && Object.hasOwn(HELP, command);
    process.stderr.write(`virstream: ${error.message}\nTry "virstream ${known ? `${command} ` : ""}--help".\n`);
    return ExitCode.usage;
  }
  const { code, message } = VirstreamError.from(signal.aborted ? signal.reason : error);
  process.stderr.write(`virstream: ${message} [${code}]\n`);
  return ExitCode.failed;
}

process.exitCode = await main(process.argv.slice(2));
