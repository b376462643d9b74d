import { emitKeypressEvents } from "node:readline";
import type { ReadStream, WriteStream } from "node:tty";
import type { Key } from "./state.ts";
import type { ScreenSize, Style, StyledLine } from "./view.ts";

/**
 * Shows the terminal's second screen, hides the cursor, and turns wrapping off, so that the terminal cuts a line that
 * is too wide.
 */
const ENTER = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const LEAVE = "\u001b[?7h\u001b[?25h\u001b[?1049l";
const PLAIN = "\u001b[m";

/** With colours, trouble is red. Without colours, bold, reverse and dim remain, because they are no colours. */
const STYLES: Readonly<Record<Style, readonly [withColours: string, without: string]>> = {
  plain: ["", ""],
  alert: ["\u001b[1;31m", "\u001b[1m"],
  warn: ["\u001b[33m", ""],
  title: ["\u001b[7m", "\u001b[7m"],
  selected: ["\u001b[7m", "\u001b[7m"],
  "selected-alert": ["\u001b[1;7;31m", "\u001b[1;7m"],
  dim: ["\u001b[2m", "\u001b[2m"],
  strong: ["\u001b[1m", "\u001b[1m"],
};

/** What a terminal reports. */
export interface TerminalEvents {
  onKey(key: Key): void;
  /** The terminal's size has changed, or the program continues after it was suspended. */
  onRedraw(): void;
}

/**
 * A terminal as a screen: draws lines on its second screen and reads keys. `close()` restores the terminal. If the
 * process ends without `close()`, an exit handler restores it, unless the process is killed. `draw` writes only the
 * lines that changed, which matters over ssh.
 */
export class Terminal {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #colours: boolean;
  readonly #events: TerminalEvents;
  /** The lines on the screen; undefined: not known. */
  #drawn: string[] | undefined;
  #open = false;

  constructor(input: ReadStream, output: WriteStream, colours: boolean, events: TerminalEvents) {
    this.#input = input;
    this.#output = output;
    this.#colours = colours;
    this.#events = events;
    emitKeypressEvents(input);
    input.on("keypress", this.#onKey);
    output.on("resize", this.#redraw);
    process.on("SIGTSTP", this.#suspend);
    process.on("SIGCONT", this.#resume);
    process.on("exit", this.#leave);
    this.#enter();
  }

  /** The size of the terminal; 80 x 24 if the terminal does not know its size. */
  get size(): ScreenSize {
    return { columns: this.#output.columns || 80, rows: this.#output.rows || 24 };
  }

  /** Draws a whole screen. While the terminal is slow, it draws nothing; the next drawing shows everything. */
  draw(lines: readonly StyledLine[]): void {
    if (!this.#open || this.#output.writableNeedDrain) return;
    const next = lines.map(({ text, style }) => {
      const start = STYLES[style][this.#colours ? 0 : 1];
      return start === "" ? text : `${start}${text}${PLAIN}`;
    });
    const before = this.#drawn;
    let written = before === undefined ? "\u001b[2J" : "";
    for (const [i, line] of next.entries()) {
      if (before?.[i] !== line) written += `\u001b[${i + 1};1H\u001b[K${line}`;
    }
    this.#drawn = next;
    if (written !== "") this.#output.write(written);
  }

  /** Restores the terminal. Safe to call twice. */
  close(): void {
    this.#leave();
    this.#input.off("keypress", this.#onKey);
    this.#output.off("resize", this.#redraw);
    process.off("SIGTSTP", this.#suspend);
    process.off("SIGCONT", this.#resume);
    process.off("exit", this.#leave);
  }

  #enter(): void {
    this.#open = true;
    this.#drawn = undefined;
    this.#input.setRawMode(true);
    this.#input.resume();
    this.#output.write(ENTER);
  }

  readonly #leave = (): void => {
    if (!this.#open) return;
    this.#open = false;
    this.#input.setRawMode(false);
    this.#input.pause();
    this.#output.write(LEAVE);
  };

  readonly #onKey = (_text: string | undefined, key: Key): void => {
    // In raw mode the terminal sends Ctrl-Z as a key, and not as a signal.
    if (key.ctrl && key.name === "z") this.#suspend();
    else this.#events.onKey(key);
  };

  readonly #redraw = (): void => {
    this.#drawn = undefined;
    this.#events.onRedraw();
  };

  /** Restores the terminal before the program stops. */
  readonly #suspend = (): void => {
    this.#leave();
    process.kill(process.pid, "SIGSTOP");
  };

  readonly #resume = (): void => {
    if (!this.#open) this.#enter();
    this.#redraw();
  };
}
