import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { start } from "../cli/run.ts";
import { freePort } from "../lab/port.ts";

/** `virstream serve` in a process of its own, which can be stopped, killed and started again at its address. */
export class ServerProcess implements AsyncDisposable {
  readonly url: string;
  readonly #uri: string;
  readonly #port: number;
  #child: ChildProcess | undefined;

  private constructor(uri: string, port: number) {
    this.#uri = uri;
    this.#port = port;
    this.url = `ws://127.0.0.1:${port}`;
  }

  static async started(uri: string): Promise<ServerProcess> {
    const server = new ServerProcess(uri, await freePort());
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const child = start(["serve", this.#uri, "--listen", `127.0.0.1:${this.#port}`]);
    this.#child = child;
    const lines = createInterface({ input: child.stdout });
    await Promise.race([
      once(lines, "line"),
      once(child, "exit").then(([code]) => {
        throw new Error(`virstream serve ended with ${code}: is its port ${this.#port} free?`);
      }),
    ]);
    lines.close();
  }

  freeze(): void {
    this.#child?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child?.kill("SIGCONT");
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}
