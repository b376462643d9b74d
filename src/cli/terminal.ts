import { once } from "node:events";
import type { WriteStream } from "node:tty";
import type { DomainRates } from "../client/rates.ts";
import type { WatchEvent } from "../model/watch.ts";
import type { Display } from "./display.ts";
import type { Screen, ScreenSize } from "./format/screen.ts";

/** The second screen, an invisible cursor, and no wrapping: a line that is wider than it counts is cut, not folded. */
const ENTER = "\u001b[?1049h\u001b[?25l\u001b[?7l";
const LEAVE = "\u001b[?7h\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const ERASE_REST_OF_LINE = "\u001b[K";
const ERASE_REST_OF_SCREEN = "\u001b[J";
const REVERSE = "\u001b[7m";
const PLAIN = "\u001b[m";

/** The screen is drawn at most so often, in ms. */
const REDRAW_MS = 100;

/**
 * Shows a watch on a terminal's second screen, as full-screen programs do, and draws it anew when something happened, the
 * terminal was resized, or the program goes on after it was suspended. At the end the last table stays on the first.
 */
export class TerminalDisplay implements Display {
  readonly #screen: Screen;
  readonly #output: WriteStream;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #ended = false;

  constructor(screen: Screen, output: WriteStream) {
    this.#screen = screen;
    this.#output = output;
    output.on("resize", this.#draw);
    process.on("SIGTSTP", this.#suspend);
    process.on("SIGCONT", this.#resume);
    output.write(ENTER);
    this.#draw();
  }

  take(event: WatchEvent, rates: DomainRates | undefined): void {
    if (!this.#screen.take(event, rates) || this.#timer !== undefined) return;
    this.#timer = setTimeout(this.#draw, Math.max(0, this.#drawnAt + REDRAW_MS - performance.now()));
  }

  async room(signal: AbortSignal): Promise<void> {
    if (this.#output.writableNeedDrain) await once(this.#output, "drain", { signal });
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#output.off("resize", this.#draw);
    process.off("SIGTSTP", this.#suspend);
    process.off("SIGCONT", this.#resume);
    // One row less, for the prompt that follows.
    const { columns, rows: height } = this.#size;
    const { head, title, rows } = this.#screen.frame({ columns, rows: height - 1 });
    this.#output.write(`${LEAVE}${[...head, title, ...rows].join("\n")}\n`);
  }

  readonly #draw = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = performance.now();
    const { head, title, rows } = this.#screen.frame(this.#size);
    // Each line is erased before it is written: after one that is as wide as the terminal, its last character would go.
    const line = (text: string): string => `${ERASE_REST_OF_LINE}${text}`;
    const lines = [...head.map(line), `${REVERSE}${line(title)}${PLAIN}`, ...rows.map(line)];
    const below = lines.length < this.#size.rows ? `\n${ERASE_REST_OF_SCREEN}` : "";
    this.#output.write(`${HOME}${lines.join("\n")}${below}`);
  };

  /** Gives the terminal back before the program stops, as if it had not been in the way. */
  readonly #suspend = (): void => {
    this.#output.write(LEAVE);
    process.kill(process.pid, "SIGSTOP");
  };

  readonly #resume = (): void => {
    this.#output.write(ENTER);
    this.#draw();
  };

  /** A terminal that does not know its size is taken for a classic one. */
  get #size(): ScreenSize {
    return { columns: this.#output.columns || 80, rows: this.#output.rows || 24 };
  }
}
