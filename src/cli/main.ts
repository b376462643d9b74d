import "../drivers/builtin.ts";
import { VirstreamError } from "../model/error.ts";
import { VERSION } from "../version.ts";
import {
  parseDoctor,
  parseGet,
  parseInfo,
  parseRecord,
  parseServe,
  parseTop,
  parseWatch,
  parseWhy,
} from "./arguments.ts";
import { check } from "./check/check.ts";
import { doctor } from "./doctor.ts";
import { get } from "./get.ts";
import { info } from "./info.ts";
import { record } from "./record.ts";
import { serve } from "./serve.ts";
import { notify } from "./source.ts";
import { top } from "./top.ts";
import { type Command, ExitCode, HELP, INTERRUPTED, UsageError } from "./usage.ts";
import { watch } from "./watch.ts";
import { why } from "./why.ts";

/** Runs a command; resolves with the exit code. Help goes to stdout, errors to stderr, in one line. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(INTERRUPTED);
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  process.stdout.on("error", (cause: NodeJS.ErrnoException) => {
    const fix = cause.code === "ENOSPC" ? ": make room on its disk" : "";
    abort.abort(new VirstreamError("output-failed", `the output cannot be written (${cause.code})${fix}`, { cause }));
  });
  // Notices that nothing can take are dropped: a server whose log has gone continues to serve.
  process.stderr.on("error", () => {});
  try {
    const code = await run(name, args, abort.signal);
    // The output reports a failure, such as a full disk, after the write.
    await new Promise((resolve) => process.stdout.write("", resolve));
    if (abort.signal.aborted && abort.signal.reason !== INTERRUPTED) throw abort.signal.reason;
    return code;
  } catch (error) {
    return failure(error, abort.signal, name);
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
  }
}

async function run(name: string | undefined, args: readonly string[], signal: AbortSignal): Promise<number> {
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
  return COMMANDS[name](args, signal);
}

type Run = (args: readonly string[], signal: AbortSignal) => Promise<number>;

const COMMANDS: Readonly<Record<Command, Run>> = {
  get: (args, signal) => get(parseGet(args), signal),
  watch: (args, signal) => watch(parseWatch(args), signal),
  top: (args, signal) => top(parseTop(args), signal),
  serve: (args, signal) => serve(parseServe(args), signal),
  why: (args, signal) => why(parseWhy(args), signal),
  check,
  record: (args, signal) => record(parseRecord(args), signal),
  info: (args, signal) => info(parseInfo(args), signal),
  doctor: (args, signal) => doctor(parseDoctor(args), signal),
};

function isCommand(name: string | undefined): name is Command {
  return name !== undefined && Object.hasOwn(COMMANDS, name);
}

function failure(error: unknown, signal: AbortSignal, name: string | undefined): number {
  const { reason } = signal;
  if (reason === INTERRUPTED) return ExitCode.interrupted;
  // A reader such as head closes the pipe when it has seen enough. But a server's URL is for a reader.
  const cause: NodeJS.ErrnoException | undefined = reason?.cause;
  if (name !== "serve" && cause?.code === "EPIPE") return ExitCode.ok;
  if (error instanceof UsageError) {
    notify(error.message);
    process.stderr.write(`Try "virstream ${isCommand(name) ? `${name} ` : ""}--help".\n`);
    return ExitCode.usage;
  }
  const { code, message } = VirstreamError.from(signal.aborted ? reason : error);
  notify(`${message} [${code}]`);
  return ExitCode.failed;
}

process.exitCode = await main(process.argv.slice(2));
