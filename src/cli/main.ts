import { VirstreamError } from "../model/error.ts";
import { VERSION } from "../version.ts";
import { suggestion } from "./nearest.ts";
import { notify } from "./notify.ts";
import { type Command, ExitCode, HELP, INTERRUPTED, UsageError } from "./usage.ts";

/** Runs a command; resolves with the exit code. Help goes to stdout, errors to stderr, in one line. */
async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  // If a module cannot be loaded, the error goes to bin/virstream.js, which says what helps.
  const run = await runOf(name, args);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(INTERRUPTED);
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  process.stdout.on("error", (cause: NodeJS.ErrnoException) => {
    const fix = cause.code === "ENOSPC" ? ": make room on its disk" : "";
    abort.abort(new VirstreamError("output-failed", `the output cannot be written (${cause.code})${fix}`, { cause }));
  });
  // Drops notices that stderr cannot take. A server whose log has gone continues to serve.
  process.stderr.on("error", () => {});
  try {
    const code = await run(args, abort.signal);
    // The output reports a failure, such as a full disk, only after the write. So wait until everything is written.
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

/** The function that runs the command which the arguments name. */
async function runOf(name: string | undefined, args: readonly string[]): Promise<Run> {
  if (name === undefined) {
    return async () => {
      process.stderr.write(HELP[""]);
      return ExitCode.usage;
    };
  }
  const print = (text: string) => async () => {
    process.stdout.write(text);
    return ExitCode.ok;
  };
  const unknown = (command: string) => () => {
    const names = [...Object.keys(COMMANDS), "help"];
    throw new UsageError(`there is no command ${JSON.stringify(command)}${suggestion(command, names)}`);
  };
  if (["--help", "-h"].includes(name)) return print(HELP[""]);
  if (name === "help") {
    const [command = ""] = args;
    return command === "" || isCommand(command) ? print(HELP[command]) : unknown(command);
  }
  if (name === "--version" || name === "-V") return print(`${VERSION}\n`);
  if (!isCommand(name)) return unknown(name);
  return args.includes("--help") || args.includes("-h") ? print(HELP[name]) : COMMANDS[name]();
}

type Run = (args: readonly string[], signal: AbortSignal) => Promise<number>;

/** Each command is loaded when it is used: loading all of them would delay the start of each. */
const COMMANDS: Readonly<Record<Command, () => Promise<Run>>> = {
  get: async () => (await import("./get.ts")).get,
  watch: async () => (await import("./watch.ts")).watch,
  top: async () => (await import("./top.ts")).top,
  serve: async () => (await import("./serve/serve.ts")).serve,
  why: async () => (await import("./why.ts")).why,
  check: async () => (await import("./check/check.ts")).check,
  record: async () => (await import("./recording/record.ts")).record,
  info: async () => (await import("./recording/info.ts")).info,
  token: async () => {
    const { token } = await import("./token/token.ts");
    const { parseToken } = await import("./token/arguments.ts");
    return (args) => token(parseToken(args));
  },
  completion: async () => (await import("./manual/completion.ts")).completion,
  doctor: async () => (await import("./doctor.ts")).doctor,
};

function isCommand(name: string | undefined): name is Command {
  return name !== undefined && Object.hasOwn(COMMANDS, name);
}

function failure(error: unknown, signal: AbortSignal, name: string | undefined): number {
  const { reason } = signal;
  if (reason === INTERRUPTED) return ExitCode.interrupted;
  // A reader such as head closes the pipe when it has read enough, which is no failure. For `serve` it is one, because
  // a server must be able to print its URL.
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
