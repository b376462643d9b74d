import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ServerLimits } from "../../src/server/limits.ts";
import { freePort } from "./port.ts";

const PACKAGE = new URL("../../", import.meta.url);

/** What `virstream serve` does, with limits that the command line does not offer. */
const WITH_LIMITS = `
const [uri, host, port, limits] = JSON.parse(process.argv[1]);
const { connect } = await import(${JSON.stringify(new URL("dist/index.js", PACKAGE))});
const { serve } = await import(${JSON.stringify(new URL("dist/server/index.js", PACKAGE))});
const server = await serve(await connect(uri), { host, port, limits, allowAnyone: true });
console.log(server.url);
`;

/** How to serve. */
export interface ServedProcessOptions {
  /** What is served, by its URI. */
  readonly uri: string;
  /** Where to listen. Default 127.0.0.1. */
  readonly host?: string;
  /** Other limits than those of `virstream serve`. */
  readonly limits?: Partial<ServerLimits>;
  /** More arguments of `virstream serve`. */
  readonly args?: readonly string[];
  /** What the process is run by, such as `ip netns exec NAME`. */
  readonly runBy?: readonly string[];
}

/** A server in a process of its own, as it is built, that can be killed, started again at the same place, and stopped. */
export class ServedProcess implements AsyncDisposable {
  readonly #options: ServedProcessOptions;
  readonly #port: number;
  #child: ChildProcess | undefined;

  private constructor(options: ServedProcessOptions, port: number) {
    this.#options = options;
    this.#port = port;
  }

  /** Resolves when it listens. */
  static async start(options: ServedProcessOptions): Promise<ServedProcess> {
    const served = new ServedProcess(options, await freePort());
    await served.restart();
    return served;
  }

  get port(): number {
    return this.#port;
  }

  get url(): string {
    return `ws://${this.#options.host ?? "127.0.0.1"}:${this.#port}`;
  }

  /** Starts it again after it was killed. Resolves when it listens. */
  async restart(): Promise<void> {
    const { uri, host = "127.0.0.1", limits, args: more = [], runBy = [] } = this.#options;
    const { VIRSTREAM_TOKEN, ...env } = process.env;
    const program =
      limits === undefined
        ? [
            fileURLToPath(new URL("dist/cli/main.js", PACKAGE)),
            "serve",
            uri,
            "--listen",
            `${host}:${this.#port}`,
            "--allow-anyone",
            ...more,
          ]
        : ["--input-type=module", "--eval", WITH_LIMITS, JSON.stringify([uri, host, this.#port, limits])];
    const [file, ...args] = [...runBy, process.execPath, ...program];
    const child = spawn(file!, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    // A test that ends in the middle must not leave servers behind.
    const reap = (): boolean => child.kill("SIGKILL");
    process.once("exit", reap);
    child.once("exit", () => process.off("exit", reap));
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    const [first] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
    if (!Buffer.isBuffer(first)) throw new Error(`the server did not start: ${stderr}`);
  }

  /** SIGKILL: it has no time for a word. Resolves when it is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined) return;
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
  }

  /** SIGSTOP: its sockets stay open, and nothing comes from them. */
  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  /** It goes on where it was stopped. */
  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
