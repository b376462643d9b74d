import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { Duplex } from "node:stream";
import { VirstreamError } from "../../../model/error.ts";
import { PING, PONG } from "../rpc/message.ts";
import { readPrefix } from "./read-prefix.ts";
import { READY, sshArguments } from "./ssh-command.ts";
import { type SshEnd, sshFailure } from "./ssh-failure.ts";
import { LIMIT_ADVICE } from "./tcp.ts";
import type { LibvirtUri } from "./uri.ts";

/** How much of ssh's standard error is kept, in characters. Also the most output that may come before READY. */
const WORDS_MAX = 8_192;
/** How long ssh has to end after SIGTERM before it is killed, in ms. */
const END_MS = 2_000;
/**
 * How long to wait for the rest of ssh's standard error after ssh has ended, in ms. Without a limit, another process
 * that holds the pipe open would delay the error.
 */
const LAST_WORDS_MS = 500;

/**
 * Connects through the ssh program.
 *
 * A running ssh may still fail to connect. On the remote host, a running virt-ssh-helper or netcat may still fail to
 * find the daemon. These programs report a failure only by ending. So this function sends a ping of libvirt's keepalive
 * program, which every daemon answers at once, even before authentication. The function returns the stream after this
 * answer.
 *
 * Rejects with the error of `sshFailure` when ssh ends, an error of `sshArguments`, `unsupported` when there is no ssh
 * program, `connection-lost` when ssh cannot be started at present, `protocol-error` when the program that answers is
 * no daemon, or the signal's reason.
 */
export async function openSsh(uri: LibvirtUri, signal: AbortSignal): Promise<Duplex> {
  const args = sshArguments(uri);
  signal.throwIfAborted();
  let opened = false;
  let noise = "";
  const stream = new ProcessStream("ssh", args, (end) => sshFailure(uri, { ...end, words: noise + end.words }, opened));
  const takeReady = (bytes: Buffer): number | undefined => {
    // A login shell may print something first.
    const at = bytes.indexOf(READY);
    noise = bytes.subarray(0, at < 0 ? bytes.length : at).toString("utf8");
    if (noise.length > WORDS_MAX) throw noDaemon(uri, noise);
    return at < 0 ? undefined : at + READY.length;
  };
  const takePong = (bytes: Buffer): number | undefined => {
    const isPong = PONG.subarray(0, bytes.length).equals(bytes.subarray(0, PONG.length));
    if (!isPong) throw noDaemon(uri, bytes.toString("latin1"));
    return bytes.length < PONG.length ? undefined : PONG.length;
  };
  try {
    const ready = await readPrefix(stream, takeReady, signal);
    if (ready) stream.write(PING);
    const alive = ready && (await readPrefix(stream, takePong, signal));
    if (!alive) throw new VirstreamError("connection-lost", `${uri.uri}: ssh ended, and did not say why`);
  } catch (error) {
    stream.destroy();
    throw error;
  }
  opened = true;
  return stream;
}

function noDaemon(uri: LibvirtUri, said: string): VirstreamError {
  return new VirstreamError(
    "protocol-error",
    `${uri.uri}: the answer through ssh is not from a libvirt daemon: ${JSON.stringify(said.slice(0, 80))}. Check what the ` +
      "login there runs, and whether netcat= and socket= lead to a daemon",
  );
}

/**
 * The standard input and output of a process as one stream. Its users destroy the stream, and never end it. When the
 * process ends by itself, the stream fails with the error that `explain` returns. When the stream is destroyed, it ends
 * the process first, and then closes.
 */
class ProcessStream extends Duplex {
  readonly #child: ChildProcessWithoutNullStreams;
  #words = "";
  #ended: SshEnd | undefined;
  #lastWords: ReturnType<typeof setTimeout> | undefined;

  constructor(program: string, args: readonly string[], explain: (end: SshEnd) => VirstreamError) {
    super();
    const child = start(program, args);
    this.#child = child;
    // Without a listener, an error between two reads would be uncaught. Each read has a listener of its own.
    this.on("error", () => {});
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.on("error", () => {});
    child.stdout.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) child.stdout.pause();
    });
    child.stderr.on("data", (chunk: Buffer) => {
      this.#words = (this.#words + chunk.toString("utf8")).slice(-WORDS_MAX);
    });
    const fail = () => {
      if (!this.destroyed && this.#ended !== undefined) this.destroy(explain({ ...this.#ended, words: this.#words }));
    };
    child.on("error", (error) => {
      if (child.pid !== undefined) return;
      this.#ended = { code: null, signal: null, words: "" };
      this.destroy(notStarted(program, error));
    });
    child.on("exit", (code, signal) => {
      this.#ended = { code, signal, words: "" };
      this.#lastWords = setTimeout(fail, LAST_WORDS_MS);
      this.emit("exited");
    });
    child.on("close", fail);
  }

  override _read(): void {
    this.#child.stdout.resume();
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#child.stdin.write(Buffer.concat(chunks.map(({ chunk }) => chunk)), () => done());
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const child = this.#child;
    const finish = () => {
      clearTimeout(this.#lastWords);
      for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe.destroy();
      done(error);
    };
    if (this.#ended !== undefined) {
      finish();
      return;
    }
    const overdue = setTimeout(() => child.kill("SIGKILL"), END_MS);
    this.once("exited", () => {
      clearTimeout(overdue);
      finish();
    });
    child.kill("SIGTERM");
  }
}

/** Starts a program. If that fails, throws the error of `notStarted`, unless the child emits the error later. */
function start(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
  let child: ChildProcessWithoutNullStreams;
  try {
    child = spawn(program, args, {
      stdio: "pipe",
      // `sshFailure` expects the texts of the locale C. SSH_ASKPASS_REQUIRE keeps ssh from opening a window to ask
      // for a passphrase.
      env: { ...process.env, LC_ALL: "C", SSH_ASKPASS_REQUIRE: "never" },
      // In a session of its own, ssh has no terminal on which it could prompt, and Ctrl-C in this process's terminal
      // does not end ssh before this process.
      detached: true,
    });
  } catch (error) {
    throw notStarted(program, error);
  }
  if (child.stdin !== undefined) return child;
  // If no file descriptor is free, Node makes no pipes, and emits the error later.
  child.on("error", () => {});
  throw notStarted(program, new Error("too many files are open"));
}

function notStarted(program: string, cause: unknown): VirstreamError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const what = `the program ${program} cannot be started`;
  if (code === "ENOENT" || code === "EACCES") {
    const advice = code === "ENOENT" ? "install it (apt-get install openssh-client)" : message;
    return new VirstreamError("unsupported", `${what}: ${advice}`, { cause });
  }
  return new VirstreamError("connection-lost", `${what}: ${message}: ${LIMIT_ADVICE}`, { cause });
}
