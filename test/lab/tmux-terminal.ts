import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { mustRun } from "./command.ts";

/** A terminal of tmux in which a command runs. Needs the requirement `tmux`. */
export class TmuxTerminal implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Starts a command, which a shell reads, in a terminal of its own. */
  static async open(command: string, columns: number, rows: number): Promise<TmuxTerminal> {
    const terminal = new TmuxTerminal(await mkdtemp(join(tmpdir(), "virstream-tmux-")));
    await terminal.#tmux("new-session", "-d", "-x", `${columns}`, "-y", `${rows}`, command);
    return terminal;
  }

  /** Presses keys, by the names that tmux has for them. */
  async press(...keys: string[]): Promise<void> {
    await this.#tmux("send-keys", ...keys);
  }

  /** What is on the screen. @param colours with the escape sequences that make it look so */
  screen({ colours = false } = {}): Promise<string> {
    return this.#tmux("capture-pane", "-p", ...(colours ? ["-e"] : []));
  }

  /** Waits until the screen shows something, for as long as `ms`. Resolves with the screen. */
  async see(pattern: RegExp, ms: number): Promise<string> {
    for (const began = performance.now(); ; await sleep(100)) {
      const text = await this.screen();
      if (pattern.test(text)) return text;
      if (performance.now() - began > ms) throw new Error(`the screen has no ${pattern}:\n${text}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("kill-server").catch(() => {});
    await rm(this.#folder, { recursive: true });
  }

  async #tmux(...args: string[]): Promise<string> {
    return (await mustRun("tmux", ["-S", join(this.#folder, "tmux"), "-f", "/dev/null", ...args])).stdout;
  }
}
