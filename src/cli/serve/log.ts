import { fstatSync } from "node:fs";
import { pino } from "pino";
import { withTimeout } from "../../driver/clock.ts";
import { VirstreamError } from "../../model/error.ts";
import type { ServerLog } from "../../server/bounds/event-log.ts";
import { showsColours, withSwitches } from "../format/text.ts";
import type { LogLevel, ServeArguments } from "./arguments.ts";
import { type LineForm, lineOf } from "./log-line.ts";

/**
 * The events of `virstream serve` besides those of its servers, each with its level. docs/operating.md explains them.
 */
export const SERVE_EVENTS = {
  starting: "info",
  serving: "info",
  stopping: "info",
  stopped: "info",
  failed: "error",
  crashed: "error",
  "source-absent": "warn",
  "source-lost": "warn",
  "source-back": "info",
  "source-added": "info",
  "source-removed": "info",
  "source-ended": "error",
  "source-failing": "warn",
  "source-working": "info",
  "outlet-started": "info",
  "outlet-failing": "warn",
  "outlet-working": "info",
  "metrics-incomplete": "warn",
  reloading: "info",
  "tokens-read": "info",
  "certificate-read": "info",
  "limits-read": "info",
  "reload-failed": "error",
  "restart-needed": "warn",
  "file-exposed": "warn",
  "systemd-unreachable": "warn",
  "lines-dropped": "warn",
} as const satisfies Record<string, Exclude<LogLevel, "silent">>;

/** The name of an event of `virstream serve`. */
export type ServeEvent = keyof typeof SERVE_EVENTS;

/** The most bytes that wait in memory when the reader of stderr has stopped reading. Beyond this, lines are dropped. */
const MAX_UNREAD = 1_048_576;
/** How long `end` waits for the reader of stderr, in ms. */
const LAST_WAIT_MS = 1_000;

/** The output for lines. It is stderr, whose writes to pipes and sockets never block. */
type Output = Pick<NodeJS.WriteStream, "write" | "writableLength" | "isTTY" | "once">;

/** The log of `virstream serve`. */
export class ServeLog {
  /** The log that the servers use. */
  readonly server: ServerLog;
  readonly #logger: pino.Logger;
  readonly #output: Output;
  readonly #form: LineForm;
  readonly #colours: boolean;
  #dropped = 0;

  constructor(
    { logLevel, logFormat }: Pick<ServeArguments, "logLevel" | "logFormat">,
    output: Output = process.stderr,
    env: NodeJS.ProcessEnv = process.env,
  ) {
    this.#output = output;
    const inJournal = isJournal(env);
    const isText = logFormat === "text" || (logFormat === undefined && (output.isTTY === true || inJournal));
    this.#form = { isText, inJournal };
    this.#colours = showsColours(output, env);
    const options: pino.LoggerOptions = {
      level: logLevel,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      // A message of another program may have several lines. The log writes it as one line.
      hooks: {
        logMethod: ([fields, message], method) =>
          method.call(this.#logger, fields, withSwitches(message ?? "").replaceAll(/\s*\n\s*/g, " ")),
      },
    };
    this.#logger = pino(options, { write: (line) => this.#write(line) });
    this.server = this.#logger;
    process.on("uncaughtExceptionMonitor", this.#crashed);
  }

  /** Warns that every user of this machine can read a file of secrets. */
  readonly exposed = (message: string, file: string): void => this.say("file-exposed", message, { file });

  say(event: ServeEvent, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#logger[SERVE_EVENTS[event]]({ event, ...fields }, message);
  }

  /** Logs an error, with its code. */
  fail(event: ServeEvent, thrown: unknown, after = "", fields: Readonly<Record<string, unknown>> = {}): void {
    const { code, message } = VirstreamError.from(thrown);
    this.say(event, `${message} [${code}]${after}`, { ...fields, code });
  }

  /**
   * Ends the log. Waits until all lines are written, but no longer than LAST_WAIT_MS. Resolves with false if the reader
   * of stderr took longer.
   */
  async end(): Promise<boolean> {
    process.off("uncaughtExceptionMonitor", this.#crashed);
    if (this.#output.writableLength === 0) return true;
    const written = new Promise<boolean>((resolve) => void this.#output.write("", () => resolve(true)));
    return withTimeout(written, LAST_WAIT_MS, () => false);
  }

  /** Logs an error that nothing has caught. After that, Node prints the error, and the process ends. */
  readonly #crashed = ({ message, stack }: Error): void =>
    this.say("crashed", `a fault of virstream ends it: ${message}`, { stack });

  #write(line: string): void {
    if (this.#output.writableLength > MAX_UNREAD) {
      if (this.#dropped === 0) this.#output.once("drain", () => this.#sayDropped());
      this.#dropped++;
      return;
    }
    this.#output.write(lineOf(line, this.#form, this.#colours));
  }

  #sayDropped(): void {
    const count = this.#dropped;
    this.#dropped = 0;
    this.say("lines-dropped", `${count} lines of the log were dropped: the reader of stderr did not take them`, {
      count,
    });
  }
}

/** True if stderr leads to systemd's journal, which sets an environment variable. */
function isJournal({ JOURNAL_STREAM: journal }: NodeJS.ProcessEnv): boolean {
  if (!journal) return false;
  const { dev, ino } = fstatSync(2);
  return journal === `${dev}:${ino}`;
}
