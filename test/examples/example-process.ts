import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** One line that an example printed, as JSON. */
export type Line = ReturnType<typeof JSON.parse>;

/** How an example ended. */
export interface Ending {
  readonly code: number | null;
  readonly lines: readonly Line[];
  readonly stderr: string;
}

/** An example that prints one JSON object per line, in a process of its own. */
export class ExampleProcess implements AsyncDisposable {
  /** What it has printed so far. */
  readonly lines: Line[] = [];
  /** Resolves when it has ended. */
  readonly ended: Promise<Ending>;
  readonly #child: ChildProcess;
  #partial = "";
  #printed: () => void = () => {};

  /**
   * @param program what runs the example
   * @param name its path in examples/
   */
  constructor(program: string, name: string, args: readonly string[], env: Record<string, string> = {}) {
    const file = fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
    const { VIRSTREAM_TOKEN, ...inherited } = process.env;
    const child = spawn(program, [file, ...args], {
      env: { ...inherited, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const parts = (this.#partial + text).split("\n");
      this.#partial = parts.pop()!;
      for (const part of parts) this.lines.push(JSON.parse(part));
      this.#printed();
    });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    this.ended = once(child, "close").then(([code]) => ({ code, lines: this.lines, stderr }));
  }

  /** Resolves when it has printed a line that is meant. Rejects if it ends before. */
  async until(meant: (line: Line) => boolean): Promise<void> {
    const ended = this.ended.then(({ code, stderr }) => {
      if (!this.lines.some(meant)) throw new Error(`the example ended with ${code}: ${stderr}`);
    });
    const printed = new Promise<void>((resolve) => {
      this.#printed = () => {
        if (this.lines.some(meant)) resolve();
      };
    });
    this.#printed();
    await Promise.race([printed, ended]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.ended;
  }
}
